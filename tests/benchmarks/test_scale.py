"""The benchmark of scale: what it leaves out, what it times, and that its sums are right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scale
from benchmarks.scale import experiment_in, growth, main, measured, told
from benchmarks.simulated_sweep import Memory, Simulated
from orchestrator.capacity.slots import Slots
from orchestrator.experiment import Experiment
from orchestrator.preparation import plan_folds, prepare
from orchestrator.store import Store
from orchestrator.sweep.searcher import StudySearcher
from orchestrator.sweep.trial import TrialActor, TrialContext
from orchestrator.tracking.journal import read_segment
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import FoldOutcome

TRIALS, FOLDS = 4, 3


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("scale")
    return experiment_in(folder, trials=TRIALS, folds=FOLDS, sampler="random")


def by_hand(context: TrialContext, searcher: StudySearcher, *, trials: int, slots: Slots) -> None:
    """As Tune would, one trial after another in this process."""
    for place in range(trials):
        config = searcher.suggest(f"t{place}")
        actor = object.__new__(TrialActor)
        actor.setup(config, context=context)  # type: ignore[arg-type]
        result: dict[str, Any] = {}
        while not result.get("done"):
            result = actor.step()
            if not result["done"]:
                searcher.hear(f"t{place}", result)
        searcher.on_trial_complete(f"t{place}", result)


def test_every_result_of_the_sweep_is_counted_and_timed(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "run_trials", by_hand)
    slots = Slots(1, "CPUs", {}, (), 0)
    monkeypatch.setattr(scale, "fold_runs_at_once", lambda resources: slots)
    folder = Path(experiment.store).parent

    found = measured(experiment, folder, tracking=False)

    assert (found.trials, found.results, found.slots) == (TRIALS, TRIALS * FOLDS, 1)
    assert min(found.study_ms, found.journal_ms, found.store_ms, found.study_mib) > 0
    assert list(found.propose_ms) == [TRIALS]
    assert found.pending is None
    assert "| trials, fold results | 4, 12 |" in told(found)
    # nothing was trained, and everything published
    students = Path(experiment.store) / "artifacts" / "student"
    assert len(list(students.glob("*/*/logits.bin"))) == TRIALS * FOLDS
    assert not (students.parent / "teacher").exists()


def test_a_simulated_fold_run_depends_on_its_recipe_and_fold_alone(
    experiment: Experiment, tmp_path: Path
) -> None:
    store = Store(experiment.store)
    planned = plan_folds(
        experiment, prepare(experiment, store), protocol=experiment.protocol, seeds=(0,)
    )
    one, two = planned[0].task, planned[1].task
    tree = RunTree(store, "by-hand", "sweep")
    simulated = Simulated(str(tmp_path))

    def run(task: Any, *place: int) -> FoldOutcome:
        journal = tree.journal(*place)
        return simulated(task, store=store, journal=journal, tree=tree, parent="p")

    first, again, other = run(one, 0), run(one, 1), run(two, 2)

    assert first.validation.confusion.tolist() == again.validation.confusion.tolist()
    assert (first.artifact.key, first.reused, again.reused) == (again.artifact.key, False, True)
    assert other.artifact.key != first.artifact.key
    assert first.validation.n == len(one.validation.labels)
    assert len(simulated.noted()) == 3
    names = store.list(f"{tree.prefix}/{tree.key(0)}")
    events = [event["event"] for name in names for event in read_segment(store.read_bytes(name))]
    assert events == ["start", "metrics", "metrics", "metrics", "metrics"]


def test_the_slope_is_that_of_the_second_half() -> None:
    memory = Memory(searcher=None)  # type: ignore[arg-type]
    assert memory.slope() is None
    # 100 MiB in the first 500 results, then 1 MiB for each hundred
    memory.samples = [(0.0, 0, 100.0), (1.0, 250, 150.0)]
    memory.samples += [(2.0 + step, 500 + 100 * step, 200.0 + step) for step in range(6)]

    assert memory.slope() == pytest.approx(10.0)
    assert memory.mib()[:3] == [100.0, 150.0, 200.0]


def test_what_a_proposal_takes_is_told_at_marks_and_at_the_end() -> None:
    # 1 ms for the first hundred, 2 ms for those up to 299, then 3 ms
    seconds = [0.001] * 100 + [0.002] * 199 + [0.003] * 51

    assert growth(seconds[:7]) == {7: 1.0}
    assert growth(seconds) == {100: 1.0, 300: 2.02, 350: 3.0}


@pytest.mark.parametrize("asked", [["--trials", "0"], ["--folds", "2"], ["--cpus", "0"]])
def test_impossible_numbers_are_refused(
    asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def none(**options: int) -> Iterator[str]:
        raise AssertionError("no cluster is to start")
        yield ""

    monkeypatch.setattr(scale, "cluster", none)

    assert main(asked) == 2
    assert "give at least" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_on_a_cluster_of_two_nodes() -> None:
    asked = ["--trials", "3", "--folds", "3", "--nodes", "2", "--cpus", "1", "--json"]
    # in a process of its own, for it joins a cluster
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", *asked], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)

    assert (said["trials"], said["results"], said["slots"], said["pending"]) == (3, 9, 2, 0)
