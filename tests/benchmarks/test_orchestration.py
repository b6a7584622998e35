"""The benchmark of orchestration: equal work, what differs is refused, its sums are right."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import benchmarks.orchestration as command
import benchmarks.orchestration_ways as ways
from benchmarks.orchestration import compared, main, table
from benchmarks.orchestration_ways import (
    RATE,
    RATES,
    Bench,
    Measured,
    Outcome,
    calibrated,
    journalled,
    refuse_unequal,
)
from benchmarks.without_sweep import loop
from orchestrator.errors import UnderstudyError
from orchestrator.experiment import load_experiment
from orchestrator.store import Store
from orchestrator.tracking.tree import RunTree
from orchestrator.training.task import FoldTask


def outcome(
    way: str,
    *,
    span: float = 10.0,
    scores: Mapping[tuple[int, str], float] | None = None,
    students: Mapping[str, str] | None = None,
) -> Outcome:
    """One way's, of two trials on one fold."""
    own = scores or {(0, "a"): 0.5, (1, "a"): 0.75}
    measured = Measured(way, fold_runs=len(own), start=2.0, span=span, end=0.5, inside=4.0)
    return Outcome(measured, own, students or {f"k{trial}": f"m{trial}" for trial, _ in own})


class Canned:
    """A bench whose ways took so many seconds."""

    slots, epochs = 1, 7

    def __init__(self, **spans: list[float]) -> None:
        self.spans = spans
        self.order: list[str] = []

    def __getattr__(self, way: str) -> Callable[..., Outcome]:
        def run(**options: int) -> Outcome:
            self.order.append(way)
            return outcome(way, span=self.spans[way].pop(0))

        return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where benches of this module have their features."""
    return tmp_path_factory.mktemp("orchestration")


def test_a_share_of_the_work_is_every_nth_fold_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(folder, slots=2, epochs=1)
    job = replace(bench.prepared("bare"), recipes=({RATE: 0.01},))

    done = []
    for slot in range(2):
        monkeypatch.setattr("sys.stdin", io.StringIO("go\n"))
        loop(job, slot)
        done.append({path.stem for path in Path(job.notes).iterdir()})

    assert done[0] == {"0-session=1", "0-session=3"}
    assert done[1] - done[0] == {"0-session=2", "0-session=4"}
    store = Path(load_experiment(job.file).store)
    assert len(list((store / "artifacts" / "student").glob("*/*"))) == 4


def test_every_way_begins_without_results_but_with_features(folder: Path) -> None:
    bench = Bench(folder, slots=1, epochs=1)
    stores = [load_experiment(bench.prepared(way).file).store for way in ("bare", "understudy")]
    (Path(stores[1]) / "old").touch()
    again = load_experiment(bench.prepared("understudy").file).store

    assert len(set(stores)) == 2
    assert again == stores[1]
    for store in stores:
        assert [path.name for path in (Path(store) / "artifacts").iterdir()] == ["features"]
    assert not (Path(again) / "old").exists()


def test_journals_tell_the_fold_runs_of_a_sweep(folder: Path) -> None:
    job = Bench(folder, slots=1, epochs=1).prepared("understudy")
    tree = RunTree(Store(load_experiment(job.file).store), "orchestration", "sweep")
    tree.journal().start("sweep", tags={"understudy.kind": "sweep"})
    # trial 0 of the sweep has the last recipe of the job
    trial = tree.journal(0)
    trial.start("trial 0", params={RATE: RATES[-1]}, tags={"understudy.kind": "trial"})
    run = tree.journal(0, "synthetic/a", 0)
    run.start("a", trial.key, params={"fold": "a"}, tags={"understudy.kind": "fold run"})
    run.metrics({"validation/macro_recall": 0.9}, step=1)
    run.metrics({"chosen/epoch": 3.0, "chosen/validation_macro_recall": 0.25}, step=3)
    run.end("FINISHED")

    (found,) = journalled(job)

    assert (found.trial, found.fold, found.score) == (len(RATES) - 1, "a", 0.25)
    assert 0 <= found.ended - found.began < 60


def test_equal_scores_and_students_pass() -> None:
    floor = outcome("bare")

    refuse_unequal(floor, outcome("understudy", span=99.0))
    refuse_unequal(
        floor, outcome("documented", scores={(0, "a"): 0.5}, students={"k0": "m0"}), trials=1
    )


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (outcome("understudy", scores={(0, "a"): 0.5, (1, "a"): 0.7500001}), "other scores"),
        (outcome("understudy", scores={(0, "a"): 0.5}), "other scores"),
        (outcome("understudy", students={"k0": "m0", "k1": "other"}), "2 students, 1 of them"),
        (outcome("understudy", students={"k0": "m0"}), "1 students, 0 of them"),
    ],
)
def test_other_scores_or_students_are_refused(other: Outcome, said: str) -> None:
    with pytest.raises(UnderstudyError, match=said):
        refuse_unequal(outcome("bare"), other)


def test_ratios_are_to_the_bare_loops_of_the_same_turn() -> None:
    bench = Canned(bare=[10.0, 20.0, 8.0], understudy=[11.0, 20.0, 12.0], documented=[110.0])

    found = compared(bench, repeats=3, documented_trials=len(RATES))  # type: ignore[arg-type]

    # who goes first changes from turn to turn
    assert bench.order[:4] == ["bare", "understudy", "understudy", "bare"]
    assert found.overhead_ratios == (1.1, 1.0, 1.5)
    assert found.overhead_ratio == 1.1
    # two fold runs in a median of 12 s and in 110 s; with start 14.5 and 112.5
    assert found.speedup_over_documented == round(110 / 12, 2)
    assert found.speedup_with_start == round(112.5 / 14.5, 2)
    assert "| understudy | 2 | 2.0 | 12.0 | 0.5 | 2.00 | 600 | 497 |" in table(found)


def test_without_the_documented_way_there_is_no_speedup() -> None:
    found = compared(
        Canned(bare=[10.0], understudy=[11.0]),  # type: ignore[arg-type]
        repeats=1,
        documented_trials=0,
    )

    assert found.speedup_over_documented is None
    assert "speedup" not in table(found)


@pytest.mark.parametrize(("seconds", "epochs"), [(1.0, 18), (0.1, 1)])
def test_epochs_are_as_many_as_make_the_seconds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, epochs: int
) -> None:
    clock = [0.0]

    def run(task: FoldTask, **options: object) -> None:
        clock[0] += 0.1 + 0.05 * task.recipe.training.epochs

    monkeypatch.setattr(ways, "run_fold", run)
    monkeypatch.setattr(ways, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    assert calibrated(folder, seconds=seconds) == epochs


def test_json_holds_both_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "calibrated", lambda folder, seconds: 3)
    monkeypatch.setattr(
        command,
        "Bench",
        lambda folder, slots, epochs: Canned(bare=[10.0], understudy=[11.0], documented=[110.0]),
    )

    assert main(["--json", "--repeats", "1", "--slots", "1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["overhead_ratio"], said["speedup_over_documented"]) == (1.1, 10.0)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--slots", "5"], "dealt out evenly"),
        (["--slots", "0"], "dealt out evenly"),
        (["--repeats", "0"], "at least 1"),
        (["--fold-seconds", "0"], "more than 0"),
        (["--documented-trials", "7"], "give 0 to 6"),
    ],
)
def test_impossible_numbers_are_refused(
    asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(asked) == 2
    assert said in capsys.readouterr().err
