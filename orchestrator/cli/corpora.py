"""``understudy corpora``: what there is, what is in it, what is wrong with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.corpus_display import (
    FetchProgress,
    examining,
    show_corpus,
    show_kinds,
    show_leaks,
)
from orchestrator.cli.shared import File, Json, Overrides, Variant, console_for, print_json

corpora_app = typer.Typer(help="The corpora that Understudy reads.", no_args_is_help=True)


@corpora_app.command("list")
def corpora_list(as_json: Json = False) -> None:
    """Which corpora there are, and how to obtain each.

    Example: `understudy corpora list`
    """
    from orchestrator.corpora import descriptions

    if as_json:
        print_json(descriptions())
        return
    show_kinds(console_for(as_json=False), descriptions())


@corpora_app.command("check")
def corpora_check(
    kind: Annotated[str, typer.Argument(help="A kind from `understudy corpora list`.")],
    root: Annotated[str | None, typer.Argument(help="Its folder, or the table's file.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Of its section, such as problems=set-aside."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw class balance and durations into this file (PNG).")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="Write the utterances that can be used, as CSV or Parquet."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read a corpus and say what is in it, and what is wrong with it.

    Ends with 2 if an experiment would refuse it.

    Example: `understudy corpora check emodb /data/emodb --plot emodb.png`
    """
    from orchestrator.corpora import checked, corpus_section
    from orchestrator.corpora.portrait import check_suffixes, draw, write_table

    section = corpus_section(kind, root, options or ())
    check_suffixes(plot=plot, table=table)
    with examining(title=section.title) as progress:
        found, corpus = checked(section, progress=progress)
    console = console_for(as_json=as_json)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        show_corpus(console, found)
    for file, write in ((plot, draw), (table, write_table)):
        if file is not None and corpus is not None:
            console.print(f"wrote {write(corpus, file)}", markup=False)
        elif file is not None:
            console.print(f"Nothing can be used, so {file} is not written.", markup=False)
    if not found.usable:
        raise typer.Exit(2)


@corpora_app.command("leaks")
def corpora_leaks(
    file: File, overrides: Overrides = None, variant: Variant = None, as_json: Json = False
) -> None:
    """Deal an experiment's folds and say what their roles share: speakers, texts, sounds.

    Ends with 1 if they share what the protocol promises to keep apart, with 2 if an experiment
    refuses the folds for another reason.

    Example: `understudy corpora leaks experiments/demo.yaml`
    """
    from orchestrator.experiment import load_experiment
    from orchestrator.leak_report import find_leaks

    experiment = load_experiment(file, overrides=overrides or (), variant=variant)
    with examining(title=experiment.name) as progress:
        reports = find_leaks(experiment, progress=progress)
    if as_json:
        print_json([dataclasses.asdict(report) for report in reports])
    else:
        for report in reports:
            show_leaks(console_for(as_json=False), report)
    if any(report.broken for report in reports):
        raise typer.Exit(1)
    if any(report.refused for report in reports):
        raise typer.Exit(2)


@corpora_app.command("fetch")
def corpora_fetch(
    name: Annotated[str, typer.Argument(help="A kind that may be downloaded freely.")],
    folder: Annotated[Path, typer.Argument(help="Where corpora live; it goes into FOLDER/NAME.")],
    mirror: Annotated[
        str | None,
        typer.Option(help="Address in place of scheme and host of every URL: a copy elsewhere."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the archive once it is unpacked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Download a corpus from its publishers and unpack it; run again to go on.

    Example: `understudy corpora fetch emodb /data`
    """
    from orchestrator.corpora.fetching.fetch import fetch_corpus

    console = console_for(as_json=as_json)
    with FetchProgress(console) as progress:
        done = fetch_corpus(name, folder, mirror=mirror, keep=keep, progress=progress.show)
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    state = "was there already" if done.already else "is there"
    console.print(
        f"{done.name} {state}: {done.files} files, {done.size / 1e6:,.1f} MB in {done.root}",
        markup=False,
    )
    if done.archives:
        console.print(f"Archives are kept in {done.archives}", markup=False)
    for step in done.left:
        console.print(f"Next: {step}", markup=False)
