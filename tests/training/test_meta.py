"""Meta-learning: when it learns, what it learns from, and what it leaves alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from orchestrator.experiment.recipe import Bilevel, LearningToTeach
from orchestrator.store import Store
from orchestrator.training.data import Batch
from orchestrator.training.meta import BilevelLearner, MetaLearner, TeacherLearner
from orchestrator.training.optimiser import new_optimiser, optimiser_tensors
from orchestrator.training.task import Silent
from orchestrator.training.teacher import load_teacher, teacher_artifact
from tests.training.doubled import Doubled, doubled_rows
from tests.training.taught import STUDENTS, Taught
from tests.training.tiny import (
    RICH,
    Home,
    assert_same_tensors,
    experiment,
    fold_of,
    tensors,
)

NewStore = Callable[[], Store]
TEMPERATURES = ("temperature/student", "temperature/teacher")
WEIGHTS = ("weight/distillation", "weight/feature_map")


@pytest.fixture(scope="module")
def fitted(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that has the teacher and its knowledge."""
    store = home.store(tmp_path_factory.mktemp("meta") / "store")
    Taught.of(home.rich_task(), store)
    return store


def bilevel(taught: Taught, **options: Any) -> BilevelLearner:
    return BilevelLearner(Bilevel(kind="bilevel", **options), loss=taught.loss, held=taught.held)


def teaching(taught: Taught, store: Store, **options: Any) -> TeacherLearner:
    task = taught.task
    artifact = teacher_artifact(task, store, train=task.train, reporter=Silent())
    return TeacherLearner(
        LearningToTeach(kind="learning-to-teach", **options),
        teacher=load_teacher(task, store, artifact),
        train=task.train,
        loss=taught.loss,
        held=taught.held,
    )


def learner_of(kind: str, taught: Taught, store: Store, **options: Any) -> MetaLearner:
    if kind == "bilevel":
        return bilevel(taught, **options)
    return teaching(taught, store, **options)


def learned(learner: MetaLearner) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in learner.learned.items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# When


@pytest.mark.parametrize("kind", ["bilevel", "learning-to-teach"])
def test_it_learns_every_so_many_updates_and_at_no_other(
    home: Home, fitted: Store, kind: str
) -> None:
    taught = Taught.of(home.rich_task(), fitted)
    learner = learner_of(kind, taught, fitted, interval=3)
    when = []
    for update in range(7):
        before = learned(learner)
        learner.before_update(
            taught.network, lambda: taught.batch(0, 1, 2, 3), update=update, epoch=1
        )
        if not same(before, learned(learner)):
            when.append(update)

    assert when == [0, 3, 6]
    assert learner.turns == 3


def test_held_speech_is_gone_through_in_turn(home: Home, fitted: Store) -> None:
    """Four utterances, three at a time: four turns are three rounds."""
    task = home.rich_task(training__batch_size=3)
    held = Taught.of(task, fitted).held
    drawn = [held.batch(turn).rows.tolist() for turn in range(8)]
    rounds = [row for rows in drawn for row in rows]

    assert [len(rows) for rows in drawn] == [3] * 8
    for first in range(0, 24, 4):
        assert sorted(rounds[first : first + 4]) == [0, 1, 2, 3]
    # rounds are not all alike, and a turn depends on no turn before it
    assert len({tuple(rounds[first : first + 4]) for first in range(0, 24, 4)}) > 1
    assert Taught.of(task, fitted).held.batch(5).rows.tolist() == drawn[5]


@pytest.mark.parametrize("size", [4, 8])
def test_a_batch_of_held_speech_is_no_larger_than_there_is(
    home: Home, fitted: Store, size: int
) -> None:
    held = Taught.of(home.rich_task(training__batch_size=size), fitted).held

    assert all(sorted(held.batch(turn).rows.tolist()) == [0, 1, 2, 3] for turn in range(5))


def test_nobody_is_held_and_in_another_role(home: Home) -> None:
    fold = fold_of(experiment(**RICH), home.crowded)
    task = fold.task
    assert task.held is not None
    speakers = [set(part.speakers) for part in (task.train, task.validation, task.held)]

    assert [len(part) for part in speakers] == [4, 2, 1]
    assert len(set.union(*speakers)) == 7
    assert not {name[:3] for name in fold.fold.test} & set.union(*speakers)


# What is learned


