"""The student: what its key is made of, what it starts from, and what it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import orchestrator.training.loop as loop_module
import orchestrator.training.student as student_module
from models.outputs import Output
from orchestrator.canonical import JSON
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.experiment.recipe import Augment
from orchestrator.preparation import prepare
from orchestrator.store import Artifact, Store
from orchestrator.training.data import FrameData
from orchestrator.training.fold_run import run_fold
from orchestrator.training.knowledge import Knowledge
from orchestrator.training.loop import Fitted
from orchestrator.training.student import student_artifact
from orchestrator.training.task import FoldTask, Silent
from orchestrator.training.tokens import Tokens
from tests.training.test_data import frame_data
from tests.training.tiny import (
    EXPERIMENT,
    PRETRAINED,
    TRAINING,
    Home,
    experiment,
    fold_of,
    recipe_of,
    tensors,
)

NewStore = Callable[[], Store]


class Keys(Store):
    """A store that says what it would be asked for, and makes nothing."""

    def obtain(
        self, stage: str, inputs: Mapping[str, JSON], build: Callable[[Path], None]
    ) -> Artifact:
        return Artifact(Path(), self.key(stage, inputs), reused=True)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def key(task: FoldTask, keys: Keys) -> str:
    return student_artifact(task, keys, reporter=Silent()).key


def with_recipe(wanted: Experiment, home: Home, overrides: Mapping[str, Any]) -> FoldTask:
    changed = {f"recipe.{name}": value for name, value in overrides.items()}
    return fold_of(override_recipe(wanted, changed), home.prepared).task


# What its key is made of

EVERYTHING = experiment(
    recipe=recipe_of(
        {**EXPERIMENT["recipe"]["teacher"], "training": TRAINING},
        schedule={"kind": "matching-first", "matching_epochs": 2},
    )
)
"""A recipe in which every option is read."""

NETWORK: dict[str, Any] = {
    "dim": 16,
    "depth": 2,
    "heads": 2,
    "head_dim": 4,
    "mlp_dim": 4,
    "patch_frames": 2,
    "patch_bins": 4,
    "conv_stem": True,
    "coordinates": True,
    "dropout": 0.5,
}
FITTING: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 4,
    "lr": 1e-2,
    "weight_decay": 0.5,
    "warmup_share": 0.5,
    "gradient_clip": None,
    "label_smoothing": 0.5,
    "class_weights": False,
    "targets": "votes",
    "average_decay": 0.5,
    "epoch_choice": "last",
    "smoothing_epochs": 1,
    "augment.frequency_masks": 1,
    "augment.frequency_width": 2,
    "augment.time_masks": 1,
    "augment.time_width_seconds": 0.1,
    "augment.time_stretch": 0.1,
    "augment.frequency_warp": 0.1,
    "augment.gain_db": 6.0,
    "augment.tilt_db": 6.0,
    "augment.noise": 0.1,
    "augment.crop_seconds": 0.5,
}
OPTIONS: dict[str, Any] = {
    **{f"student.{name}": value for name, value in NETWORK.items()},
    **{f"training.{name}": value for name, value in FITTING.items()},
    **{f"teacher.{name}": value for name, value in NETWORK.items()},
    **{f"teacher.training.{name}": value for name, value in FITTING.items()},
    "knowledge": "cross-fitted",
    "objectives.cross_entropy": 0.5,
    "objectives.distillation": 0.25,
    "objectives.feature_map": 0.25,
    "feature_map.match": "tokens",
    "temperature.value": 2.0,
    "schedule.matching_epochs": 3,
}
"""Every option of that recipe, and another value for it."""

SINGLE = {"kind"}
"""There is one kind of temperature, curriculum and meta-learning, and other kinds of the rest have
other options."""


def leaves(value: Mapping[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, item in value.items():
        if isinstance(item, Mapping):
            found |= leaves(item, f"{prefix}{name}.")
        elif name not in SINGLE:
            found.add(f"{prefix}{name}")
    return found


def test_the_options_below_are_all_that_there_are() -> None:
    assert leaves(EVERYTHING.recipe.model_dump(mode="json")) == set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_that_is_read_changes_the_key(home: Home, keys: Keys, option: str) -> None:
    before = with_recipe(EVERYTHING, home, {})
    after = with_recipe(EVERYTHING, home, {option: OPTIONS[option]})

    assert before.recipe != after.recipe
    assert key(after, keys) != key(before, keys)


TEACHERS = [name for name in OPTIONS if name.startswith("teacher.")]


@pytest.mark.parametrize(
    ("objectives", "unread"),
    [
        # alone: neither the teacher nor anything it would say
        ({}, [*TEACHERS, "knowledge", "temperature.value", "feature_map.match"]),
        ({"distillation": 0.5}, ["feature_map.match"]),
        ({"feature_map": 0.5}, ["temperature.value"]),
    ],
)
def test_an_option_that_is_not_read_changes_no_key(
    home: Home, keys: Keys, objectives: dict[str, float], unread: list[str]
) -> None:
    wanted = experiment(
        recipe=recipe_of(
            {**EXPERIMENT["recipe"]["teacher"], "training": TRAINING}, objectives=objectives
        )
    )
    before = key(with_recipe(wanted, home, {}), keys)
    for option in unread:
        assert key(with_recipe(wanted, home, {option: OPTIONS[option]}), keys) == before, option


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"seed": 1}, False),
        ({"threads": 2}, False),
        ({"student_workers": 2}, False),
        ({"teacher_workers": 2}, False),
        ({"device": "cuda"}, False),
        ({"device": "cpu:0"}, True),
        ({"emotions": ("a", "b", "c", "d")}, False),
        # how results call it, and where its features lie, change nothing
        ({"corpus": "other"}, True),
    ],
)
def test_what_else_the_key_is_made_of(
    home: Home, keys: Keys, change: dict[str, Any], same: bool
) -> None:
    task = home.task()

    assert (key(dataclasses.replace(task, **change), keys) == key(task, keys)) == same


def test_other_features_make_another_student(home: Home, keys: Keys) -> None:
    task = home.task()
    features = task.features.model_copy(update={"lowest_hz": 50.0})

    assert key(dataclasses.replace(task, features=features), keys) != key(task, keys)


@pytest.mark.parametrize("role", ["train", "validation"])
@pytest.mark.parametrize("column", ["ids", "contents", "labels"])
def test_every_utterance_of_training_and_validation_is_in_the_key(
    home: Home, keys: Keys, role: str, column: str
) -> None:
    task = home.task()
    utterances = getattr(task, role)
    values = list(getattr(utterances, column))
    values[-1] = (values[-1] + 1) % 4 if column == "labels" else "changed"
    changed = dataclasses.replace(utterances, **{column: tuple(values)})

    assert key(dataclasses.replace(task, **{role: changed}), keys) != key(task, keys)


def test_workers_of_the_teacher_mean_nothing_to_a_student_alone(home: Home, keys: Keys) -> None:
    task = dataclasses.replace(home.task(), recipe=home.task().recipe.alone())
    other = dataclasses.replace(task, teacher_workers=2)

    assert key(task, keys) == key(other, keys)


# Alone and taught


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rate of every update."""
    seen: list[float] = []
    real = loop_module.learning_rate

    def learning_rate(step: int, **given: Any) -> float:
        seen.append(real(step, **given))
        return seen[-1]

    monkeypatch.setattr(loop_module, "learning_rate", learning_rate)
    return seen


