"""A speech recogniser by itself: fitted to some speakers of a corpus, tested on the others."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

import orchestrator
from orchestrator.canonical import digest
from orchestrator.cluster_session import connect, fold_runs_at_once, shards_on_ray
from orchestrator.corpora import Corpus
from orchestrator.corpora.transcribed import load_transcribed
from orchestrator.corpus_inputs import device_of
from orchestrator.errors import ProtocolError
from orchestrator.evaluation.provenance import sources_digest
from orchestrator.evaluation.statistics import fold_summary
from orchestrator.experiment.recogniser import (
    RecogniserExperiment,
    RecogniserSpeakerFolds,
    RecogniserSpeakerOut,
)
from orchestrator.features import feature_shards
from orchestrator.progress import Progress
from orchestrator.recorded import ended_by_errors
from orchestrator.speech_sources import (
    heard_corpus,
    recogniser_task,
    refuse_frequencies,
    split_speakers,
)
from orchestrator.store import Store
from orchestrator.store.use import using
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.service import start_tracking
from orchestrator.tracking.tree import RunTree
from orchestrator.training.files import FACTS, read_json
from orchestrator.training.recogniser import (
    RecogniserTask,
    Transcribed,
    recogniser_artifact,
    recognition_errors,
)

Row = dict[str, Any]


@dataclass(frozen=True)
class RecogniserOutcome:
    """What a recogniser's evaluation found, and what this call of it computed."""

    result: dict[str, Any]
    folder: str
    """Where its files are, relative to the store."""
    pending: int
    """Journal segments that have not reached MLflow."""


@dataclass(frozen=True)
class RecogniserJob:
    """One fold and seed: fit, then test. Picklable, callable anywhere."""

    fold: str
    task: RecogniserTask
    tested: Transcribed
    store: Store
    tree: RunTree

    @property
    def threads(self) -> int:
        """Of the fit."""
        return self.task.threads

    def __call__(self) -> bool:
        """Whether the store had the recogniser."""
        journal = self.tree.journal(self.fold, self.task.seed)
        journal.start(
            name=f"{self.task.corpus} {self.fold} seed {self.task.seed}",
            parent=self.tree.key(),
            params={"fold": self.fold, "seed": self.task.seed},
            tags={"understudy.kind": "recogniser"},
        )
        try:
            fitted = recogniser_artifact(self.task, self.store, reporter=journal)
            row = self.row()
        except Exception as error:
            journal.end("FAILED", reason=f"{type(error).__name__}: {error}")
            raise
        values = {f"test/{name}": float(row[name]) for name in ("error_rate", "labels", "errors")}
        journal.metrics(values, step=row["epoch"])
        journal.end("FINISHED")
        return fitted.reused

    def row(self) -> Row:
        """The test of the fitted recogniser, as a row of the result."""
        fitted = self.store.get("recogniser", self.task.key(self.store))
        edits = recognition_errors(self.task, self.tested, store=self.store, trained=fitted)
        labels, substitutions, deletions, insertions = edits.sum(0).tolist()
        errors = substitutions + deletions + insertions
        facts = read_json(fitted.path / FACTS)
        return {
            "fold": self.fold,
            "seed": self.task.seed,
            "tested": " ".join(sorted(set(self.tested.speakers))),
            "validation": " ".join(sorted(set(self.task.validation.speakers))),
            "utterances": len(self.tested.ids),
            "labels": labels,
            "substitutions": substitutions,
            "deletions": deletions,
            "insertions": insertions,
            "errors": errors,
            "error_rate": errors / labels,
            "epoch": facts["epoch"],
            "parameters": facts["parameters"],
        }


def recogniser_folder(experiment: RecogniserExperiment) -> str:
    """Where the evaluation's files go in the store."""
    name = experiment.name + (f"@{experiment.variant}" if experiment.variant else "")
    return f"results/{name}" + (".some-folds" if experiment.evaluate.folds else "")


