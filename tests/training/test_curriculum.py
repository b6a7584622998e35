"""The data curriculum: who is drawn, how often, and that the number of updates stays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

import orchestrator.training.curriculum as curriculum_module
import orchestrator.training.loop as loop_module
import orchestrator.training.student as student_module
from orchestrator.experiment.curriculum import Pacing
from orchestrator.experiment.recipe import DataCurriculum
from orchestrator.store import Store
from orchestrator.training.curriculum import Curriculum, always, own_loss, share_at
from orchestrator.training.difficulty import fixed_difficulty
from orchestrator.training.files import HISTORY, read_json
from orchestrator.training.fold_run import run_fold
from orchestrator.training.loop import Fitted
from orchestrator.training.order import Order
from orchestrator.training.task import Silent
from tests.training.taught import Taught
from tests.training.tiny import Home

NewStore = Callable[[], Store]


def section(**options: Any) -> DataCurriculum:
    return DataCurriculum.model_validate({"kind": "data", **options})


# How many


@pytest.mark.parametrize(
    ("pacing", "time", "share"),
    [
        ({"kind": "linear", "start": 0.2, "grow_share": 0.5}, 0.25, 0.6),
        ({"kind": "root", "start": 0.6, "grow_share": 1.0}, 0.5, math.sqrt(0.68)),
        ({"kind": "root", "start": 0.5, "grow_share": 1.0, "power": 3.0}, 0.5, 0.5625 ** (1 / 3)),
        ({"kind": "geometric", "start": 0.25, "grow_share": 0.5}, 0.25, 0.5),
        ({"kind": "exponential", "start": 0.1, "increase": 2.0, "step_share": 0.1}, 0.25, 0.4),
        ({"kind": "baby-steps", "start": 0.1, "increase": 0.2, "step_share": 0.25}, 0.3, 0.5),
        ({"kind": "one-step", "start": 0.3, "step_share": 0.4}, 0.39, 0.3),
        ({"kind": "one-step", "start": 0.3, "step_share": 0.4}, 0.4, 1.0),
    ],
)
def test_every_pacing_with_its_own_options(
    pacing: dict[str, Any], time: float, share: float
) -> None:
    built: Pacing = TypeAdapter(Pacing).validate_python(pacing)

    assert share_at(built, time) == pytest.approx(share)


PACINGS = ["linear", "root", "geometric", "exponential", "baby-steps", "one-step"]


@pytest.mark.parametrize("kind", PACINGS)
def test_by_default_every_pacing_grows_to_all(kind: str) -> None:
    built: Pacing = TypeAdapter(Pacing).validate_python({"kind": kind})
    shares = [share_at(built, time / 50) for time in range(50)]

    assert shares == sorted(shares)
    assert 0 < shares[0] < 1
    assert shares[-1] == 1.0


# Who

LABELS = np.array([0] * 10 + [1] * 7 + [2] * 3)
HARD = np.random.default_rng(0).permutation(20).astype(float)
NOBODY = nn.Identity()


def chosen(share: float, **options: Any) -> list[int]:
    pacing = {"kind": "one-step", "start": share}
    choose = Curriculum(section(pacing=pacing, **options), LABELS, always(HARD))
    rows: list[int] = choose(0.0, NOBODY).tolist()
    return rows


@pytest.mark.parametrize("order", ["easy-first", "hard-first"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 1 / 3, 0.5, 0.77, 1.0])
def test_each_class_has_less_than_one_utterance_more_than_its_share(
    share: float, order: str
) -> None:
    rows = chosen(share, order=order)
    for label, size in ((0, 10), (1, 7), (2, 3)):
        count = int((LABELS[rows] == label).sum())
        assert share * size <= count + 1e-9
        assert count < share * size + 1
        of_class = sorted(np.flatnonzero(LABELS == label), key=HARD.__getitem__)
        wanted = of_class[:count] if order == "easy-first" else of_class[-count:]
        assert set(rows) & set(of_class) == set(wanted)


def test_without_balance_the_easiest_or_hardest_of_all_are_taken() -> None:
    easy, hard = (
        chosen(0.3, balanced=False, order=order) for order in ("easy-first", "hard-first")
    )

    assert sorted(HARD[easy]) == [0, 1, 2, 3, 4, 5]
    assert sorted(HARD[hard]) == [14, 15, 16, 17, 18, 19]


def test_own_loss_is_that_of_the_student_as_it_is(home: Home, store: Store) -> None:
    taught = Taught.of(home.rich_task(student__dropout=0.5), store)
    labels = np.array(taught.task.train.labels)
    found = own_loss(taught.train, labels)(taught.network.train())
    taught.network.eval()
    for row in range(len(labels)):
        said = taught.network(*taught.batch(row).inputs).logits
        cost = nn.functional.cross_entropy(said, torch.tensor(labels[[row]]))
        assert found[row] == pytest.approx(float(cost.detach()), abs=1e-5)


# In a fold run


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of updates of each fit of a student."""
    counts: list[int] = []
    steps: list[int] = []
    rate, fit = loop_module.learning_rate, student_module.fit

    def learning_rate(step: int, **given: Any) -> float:
        steps.append(step)
        return rate(step, **given)

    def counted(network: nn.Module, **given: Any) -> Fitted:
        steps.clear()
        fitted = fit(network, **given)
        counts.append(len(steps))
        return fitted

    monkeypatch.setattr(loop_module, "learning_rate", learning_rate)
    monkeypatch.setattr(student_module, "fit", counted)
    return counts


