"""What a search is refused for before any work: machines, folds, constraints."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from orchestrator.errors import ExperimentError, ProtocolError
from orchestrator.experiment import Experiment
from orchestrator.experiment.recipe import VerticalVit
from orchestrator.features import PackedFrames
from orchestrator.preparation import Prepared, prepare, read_corpora
from orchestrator.store import Store
from orchestrator.sweep import checking
from orchestrator.sweep.checking import (
    Within,
    check_draws,
    check_search,
    mean_frames,
    refuse_resources,
    search_folds,
)
from orchestrator.sweep.costs import student_costs
from orchestrator.sweep.probing import probe_space
from tests import small

DEPTHS = "search.parameters={recipe.student.depth: [1, 2, 3]}"


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "probe_space", partial(probe_space, draws=30))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, ...]:
    experiment = small.load(tmp_path_factory.mktemp("corpora"))
    return read_corpora(experiment, Store(experiment.store))


def costs(experiment: Experiment, depth: int, *, frames: int) -> dict[str, int]:
    student = experiment.recipe.student
    assert isinstance(student, VerticalVit)
    recipe = experiment.recipe.model_copy(
        update={"student": student.model_copy(update={"depth": depth})}
    )
    return student_costs(recipe, features=experiment.features, classes=4, frames=frames)


@pytest.mark.parametrize("bound", ["macs", "parameters"])
def test_the_share_of_draws_within_a_constraint_is_told(
    tmp_path: Path, prepared: tuple[Prepared, ...], bound: str
) -> None:
    bare = small.load(tmp_path)
    frames = mean_frames(bare, prepared[0])
    each = [costs(bare, depth, frames=frames)[bound] for depth in (1, 2, 3)]
    experiment = small.load(tmp_path, DEPTHS, f"search.constraints={{{bound}: {each[1]}}}")

    probe, within = check_draws(experiment, prepared)

    shallow = sum(getattr(recipe.student, "depth") < 3 for recipe in probe.recipes)  # noqa: B009
    assert 0 < shallow < 30
    assert within == Within(share=shallow / 30, smallest={bound: each[0]}, largest={bound: each[2]})


def test_without_constraints_nothing_is_counted(
    tmp_path: Path, prepared: tuple[Prepared, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "student_costs", lambda *_, **__: pytest.fail("counted"))

    probe, planned = check_search(small.load(tmp_path), prepared)

    assert len(probe.recipes) == 30
    assert [entry.fold.name for entry in planned] == ["session=1", "session=2", "session=3"]


def test_constraints_that_nothing_meets_are_refused_with_the_least_that_was_drawn(
    tmp_path: Path, prepared: tuple[Prepared, ...]
) -> None:
    experiment = small.load(tmp_path, DEPTHS, "search.constraints={parameters: 1000, macs: 1e9}")
    least = costs(experiment, 1, frames=10)["parameters"]

    with pytest.raises(ExperimentError) as caught:
        check_search(experiment, prepared)

    assert "search.constraints: of 30 random draws not one has at most " in str(caught.value)
    assert f"parameters 1,000 (the least that was drawn has {least:,})" in str(caught.value)


def test_frames_are_those_that_are_then_computed(tmp_path: Path) -> None:
    experiment = small.load(tmp_path, "features.sample_rate=8000", "features.highest_hz=3800")
    store = Store(experiment.store)
    (entry,) = prepare(experiment, store)
    pack = PackedFrames.open(store, entry.frames)
    lengths = [pack.length(name) for name in pack.ids]

    assert mean_frames(experiment, entry) == round(sum(lengths) / len(lengths))


def test_a_search_is_on_the_folds_that_it_names(
    tmp_path: Path, prepared: tuple[Prepared, ...]
) -> None:
    some = small.load(tmp_path, "search.folds=[session=3]", "search.seeds=[0, 4]")

    assert [(entry.fold.name, entry.task.seed) for entry in search_folds(some, prepared)] == [
        ("session=3", 0),
        ("session=3", 4),
    ]
    with pytest.raises(ProtocolError, match=r"^search\.folds: there is no fold 'session=9'"):
        search_folds(small.load(tmp_path, "search.folds=[session=9]"), prepared)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("resources.trial.cpus=3", "it asks for 3 CPUs, and this machine has 2 CPUs"),
        ("resources.trial.gpus=2", "it asks for 2 GPUs, and this machine has 1 GPU"),
        ("resources.student_workers=3", "1 CPU for each of 3 workers"),
    ],
)
def test_a_fold_run_that_this_machine_cannot_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, said: str
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    resources = small.load(tmp_path, asked).resources

    with pytest.raises(ExperimentError, match=said):
        refuse_resources(resources)

    # a session that is there, or a cluster, has its own machines
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    refuse_resources(resources)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    refuse_resources(resources)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((), ""),
        (("resources.trial.gpus=1",), ""),
        (("resources.trial.gpus=0.5", "resources.student_workers=1"), ""),
        (
            ("resources.trial.gpus=0.5", "resources.student_workers=2"),
            "0.5 GPU for each of 2 workers and for the process that waits for them",
        ),
    ],
)
def test_what_fits_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    resources = small.load(tmp_path, *asked).resources

    if said:
        with pytest.raises(ExperimentError, match=said):
            refuse_resources(resources)
    else:
        refuse_resources(resources)