def run_recogniser(experiment: RecogniserExperiment, *, console: Console) -> RecogniserOutcome:
    """Fit and test a recogniser on every fold and seed; what the store has is not done again.

    Raises:
        CorpusError, ProtocolError, ExperimentError: the input cannot be used.
        TrainingError: a fit failed; those that had ended are kept in the store.
    """
    absolute_uri(experiment.tracking.uri)  # raises where runs can never be kept
    folder = recogniser_folder(experiment)
    store = Store(experiment.store, used_by=folder.removeprefix("results/"))
    with (
        Progress(f"recogniser {experiment.name}", console) as progress,
        contextlib.ExitStack() as stack,
    ):
        corpus = load_transcribed(
            experiment.corpora[0], memory=store.folder, progress=progress.hearing, labelled=()
        )
        refuse_frequencies(corpus, experiment.features)
        heard = heard_corpus(corpus, experiment.recogniser)
        tree = RunTree(store, experiment.name, _root(experiment, corpus))
        jobs = _jobs(experiment, corpus, heard, store=store, tree=tree)
        protocol = describe(experiment, corpus, heard)
        stack.enter_context(using(store, command=f"the recogniser {experiment.name!r}"))
        progress.enter("starting Ray")
        connect(experiment.resources)
        fold_runs_at_once(experiment.resources)  # raises where not one fits
        tracking = start_tracking(
            store.uri, uri=experiment.tracking.uri, experiment=experiment.name, prefix=tree.prefix
        )
        if tracking.problem:
            progress.note(f"{tracking.problem}; going on, what is recorded is kept and sent later")
        top = tree.journal()
        top.start(
            name=f"recogniser {experiment.name}",
            parent=None,
            params={
                "recogniser": experiment.recogniser.model_dump(mode="json"),
                "features": experiment.features.model_dump(mode="json"),
            },
            tags={
                "understudy.kind": "recogniser evaluation",
                "understudy.protocol": protocol,
                "understudy.corpus": f"{corpus.name} {corpus.fingerprint}",
                "understudy.version": orchestrator.__version__,
            },
        )
        with ended_by_errors(top, tracking):
            run = shards_on_ray(experiment.resources, progress)
            run(
                f"features of {heard.name}",
                feature_shards(heard, experiment.features, store=store),
            )
            run("recognisers", jobs)
            result = _result(experiment, corpus, [job.row() for job in jobs], protocol=protocol)
            _write(store, folder, result)
            store.noted_all()
        summary = result["summary"]
        top.metrics(
            {
                f"test/error_rate_{what}": summary[what]
                for what in ("mean", "std", "pooled")
                if summary[what] is not None
            },
            step=0,
        )
        top.end("FINISHED")
        progress.enter("sending runs to MLflow")
        pending = tracking.close(timeout=60.0)
        if tracking.refused:
            progress.note(tracking.refused)
    return RecogniserOutcome(result, folder, pending)


def describe(experiment: RecogniserExperiment, corpus: Corpus, heard: Corpus) -> str:
    """The protocol string of a recogniser's result (law 7)."""
    strings = experiment.recogniser.strings
    said = f"{len(heard.table)} utterances"
    if strings is not None:
        said = f"{len(corpus.table)} utterances in {len(heard.table)} strings ({strings.passes}x)"
    some, protocol = experiment.evaluate.folds, experiment.protocol
    kept = protocol.validation_speakers
    validation = f"{kept} other speaker{'' if kept == 1 else 's'}" if kept else "none, last epoch"
    folds, seeds = len(speaker_groups(corpus, protocol)), len(experiment.evaluate.seeds)
    aside = f" | set aside: {len(corpus.set_aside)}" if corpus.set_aside else ""
    told = f" | some folds only: {', '.join(some)}" if some else ""
    return (
        f"{corpus.name} | {protocol.kind} ({folds} folds, {seeds} seed{'' if seeds == 1 else 's'})"
        f" | validation: {validation} | {said}{aside} | error rate of "
        f"{experiment.recogniser.units}{told}"
    )


def render_recogniser(result: Mapping[str, Any]) -> list[RenderableType]:
    """The tables of a recogniser's result."""
    table = Table("fold", "seed", "labels", "subst.", "del.", "ins.", "error rate (%)", "epoch")
    for row in result["rows"]:
        table.add_row(
            *(str(row[key]) for key in ("fold", "seed", "labels")),
            *(str(row[key]) for key in ("substitutions", "deletions", "insertions")),
            f"{100 * row['error_rate']:.1f}",
            str(row["epoch"]),
        )
    summary = result["summary"]
    std = "" if summary["std"] is None else f" ± {100 * summary['std']:.1f}"
    return [
        result["protocol"],
        f"corpus fingerprint: {result['fingerprint']}",
        table,
        f"error rate {100 * summary['mean']:.1f}{std} % (mean{' ± std' if std else ''} over "
        f"{summary['folds']} fold{'' if summary['folds'] == 1 else 's'}, "
        f"{summary['seeds']} seed{'' if summary['seeds'] == 1 else 's'} averaged within each), "
        f"{100 * summary['pooled']:.1f} % over all labels; "
        f"{result['rows'][0]['parameters']:,} parameters",
    ]


def markdown_recogniser(result: Mapping[str, Any]) -> str:
    """The same as Markdown."""
    lines = [
        result["protocol"],
        "",
        "| fold | seed | labels | substitutions | deletions | insertions | error rate | epoch |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['fold']} | {row['seed']} | {row['labels']} | {row['substitutions']} | "
        f"{row['deletions']} | {row['insertions']} | {100 * row['error_rate']:.1f} | "
        f"{row['epoch']} |"
        for row in result["rows"]
    ]
    last = render_recogniser(result)[-1]
    return "\n".join([*lines, "", str(last)]) + "\n"


