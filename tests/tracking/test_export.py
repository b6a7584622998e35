"""Fold results taken out of a real MLflow database."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.errors import InputError, UnderstudyError
from orchestrator.store import Store
from orchestrator.tracking.export import export_runs, write_export
from orchestrator.tracking.reading import NoRunsError
from orchestrator.tracking.writer import Writer
from tests.tracking.journals import Written

NAME = "exported"
SHARED = [
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
]


def fold_run(
    store: Store, place: str, *, parent: str, fold: str, seed: int, **values: float
) -> None:
    """The journal of a finished fold run with its chosen epoch 3."""
    run = Written(store, f"{place}-{fold}-{seed}")
    run.start(
        f"tones {fold} seed {seed}",
        parent=parent,
        params={"corpus": "tones", "fold": fold, "seed": str(seed), "role": "student"},
        tags={"understudy.kind": "fold run"},
    )
    run.metrics(1, validation__macro_recall=0.1)
    run.metrics(3, chosen__epoch=3.0, **values)
    run.end()


@pytest.fixture(scope="module")
def exported(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tracking URI of a sweep of trials 2 and 10, and an evaluation of one system."""
    store = Store(tmp_path_factory.mktemp("store"))
    top = Written(store, f"{NAME}/sweep/sweep")
    top.start(f"sweep {NAME}", tags={"understudy.kind": "sweep"})
    for number in (10, 2):
        trial = Written(store, f"{NAME}/sweep/t{number}")
        trial.start(
            f"trial {number}",
            parent="sweep",
            params={"lr": f"0.{number}"},
            tags={"understudy.kind": "trial", "understudy.protocol": "tones | inner"},
        )
        for fold in ("session=10", "session=9"):
            fold_run(
                store,
                f"{NAME}/sweep/f{number}",
                parent=f"t{number}",
                fold=fold,
                seed=0,
                chosen__validation_macro_recall=number / 100,
            )
        trial.metrics(2, validation__macro_recall=number / 100)
        trial.end("KILLED" if number == 10 else "FINISHED", "pruned")
    top.end()
    teacher = Written(store, f"{NAME}/sweep/teacher")
    teacher.start("teacher", parent="sweep", tags={"understudy.kind": "teacher"})
    teacher.metrics(1, chosen__epoch=1.0)
    teacher.end()
    top = Written(store, f"{NAME}/evaluation-0a/evaluation")
    top.start(f"evaluation {NAME}", tags={"understudy.kind": "evaluation"})
    system = Written(store, f"{NAME}/evaluation-0a/student")
    system.start(
        "student",
        parent="evaluation",
        params={"recipe.student.dim": "8"},
        tags={"understudy.kind": "system", "understudy.protocol": "tones | outer"},
    )
    for seed in (1, 0):
        fold_run(
            store,
            f"{NAME}/evaluation-0a/e",
            parent="student",
            fold="session=9",
            seed=seed,
            test__macro_recall=0.5 + seed / 10,
            test__cross_entropy=math.inf,
        )
    running = Written(store, f"{NAME}/evaluation-0a/running")
    running.start(
        "tones session=10 seed 0",
        parent="student",
        params={"corpus": "tones", "fold": "session=10", "seed": "0", "role": "student"},
        tags={"understudy.kind": "fold run"},
    )
    writer = Writer(mlflow_uri, NAME)
    writer.initialise()
    for root in ("sweep", "evaluation-0a"):
        writer.replay(store, f"journal/{NAME}/{root}")
    return mlflow_uri


def test_there_is_a_row_per_fold_run_in_the_order_of_people(exported: str) -> None:
    table = export_runs(exported, NAME)

    assert list(table.columns) == [
        *SHARED,
        "chosen/validation_macro_recall",
        "test/cross_entropy",
        "test/macro_recall",
        "param/lr",
        "param/recipe.student.dim",
        "protocol",
        "command_id",
        "run_id",
    ]
    shown = table[["command", "trial", "system", "fold", "seed", "status", "epoch"]]
    assert shown.astype(object).where(shown.notna(), None).to_numpy().tolist() == [
        ["evaluation exported", None, "student", "session=9", 0, "FINISHED", 3],
        ["evaluation exported", None, "student", "session=9", 1, "FINISHED", 3],
        ["evaluation exported", None, "student", "session=10", 0, "RUNNING", None],
        # a teacher of the sweep
        ["sweep exported", None, None, None, None, "FINISHED", 1],
        ["sweep exported", 2, None, "session=9", 0, "FINISHED", 3],
        ["sweep exported", 2, None, "session=10", 0, "FINISHED", 3],
        ["sweep exported", 10, None, "session=9", 0, "FINISHED", 3],
        ["sweep exported", 10, None, "session=10", 0, "FINISHED", 3],
    ]


def test_a_row_has_its_measurements_its_trial_s_parameters_and_its_protocol(exported: str) -> None:
    table = export_runs(exported, NAME)

    tested, chosen = table.iloc[1], table.iloc[6]
    assert tested["test/macro_recall"] == 0.6
    assert tested["test/cross_entropy"] == sys.float_info.max  # an infinity in MLflow's databases
    assert pd.isna(tested["chosen/validation_macro_recall"])
    assert (tested["param/recipe.student.dim"], tested["protocol"]) == (8, "tones | outer")
    assert chosen["chosen/validation_macro_recall"] == 0.1
    assert (chosen["param/lr"], chosen["protocol"]) == (0.1, "tones | inner")
    assert table["run_id"].is_unique
    assert table["command_id"].nunique() == 2
    assert set(table["experiment"]) == {NAME}


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_written_table_reads_back_and_twice_the_same_is_the_same_bytes(
    exported: str, tmp_path: Path, ending: str
) -> None:
    table = export_runs(exported, NAME)
    once, again = tmp_path / f"once{ending}", tmp_path / f"again{ending}"

    write_export(table, once)
    write_export(export_runs(exported, NAME), again)

    assert once.read_bytes() == again.read_bytes()
    read = pd.read_csv(once) if ending == ".csv" else pd.read_parquet(once)
    assert list(read.columns) == list(table.columns)
    for name in ("fold", "seed", "test/macro_recall", "run_id"):
        ours, theirs = table[name], read[name]
        assert [None if pd.isna(it) else it for it in theirs] == [
            None if pd.isna(it) else it for it in ours
        ]


def test_another_ending_and_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results.xlsx: end its name in .csv or .parquet"):
        write_export(pd.DataFrame(), tmp_path / "results.xlsx")
    with pytest.raises(InputError, match="the folder .*missing does not exist"):
        write_export(pd.DataFrame(), tmp_path / "missing" / "results.csv")


def test_a_place_that_cannot_be_written_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "results.csv").mkdir()

    with pytest.raises(UnderstudyError, match="results.csv: cannot be written"):
        write_export(pd.DataFrame({"a": [1]}), tmp_path / "results.csv")


def test_an_experiment_that_mlflow_does_not_have_names_the_nearest(exported: str) -> None:
    with pytest.raises(NoRunsError, match="has no experiment 'exportet'; did you mean 'exported'"):
        export_runs(exported, "exportet")


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NoRunsError, match="there is no database"):
        export_runs(f"sqlite:///{tmp_path}/runs.db", NAME)

    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_gone_is_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with pytest.raises(UnderstudyError, match="connection refused"):
        export_runs("http://127.0.0.1:9", NAME)