DIFFICULTIES = [
    "teacher-loss",
    "teacher-probability",
    "own-loss",
    "cross-validated-loss",
    "random",
]


@pytest.mark.parametrize("batches", ["shuffled", "class-balanced"])
def test_the_number_of_updates_is_that_without_a_curriculum(
    home: Home, store: Store, updates: list[int], batches: str
) -> None:
    curricula: list[dict[str, Any]] = [
        {"kind": "none"},
        *({"kind": "data", "pacing": {"kind": kind}} for kind in PACINGS),
        *({"kind": "data", "difficulty": difficulty} for difficulty in DIFFICULTIES[1:]),
        {"kind": "data", "order": "hard-first"},
        {"kind": "data", "balanced": False},
    ]
    found = set()
    for curriculum in curricula:
        task = home.task(curriculum=curriculum, training__batches=batches)
        artifact = run_fold(task, store=store, reporter=Silent()).artifact
        found.add(artifact.key)
        # twenty utterances in batches of eight, three epochs
        assert updates[-1] == 9, curriculum

    assert len(found) == len(curricula)


def test_an_epoch_draws_from_the_easiest_and_from_all_of_them(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[int]] = []
    real = Order.batches

    def batches(self: Order, epoch: int, *, rows: Tensor | None = None) -> list[Tensor]:
        found = real(self, epoch, rows=rows)
        drawn.append(torch.cat(found).tolist())
        return found

    task = home.task(
        curriculum={
            "kind": "data",
            "pacing": {"kind": "baby-steps", "start": 0.2, "increase": 0.2, "step_share": 1 / 3},
        }
    )
    curriculum: Any = task.recipe.curriculum
    nothing: Any = None
    hard = fixed_difficulty(task, curriculum, store, student=nothing, logits=nothing)
    monkeypatch.setattr(Order, "batches", batches)
    artifact = run_fold(task, store=store, reporter=Silent()).artifact
    history = read_json(artifact.path / HISTORY)

    assert [row["curriculum/share"] for row in history] == pytest.approx([0.4, 0.6, 0.8])
    labels = np.array(task.train.labels)
    for rows, count in zip(drawn, (2, 3, 4), strict=True):
        easiest = {
            int(row)
            for label in range(4)
            for row in sorted(np.flatnonzero(labels == label), key=hard.__getitem__)[:count]
        }
        assert set(rows) == easiest
        # as often as each other, but for one
        often = [rows.count(row) for row in easiest]
        assert len(rows) == 20
        assert max(often) - min(often) <= 1


def test_own_loss_is_found_anew_before_each_epoch(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Tensor] = []
    real = curriculum_module.predict_logits

    def predict(network: nn.Module, data: Any, **options: Any) -> Tensor:
        logits = real(network, data, **options)
        said.append(logits)
        return logits

    monkeypatch.setattr(curriculum_module, "predict_logits", predict)
    augmented: Mapping[str, Any] = {"noise": 1.0}
    task = home.task(
        curriculum={"kind": "data", "difficulty": "own-loss"}, training__augment=augmented
    )
    run_fold(task, store=store, reporter=Silent())

    assert len(said) == 3
    assert all(len(logits) == len(task.train.ids) for logits in said)
    assert not torch.equal(said[0], said[1])
    assert not torch.equal(said[1], said[2])


def test_a_full_share_draws_as_if_there_were_no_curriculum(home: Home, new_store: NewStore) -> None:
    """From the first epoch on: same weights, another key."""
    artifacts = [
        run_fold(home.task(**recipe), store=new_store(), reporter=Silent()).artifact
        for recipe in (
            {},
            {"curriculum": {"kind": "data", "pacing": {"kind": "one-step", "start": 1.0}}},
        )
    ]
    logits = [np.load(one.path / "validation_logits.npy") for one in artifacts]

    assert artifacts[0].key != artifacts[1].key
    np.testing.assert_array_equal(*logits)