def stored_recogniser(experiment: RecogniserExperiment) -> dict[str, Any] | None:
    """The result of an earlier evaluation, or None."""
    name = f"{recogniser_folder(experiment)}/evaluation.json"
    store = Store(experiment.store)
    if not store.exists(name):
        return None
    found: dict[str, Any] = json.loads(store.read_bytes(name))
    return found


def _jobs(
    experiment: RecogniserExperiment, corpus: Corpus, heard: Corpus, *, store: Store, tree: RunTree
) -> list[RecogniserJob]:
    only, jobs = experiment.evaluate.folds, []
    groups = speaker_groups(corpus, experiment.protocol)
    _refuse_unknown(only, tuple(groups))
    for seed in experiment.evaluate.seeds:
        for fold, tested in groups.items():
            if only and fold not in only:
                continue
            others = set(corpus.table["speaker"]) - set(tested)
            train, validation = split_speakers(
                others,
                count=experiment.protocol.validation_speakers,
                draw=["recogniser", seed, fold],
                what=f"protocol.validation_speakers of fold {fold}",
            )
            task = recogniser_task(
                heard,
                experiment.recogniser,
                features=experiment.features,
                resources=experiment.resources,
                store=store,
                train=train,
                validation=validation,
                seed=seed,
                device=device_of(experiment),
            )
            said = Transcribed.of(heard.table, tested)
            jobs.append(RecogniserJob(fold, task, said, store, tree))
    return jobs


def speaker_groups(
    corpus: Corpus, protocol: RecogniserSpeakerOut | RecogniserSpeakerFolds
) -> dict[str, tuple[str, ...]]:
    """The speakers that each fold tests, by the fold's name; from their names alone.

    Raises:
        ProtocolError: there are fewer speakers than folds, or one alone.
    """
    speakers = sorted(set(corpus.table["speaker"]))
    if isinstance(protocol, RecogniserSpeakerOut):
        groups: dict[str, tuple[str, ...]] = {f"speaker={name}": (name,) for name in speakers}
    else:
        ranked = sorted(speakers, key=lambda name: digest(["recogniser folds", name]))
        dealt = [ranked[place :: protocol.folds] for place in range(protocol.folds)]
        groups = {f"fold={place}": tuple(sorted(some)) for place, some in enumerate(dealt)}
    if len(speakers) < max(2, len(groups)):
        raise ProtocolError(
            f"protocol {protocol.kind}: corpus {corpus.name!r} has {len(speakers)} speakers, too "
            f"few for {max(2, len(groups))} folds; lower protocol.folds, or take a corpus of more"
        )
    return groups


def _refuse_unknown(only: Sequence[str], known: Sequence[str]) -> None:
    for name in only:
        if name not in known:
            raise ProtocolError(
                f"evaluate.folds: there is no fold {name!r}; the folds are {', '.join(known)}"
            )


def _result(
    experiment: RecogniserExperiment, corpus: Corpus, rows: list[Row], *, protocol: str
) -> dict[str, Any]:
    rows = sorted(rows, key=lambda row: (row["fold"], row["seed"]))
    by_fold: dict[str, dict[int, float]] = {}
    for row in rows:
        by_fold.setdefault(row["fold"], {})[row["seed"]] = row["error_rate"]
    found = fold_summary(by_fold)
    return {
        "kind": "recogniser",
        "experiment": experiment.name,
        "protocol": protocol,
        "fingerprint": corpus.fingerprint,
        "recogniser": experiment.recogniser.model_dump(mode="json"),
        "features": experiment.features.model_dump(mode="json"),
        "code": {"version": orchestrator.__version__, "sources": sources_digest()},
        "set_aside": [problem.id for problem in corpus.set_aside],
        "accepted": [problem.id for problem in corpus.accepted],
        "rows": rows,
        "summary": {
            "mean": found.mean,
            "std": found.std,
            "folds": found.folds,
            "seeds": found.seeds,
            "pooled": sum(row["errors"] for row in rows) / sum(row["labels"] for row in rows),
        },
    }


def _root(experiment: RecogniserExperiment, corpus: Corpus) -> str:
    """Its name in the run tree: the same recogniser on the same corpus is the same run."""
    plain = experiment.model_dump(mode="json")
    what = {key: plain[key] for key in ("recogniser", "features", "protocol", "evaluate")}
    return f"recogniser-{digest([what, corpus.fingerprint])[:12]}"


def _write(store: Store, folder: str, result: dict[str, Any]) -> None:
    text = json.dumps(result, indent=1, sort_keys=True) + "\n"
    store.write_bytes(f"{folder}/evaluation.json", text.encode())
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(result["rows"][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(result["rows"])
    store.write_bytes(f"{folder}/rows.csv", buffer.getvalue().encode())