def test_alone_and_taught_take_the_same_number_of_updates(
    home: Home, store: Store, updates: list[float]
) -> None:
    taught = with_recipe(EVERYTHING, home, {})
    run_fold(taught, store=store, reporter=Silent(), role="teacher")
    updates.clear()
    run_fold(taught, store=store, reporter=Silent())
    after_teaching = len(updates)
    updates.clear()
    alone = dataclasses.replace(taught, recipe=taught.recipe.alone())
    run_fold(alone, store=store, reporter=Silent())

    # 20 utterances in batches of 8, two epochs of matching and three of all objectives
    assert after_teaching == len(updates) == 3 * (2 + 3)
    assert alone.recipe.objectives.cross_entropy == 1.0
    assert not alone.recipe.needs_teacher
    assert alone.recipe.student == taught.recipe.student


def test_students_of_a_fold_and_seed_start_equal_taught_or_not(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[dict[str, Tensor]] = []
    real = student_module.fit

    def fit(network: torch.nn.Module, **given: Any) -> Fitted:
        starts.append({name: value.clone() for name, value in network.state_dict().items()})
        return real(network, **given)

    monkeypatch.setattr(student_module, "fit", fit)
    task = home.task()
    for it in (
        task,
        home.task(feature_map__match="tokens", temperature__value=1.0),
        dataclasses.replace(task, recipe=task.recipe.alone()),
        home.task(seed=1),
        home.task("speaker=s1w"),
    ):
        run_fold(it, store=store, reporter=Silent())
    heads = [start["head.weight"] for start in starts]

    assert torch.equal(heads[0], heads[1])
    assert torch.equal(heads[0], heads[2])
    assert not torch.equal(heads[0], heads[3])
    assert not torch.equal(heads[0], heads[4])


def test_the_projection_is_thrown_away(home: Home, store: Store) -> None:
    artifact = run_fold(home.task(), store=store, reporter=Silent()).artifact
    alone = dataclasses.replace(home.task(), recipe=home.task().recipe.alone())
    other = run_fold(alone, store=store, reporter=Silent()).artifact

    assert tensors(artifact).keys() == tensors(other).keys()


@pytest.mark.usefixtures("fake_encoder")
@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("match", ["pooled", "tokens"])
def test_every_kind_of_knowledge_of_a_frozen_encoder_can_be_matched(
    store: Store, pooling: str, match: str
) -> None:
    """Pooled statistics are twice as wide as frames."""
    wanted = experiment(
        recipe=recipe_of({**PRETRAINED, "pooling": pooling}, feature_map={"match": match})
    )
    (prepared,) = prepare(wanted, store)
    outcome = run_fold(fold_of(wanted, prepared).task, store=store, reporter=Silent())

    assert np.isfinite(np.load(outcome.artifact.path / "validation_logits.npy")).all()


# Tokens under a crop


@pytest.mark.parametrize("augment", [Augment(), Augment(crop_seconds=0.4)])
@pytest.mark.parametrize("steps_per_frame", [1.0, 0.26])
def test_tokens_are_compared_where_they_were_spoken(
    augment: Augment, steps_per_frame: float
) -> None:
    """Every feature is the place in the utterance, so a right comparison finds no difference."""
    lengths = torch.tensor([160, 90, 61])
    data: FrameData = frame_data(*lengths.tolist(), augment=augment)
    extents = lengths * steps_per_frame
    steps = extents.ceil().long()
    places = [(torch.arange(n) + 0.5) / extent for n, extent in zip(steps, extents, strict=True)]
    knowledge = Knowledge(
        logits=torch.zeros(3, 4),
        pooled=torch.zeros(3, 1),
        tokens=Tokens(torch.cat(places)[:, None], lengths=steps, extents=extents),
    )
    for epoch in range(1, 6):
        batch = data.batch(torch.tensor([2, 0, 1]), epoch=epoch)
        frames, spoken = batch.inputs
        # a student with a token a frame, which says where in the utterance the frame stood
        whole = lengths[batch.rows][:, None]
        said = (frames[:, :, :1] + 0.5) / whole[:, :, None]
        positions = (torch.arange(frames.shape[1]) + 0.5) / spoken[:, None]
        output = Output(torch.zeros(3, 4), torch.zeros(3, 1), said, spoken, positions)
        loss = student_module._feature_map(output, batch, knowledge, None)

        # the teacher's first and last steps stand for the edges, half a step wide
        assert (loss < 0.25 / extents[batch.rows] ** 2 + 1e-4).all()
        if augment.crop_seconds is not None:
            shifted = dataclasses.replace(
                batch, window=dataclasses.replace(batch.window, start=torch.zeros(3))
            )
            wrong = student_module._feature_map(output, shifted, knowledge, None)
            torch.testing.assert_close(wrong, batch.window.start, atol=0.02, rtol=0.1)
