"""What says how good a network of emotions is, worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import Training
from orchestrator.training.data import PooledData
from orchestrator.training.judges import EmotionJudge, Judged

LABELS = (0, 0, 0, 1)
ODDS = ((3.0, 1.0), (3.0, 1.0), (1.0, 3.0), (1.0, 1.0))
"""Of the two emotions, in the order of the utterances; a tie is the first one's."""
LOGITS = np.log(ODDS)
SHARES = (3 / 4, 3 / 4, 1 / 4, 1 / 2)
"""The probability of each one's label."""
CHOICES = ("validation-cross-entropy", "validation-macro-recall", "last")


class Echo(nn.Module):
    """Its logits are what it hears; remembers in which mode it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.modes: list[bool] = []

    def forward(self, pooled: Tensor) -> SimpleNamespace:
        self.modes.append(self.training)
        return SimpleNamespace(logits=pooled[:, 0] * self.weight)


def judge(
    choice: str, *, logits: ArrayLike = LOGITS, labels: Sequence[int] = LABELS
) -> EmotionJudge:
    settings = Training.model_validate({"epoch_choice": choice})
    return EmotionJudge(PooledData(np.asarray(logits)[:, None]), labels, settings=settings)


def judged(choice: str, *, logits: ArrayLike = LOGITS) -> Judged:
    return judge(choice, logits=logits)(Echo())


LOSS = -sum(math.log(share) for share in SHARES) / 4


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_tells_the_same_row(choice: str) -> None:
    found = judged(choice)

    # of the first emotion two of three, of the second none
    assert found.row == pytest.approx(
        {
            "validation/cross_entropy": LOSS,
            "validation/macro_recall": 1 / 3,
            "validation/accuracy": 1 / 2,
        }
    )
    np.testing.assert_allclose(found.logits, LOGITS, rtol=1e-6)


@pytest.mark.parametrize(
    ("choice", "cost", "last"),
    [
        ("validation-cross-entropy", LOSS, False),
        ("validation-macro-recall", -1 / 3, False),
        # whatever it costs
        ("last", LOSS, True),
    ],
)
def test_the_cost_is_what_the_settings_choose_by(choice: str, cost: float, last: bool) -> None:
    assert judged(choice).cost == pytest.approx(cost)
    assert judge(choice).last is last
    assert judge(choice).name == "cross_entropy"


def test_a_better_recall_costs_less_even_where_the_loss_is_worse() -> None:
    sure = [[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [9.0, 0.0]]
    fair = [[0.1, 0.0], [0.0, 0.1], [0.1, 0.0], [0.0, 0.1]]

    by_recall = [judged("validation-macro-recall", logits=said).cost for said in (sure, fair)]
    assert by_recall == pytest.approx([-1 / 2, -5 / 6])
    labels = (0, 0, 0, 0)
    by_loss = [
        judge("validation-cross-entropy", logits=said, labels=labels)(Echo()).cost
        for said in (sure, fair)
    ]
    assert by_loss[0] < by_loss[1]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_loss_that_is_not_finite_is_not_hidden_by_a_recall(choice: str, broken: float) -> None:
    # the last utterance's own logit is broken, of whatever the others say
    logits = [*LOGITS[:3].tolist(), [0.0, broken]]
    found = judged(choice, logits=logits)

    assert not math.isfinite(found.cost)
    assert not math.isfinite(found.row["validation/cross_entropy"])


def test_a_network_is_asked_as_it_will_be_used() -> None:
    network = Echo().train()
    found = judge("last")(network)

    assert network.modes == [False]
    assert isinstance(found.logits, np.ndarray)


def test_nothing_to_validate_on_is_an_error() -> None:
    with pytest.raises(TrainingError, match="nothing to score"):
        judge("last", logits=np.zeros((0, 2)), labels=())(Echo())