def test_values_begin_at_the_recipes_and_stay_within_bounds(home: Home, fitted: Store) -> None:
    taught = Taught.of(home.rich_task(), fitted)
    learner = bilevel(
        taught, lr=3.0, interval=1, inner_lr=1.0, temperature_bounds=(3.0, 5.0), weight_factor=2.0
    )
    initial = {**dict.fromkeys(TEMPERATURES, 4.0), WEIGHTS[0]: 0.5, WEIGHTS[1]: 1.0}
    assert learner.logged() == pytest.approx(initial)
    assert taught.loss.learned == pytest.approx(initial)
    for update in range(12):
        learner.before_update(
            taught.network, lambda: taught.batch(0, 5, 9, 14), update=update, epoch=1
        )
        values = learner.values.values()
        assert taught.loss.learned == values
        for name in TEMPERATURES:
            assert 3.0 <= values[name] <= 5.0
        for name in WEIGHTS:
            assert initial[name] / 2 <= values[name] <= initial[name] * 2

    # steps that large reach a bound
    assert min(abs(values[name] - 3.0) for name in TEMPERATURES) < 0.1 or (
        min(abs(values[name] - 5.0) for name in TEMPERATURES) < 0.1
    )


@pytest.mark.parametrize(
    ("learn", "names"), [(("temperatures",), TEMPERATURES), (("weights",), WEIGHTS)]
)
def test_only_what_is_named_is_learned(
    home: Home, fitted: Store, learn: tuple[Any, ...], names: tuple[str, ...]
) -> None:
    assert bilevel(Taught.of(home.rich_task(), fitted), learn=learn).logged().keys() == {*names}


def doubled(taught: Taught) -> Taught:
    """In double precision, as far as the losses allow."""
    taught.train, taught.held.data = Doubled(taught.train), Doubled(taught.held.data)
    known = taught.loss.knowledge
    assert known is not None
    taught.loss.knowledge = dataclasses.replace(
        known,
        logits=known.logits.double(),
        pooled=doubled_rows(known.pooled, len(known.logits)),
    )
    taught.network.double()
    taught.loss.helpers.double()
    return taught


def by_hand(taught: Taught, batch: Batch, *, rate: float) -> Callable[..., float]:
    """The held loss after a step of plain gradient descent, as a function of the values."""
    held = taught.held.batch(0)
    taught.network.eval()
    params = dict(taught.network.named_parameters())

    def held_loss(values: Mapping[str, float]) -> float:
        terms = taught.loss.terms(taught.network(*batch.inputs), batch, values=values)
        inner = torch.stack([term.mean() for term in terms.values()]).sum()
        slopes = torch.autograd.grad(inner, list(params.values()), allow_unused=True)
        stepped = {
            name: value if slope is None else value - rate * slope
            for (name, value), slope in zip(params.items(), slopes, strict=True)
        }
        logits = functional_call(taught.network, stepped, held.inputs).logits
        assert taught.task.held is not None
        labels = torch.tensor(taught.task.held.labels)[held.rows]
        return float(nn.functional.cross_entropy(logits, labels).detach())

    return held_loss


@pytest.mark.parametrize("student", STUDENTS)
def test_its_gradient_is_that_of_the_held_loss_after_a_step(
    home: Home, fitted: Store, student: str
) -> None:
    """Every student can be differentiated twice, as numerical differentiation says."""
    taught = doubled(Taught.of(home.rich_task(student=STUDENTS[student]), fitted))
    learner = bilevel(taught, inner_lr=0.1)
    learner.values.double()
    batch = taught.batch(0, 5, 9, 14)
    held_loss = by_hand(taught, batch, rate=0.1)
    start = learner.values.raw.detach().clone()
    expected = []
    for step in 1e-4 * torch.eye(len(start), dtype=torch.float64):
        ahead, behind = (
            held_loss({name: float(v) for name, v in learner.values.from_raw(raw).items()})
            for raw in (start + step, start - step)
        )
        expected.append((ahead - behind) / 2e-4)
    value = held_loss(learner.values.values())
    learner.before_update(taught.network, lambda: batch, update=0, epoch=1)

    assert learner.logged()["meta/held_cross_entropy"] == pytest.approx(value, rel=1e-6)
    assert learner.values.raw.grad is not None
    assert min(map(abs, expected)) > 1e-6
    torch.testing.assert_close(
        learner.values.raw.grad, torch.tensor(expected, dtype=torch.float64), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("student", STUDENTS)
def test_finite_differences_point_nearly_the_same_way(
    home: Home, fitted: Store, student: str
) -> None:
    found = []
    for gradient in ("exact", "finite-difference"):
        taught = Taught.of(home.rich_task(student=STUDENTS[student]), fitted)
        learner = bilevel(taught, gradient=gradient)
        batch = partial(taught.batch, 0, 5, 9, 14)
        learner.before_update(taught.network, batch, update=0, epoch=1)
        assert learner.values.raw.grad is not None
        found.append(learner.values.raw.grad)

    assert float(nn.functional.cosine_similarity(*found, dim=0)) > 0.99


# What is left alone


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bilevel", {"gradient": "exact"}),
        ("bilevel", {"gradient": "finite-difference"}),
        ("learning-to-teach", {}),
    ],
)
def test_the_student_its_optimiser_and_the_random_numbers_stay_as_they_were(
    home: Home, fitted: Store, kind: str, options: dict[str, Any]
) -> None:
    taught = Taught.of(home.rich_task(student__dropout=0.5), fitted)
    learner = learner_of(kind, taught, fitted, interval=1, **options)
    optimiser = new_optimiser(taught.network, taught.loss.helpers, taught.task.recipe.training)
    batch = taught.batch(0, 5, 9, 14)
    taught.network.train()
    terms = taught.loss.all(taught.network(*batch.inputs), batch)
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    optimiser.step()
    both = nn.ModuleList([taught.network, taught.loss.helpers])
    gradients = {n: p.grad.clone() for n, p in both.named_parameters() if p.grad is not None}
    tensors_before = {name: value.clone() for name, value in both.state_dict().items()}
    steps = {name: value.clone() for name, value in optimiser_tensors(optimiser).items()}
    random, was = torch.get_rng_state(), learned(learner)
    for update in range(2):
        learner.before_update(taught.network, lambda: batch, update=update, epoch=1)

    assert not same(was, learned(learner))
    assert_same_tensors(both.state_dict(), tensors_before)
    assert_same_tensors(optimiser_tensors(optimiser), steps)
    assert torch.equal(torch.get_rng_state(), random)
    assert gradients
    assert_same_tensors(
        {n: p.grad for n, p in both.named_parameters() if p.grad is not None}, gradients
    )
    assert taught.network.training


