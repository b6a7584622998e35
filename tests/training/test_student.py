"""The student: what it starts from, and what it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import orchestrator.training.loop as loop_module
import orchestrator.training.student as student_module
from models.outputs import Output
from orchestrator.experiment.recipe import Augment
from orchestrator.preparation import prepare
from orchestrator.store import Store
from orchestrator.training.data import FrameData
from orchestrator.training.fold_run import run_fold
from orchestrator.training.knowledge import Knowledge, Scale
from orchestrator.training.loop import Fitted
from orchestrator.training.student_loss import Helpers, StudentLoss
from orchestrator.training.task import Silent
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


EVERYTHING = experiment(
    recipe=recipe_of(
        {**EXPERIMENT["recipe"]["teacher"], "training": TRAINING},
        schedule={"kind": "matching-first", "matching_epochs": 2},
    )
)


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
    taught = fold_of(EVERYTHING, home.prepared).task
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
    home: Home, augment: Augment, steps_per_frame: float
) -> None:
    """Every feature is the place in the utterance, so a right comparison finds no difference."""
    lengths = torch.tensor([160, 90, 61])
    data: FrameData = frame_data(*lengths.tolist(), augment=augment)
    extents = lengths * steps_per_frame
    steps = extents.ceil().long()
    places = [(torch.arange(n) + 0.5) / extent for n, extent in zip(steps, extents, strict=True)]
    tokens = Tokens(torch.cat(places)[:, None], lengths=steps, extents=extents)
    knowledge = Knowledge(
        logits=torch.zeros(3, 4),
        pooled=torch.zeros(3, 1),
        tokens=tokens,
        scale=Scale.of(torch.zeros(3, 1)),
        token_scale=Scale.of(tokens.flat),
    )
    task = home.task()
    # without a projection, as if student and teacher were equally wide
    helpers = Helpers(task, student_dim=1, knowledge=knowledge)
    compared = StudentLoss(task, helpers, knowledge, None).feature_map
    for epoch in range(1, 6):
        batch = data.batch(torch.tensor([2, 0, 1]), epoch=epoch)
        frames, spoken = batch.inputs
        # a student with a token a frame, which says where in the utterance the frame stood
        whole = lengths[batch.rows][:, None]
        said = (frames[:, :, :1] + 0.5) / whole[:, :, None]
        positions = (torch.arange(frames.shape[1]) + 0.5) / spoken[:, None]
        output = Output(torch.zeros(3, 4), torch.zeros(3, 1), said, spoken, positions)
        loss = compared(output, batch, knowledge)

        # the teacher's first and last steps stand for the edges, half a step wide
        assert (loss < 0.25 / extents[batch.rows] ** 2 + 1e-4).all()
        if augment.crop_seconds is not None:
            shifted = dataclasses.replace(
                batch, window=dataclasses.replace(batch.window, start=torch.zeros(3))
            )
            wrong = compared(output, shifted, knowledge)
            torch.testing.assert_close(wrong, batch.window.start, atol=0.02, rtol=0.1)
