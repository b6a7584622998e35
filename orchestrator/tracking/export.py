"""Every fold result of an experiment as one tidy table, from MLflow alone.

So whoever has the tracking server, and neither the store nor the corpora, has the numbers.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InputError, UnderstudyError
from orchestrator.tracking.reading import read_runs, tag_of
from orchestrator.tracking.record import MLFLOW_PARENT_TAG

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

KIND_TAG = "understudy.kind"
PROTOCOL_TAG = "understudy.protocol"
KINDS = ("fold run", "teacher")
"""Kinds of runs that have a row."""
ENDINGS = (".csv", ".parquet")
COLUMNS = (
    "experiment",
    "command",
    "search",
    "trial",
    "system",
    "corpus",
    "fold",
    "seed",
    "role",
    "status",
    "epoch",
)
"""Columns before the measurements: what the fold run is. ``protocol``, ``command_id`` and
``run_id``, MLflow's ids, come last."""
_MEASURED = ("chosen/", "test/")
_LAST = ("protocol", "command_id", "run_id")
_PARAM = "param/"


def export_runs(uri: str, experiment: str) -> pd.DataFrame:
    """A row per fold run of an experiment in MLflow, and one per teacher of a sweep.

    Columns are :data:`COLUMNS`; every metric of the runs under ``chosen/`` and ``test/`` by its
    name; every parameter of their trials and systems as ``param/NAME``, as numbers where all are;
    and :data:`_LAST`. What a run does not have is missing; an infinity is 1.797e308, as MLflow's
    databases keep it. ``search`` is the fold that a trial's search is inside of, of ``nested``
    selection. Rows are sorted by those columns, numbers in names by their size, so that equal runs
    are equal tables.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the MLflow experiment.

    Raises:
        InputError: There is no such database or experiment.
        UnderstudyError: It cannot be read.
    """
    import pandas as pd

    runs = {run.info.run_id: run for run in read_runs(uri, experiment)}
    rows = [_row(run, runs, experiment) for run in runs.values() if tag_of(run, KIND_TAG) in KINDS]
    rows.sort(key=_place)
    names = {name for row in rows for name in row}
    inner = sorted(
        names - {*COLUMNS, *_LAST}, key=lambda name: (name.startswith(_PARAM), _natural(name))
    )
    table = pd.DataFrame(rows, columns=[*COLUMNS, *inner, *_LAST])
    for name in inner:
        with contextlib.suppress(ValueError):
            table[name] = pd.to_numeric(table[name])
    return table.astype({"trial": "Int64", "seed": "Int64", "epoch": "Int64"})


def check_target(target: Path) -> None:
    """Look at the name and folder of an export before anything is read.

    Raises:
        InputError: Its ending says no format, or its folder does not exist.
    """
    if target.suffix.lower() not in ENDINGS:
        raise InputError(f"--to {target}: end its name in {' or '.join(ENDINGS)}")
    if not target.parent.is_dir():
        raise InputError(f"--to {target}: the folder {target.parent} does not exist")


def write_export(table: pd.DataFrame, target: Path) -> None:
    """Write a table as CSV or Parquet, by the ending of ``target``.

    Raises:
        InputError: As :func:`check_target`.
        UnderstudyError: It cannot be written.
    """
    check_target(target)
    try:
        if target.suffix.lower() == ".parquet":
            table.to_parquet(target, index=False)
        else:
            table.to_csv(target, index=False, lineterminator="\n")
    except OSError as error:
        raise UnderstudyError(f"--to {target}: cannot be written ({error.strerror})") from error


def _row(run: Run, runs: Mapping[str, Run], experiment: str) -> dict[str, Any]:
    above = list(_ancestors(run, runs))
    top = above[-1] if above else run
    named = {tag_of(one, KIND_TAG): one.info.run_name for one in reversed(above)}
    search, trial = _trial(named.get("trial", ""))
    params, metrics = run.data.params, run.data.metrics
    epoch = metrics.get("chosen/epoch")
    return {
        "experiment": experiment,
        "command": top.info.run_name,
        "search": search,
        "trial": trial,
        "system": named.get("system"),
        **{name: params.get(name) for name in ("corpus", "fold", "role")},
        "seed": int(params["seed"]) if "seed" in params else None,
        "status": run.info.status,
        "epoch": None if epoch is None else int(epoch),
        **{
            name: value
            for name, value in metrics.items()
            if name.startswith(_MEASURED) and name != "chosen/epoch"
        },
        **{
            f"{_PARAM}{name}": value
            for one in above
            if tag_of(one, KIND_TAG) in ("trial", "system")
            for name, value in one.data.params.items()
        },
        "protocol": next(filter(None, (tag_of(one, PROTOCOL_TAG) for one in [run, *above])), None),
        "command_id": top.info.run_id,
        "run_id": run.info.run_id,
    }


def _trial(name: str) -> tuple[str | None, int | None]:
    """The search and the number in the name of a trial's run.

    >>> _trial("trial 7"), _trial("emodb/speaker=03, trial 12")
    ((None, 7), ('emodb/speaker=03', 12))
    """
    found = re.fullmatch(r"(?:(.*), )?trial (\d+)", name)
    return (found[1], int(found[2])) if found else (None, None)


def _ancestors(run: Run, runs: Mapping[str, Run]) -> Iterator[Run]:
    """The runs above a run, the nearest first, as far as they are there."""
    seen = {run.info.run_id}
    while (above := tag_of(run, MLFLOW_PARENT_TAG)) in runs and above not in seen:
        seen.add(above)
        run = runs[above]
        yield run


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What rows are sorted by."""
    names = ("system", "corpus", "fold", "role")
    return (
        *(_natural(row[name] or "") for name in ("command", "search")),
        -1 if row["trial"] is None else row["trial"],
        *(_natural(row[name] or "") for name in names),
        -1 if row["seed"] is None else row["seed"],
        row["command_id"],
        row["run_id"],
    )


def _natural(text: str) -> list[tuple[int, int | str]]:
    """Text in the order of people, in which 10 comes after 9."""
    parts: Iterable[str] = re.split(r"(\d+)", text)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
