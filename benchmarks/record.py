"""The record of an evaluation: its rows as CSV files in ``benchmarks/results``, its tables printed.

Run from a checkout, after ``understudy evaluate`` with the same file and overrides::

    python -m benchmarks.record experiments/emodb-whisper.yaml

Nothing is computed: the figures are those of the stored evaluation, after a check that they add up.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import InputError, UnderstudyError
from orchestrator.evaluation.evaluate import result_folder
from orchestrator.evaluation.recogniser import (
    markdown_recogniser,
    recogniser_folder,
    stored_recogniser,
)
from orchestrator.evaluation.report import markdown
from orchestrator.evaluation.stored import stored_result
from orchestrator.experiment import load_experiment
from orchestrator.experiment.loading import is_recogniser_file, load_recogniser_experiment

FOLDER = Path(__file__).resolve().parent / "results"


def record(
    file: str | Path,
    *,
    overrides: Sequence[str] = (),
    variant: str | None = None,
    folder: Path = FOLDER,
) -> tuple[str, list[Path]]:
    """Check a stored evaluation and write its rows.

    Args:
        file: the experiment file.
        overrides: those of the evaluation, as far as they say where its results lie.
        variant: that of the evaluation.
        folder: default ``benchmarks/results``.

    Returns:
        The evaluation's tables as Markdown, and the files written: ``NAME.csv``, a row per system,
        fold and seed, and ``NAME-speakers.csv``, a row per system, seed and speaker.

    Raises:
        ExperimentError: the experiment file is wrong.
        InputError: the experiment has no stored evaluation.
        UnderstudyError: the evaluation's figures do not add up.
    """
    experiment = load_experiment(file, overrides=overrides, variant=variant)
    result = stored_result(experiment)
    if result is None:
        raise InputError(
            f"{file}: the store {experiment.store!r} has no evaluation of {experiment.name!r}; "
            f"run `understudy evaluate {file}` first, with the same overrides and variant"
        )
    check_sums(result)
    name = Path(result_folder(experiment)).name
    files = [folder / f"{name}.csv", folder / f"{name}-speakers.csv"]
    folder.mkdir(parents=True, exist_ok=True)
    for path, rows in zip(files, (result["rows"], result["speakers"]), strict=True):
        _write(path, rows)
    return markdown(result), files


def record_recogniser(
    file: str | Path,
    *,
    overrides: Sequence[str] = (),
    variant: str | None = None,
    folder: Path = FOLDER,
) -> tuple[str, list[Path]]:
    """Write the rows of a speech recogniser's stored evaluation; as :func:`record`.

    Returns:
        Its table as Markdown, and ``NAME.csv``, a row per fold and seed.
    """
    experiment = load_recogniser_experiment(file, overrides=overrides, variant=variant)
    result = stored_recogniser(experiment)
    if result is None:
        raise InputError(
            f"{file}: the store {experiment.store!r} has no evaluation of {experiment.name!r}; "
            f"run `understudy evaluate {file}` first, with the same overrides and variant"
        )
    path = folder / f"{Path(recogniser_folder(experiment)).name}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, result["rows"])
    return markdown_recogniser(result), [path]


def check_sums(result: Mapping[str, Any]) -> None:
    """Refuse an evaluation in which an utterance is missing, or counted twice.

    Of every corpus, system and seed, the confusion matrix, the folds and the speakers must each sum
    to the ``n`` of the summary.

    Args:
        result: as stored in ``evaluation.json``.

    Raises:
        UnderstudyError: some do not; names each with both numbers.
    """
    wrong = []
    for entry in result["summary"]:
        corpus, system, n = entry["corpus"], entry["system"], entry["n"]
        for seed in result["seeds"]:
            matrix = result["confusion"][corpus][system][str(seed)]
            place = (corpus, system, seed)
            found = {
                "confusion matrix": sum(map(sum, matrix)),
                "folds": _summed(result["rows"], place),
                "speakers": _summed(result["speakers"], place),
            }
            wrong += [
                f"{corpus}, {system}, seed {seed}: {what} {total}, n {n}"
                for what, total in found.items()
                if total != n
            ]
    if wrong:
        raise UnderstudyError(
            f"the evaluation of {result['experiment']} does not add up: {'; '.join(wrong)}"
        )


def _summed(rows: Iterable[Mapping[str, Any]], place: tuple[str, str, int]) -> int:
    return sum(
        int(row["n"]) for row in rows if (row["corpus"], row["system"], row["seed"]) == place
    )


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record one evaluation; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", help="the experiment file")
    parser.add_argument("overrides", nargs="*", help="key=value, as for the evaluation")
    parser.add_argument("--variant", help="as for the evaluation")
    given = parser.parse_intermixed_args(arguments)
    try:
        of_file = record_recogniser if is_recogniser_file(given.file) else record
        tables, files = of_file(given.file, overrides=given.overrides, variant=given.variant)
    except UnderstudyError as error:
        print(f"record: {error}", file=sys.stderr)
        return error.exit_code
    print(tables, end="")
    for path in files:
        print(f"wrote {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