@pytest.mark.parametrize("kind", ["bilevel", "learning-to-teach"])
def test_it_goes_on_from_its_state_bit_by_bit(home: Home, fitted: Store, kind: str) -> None:
    first, second = (Taught.of(home.rich_task(training__batch_size=3), fitted) for _ in range(2))
    one, other = (learner_of(kind, taught, fitted, interval=1) for taught in (first, second))
    batch = first.batch(0, 5, 9)
    for update in range(3):
        one.before_update(first.network, lambda: batch, update=update, epoch=1)
    saved = {name: value.clone() for name, value in one.state().items()}
    other.load(saved)
    assert second.loss.learned == first.loss.learned
    assert_same_tensors(other.state(), saved)
    for update in range(3, 5):
        one.before_update(first.network, lambda: batch, update=update, epoch=1)
        other.before_update(second.network, lambda: batch, update=update, epoch=1)

    assert_same_tensors(one.state(), other.state())
    assert not same(one.state(), saved)


# The teacher


def test_the_student_hears_the_moved_teacher_and_the_store_keeps_the_old_one(
    home: Home, fitted: Store
) -> None:
    taught = Taught.of(home.rich_task(), fitted)
    task, known = taught.task, taught.loss.knowledge
    assert known is not None
    artifact = teacher_artifact(task, fitted, train=task.train, reporter=Silent())
    stored = tensors(artifact)
    learner = teaching(taught, fitted, interval=1, lr=1e-2)
    batch = taught.batch(0, 5, 9, 14)
    torch.testing.assert_close(learner.logits(batch), known.logits[batch.rows], rtol=0, atol=1e-5)
    output = taught.network(*batch.inputs)
    before = taught.loss.all(output, batch)
    for update in range(3):
        learner.before_update(taught.network, lambda: batch, update=update, epoch=1)
    after = taught.loss.all(output, batch)

    assert not torch.allclose(learner.logits(batch), known.logits[batch.rows], atol=1e-2)
    assert not torch.allclose(before["distillation"], after["distillation"], rtol=1e-3)
    for name in ("cross_entropy", "feature_map"):
        assert torch.equal(before[name], after[name])
    assert_same_tensors(tensors(artifact), stored)
    moved = {f"network.{name}": value for name, value in learner.learned.items()}
    assert sum(not torch.equal(stored[name], value) for name, value in moved.items()) > 5


def test_the_teachers_gradient_lowers_the_held_loss(home: Home, fitted: Store) -> None:
    """Followed for long on one batch, the step that it teaches does better on held speech."""
    taught = Taught.of(home.rich_task(), fitted)
    learner = teaching(taught, fitted, interval=1, lr=1e-2, inner_lr=0.5)
    batch, seen = taught.batch(0, 5, 9, 14), []
    for update in range(20):
        learner.before_epoch(update)
        learner.before_update(taught.network, lambda: batch, update=update, epoch=1)
        seen.append(learner.logged()["meta/held_cross_entropy"])

    assert seen[-1] < seen[0] - 0.005
