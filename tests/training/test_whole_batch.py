"""Losses that compare utterances, heard in parts: what is learned is what the whole would teach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from models.distillation.attention import similarity
from models.distillation.contrastive import supervised_contrastive
from orchestrator.training.ranks import ALONE, Ranks
from orchestrator.training.whole_batch import Gathered, Recording, Whole

LABELS = torch.tensor([1, 0, 1, 2, 0, 1, 1, 3])
"""Of all utterances of the data; number 7 is the only one of its class."""
ROWS = torch.tensor([5, 0, 7, 4, 1, 2])
Loss = Callable[[Whole, Tensor, Tensor, Tensor], Tensor]
"""From a part, the features of its utterances, those of the source, and all labels."""


def contrast(whole: Whole, features: Tensor, source: Tensor, labels: Tensor) -> Tensor:
    """``(part,)``."""
    losses = supervised_contrastive(whole.of(features), labels[whole.rows], temperature=0.3)
    return whole.part(losses)


def alike(whole: Whole, features: Tensor, source: Tensor, labels: Tensor) -> Tensor:
    """``(part,)``."""
    return whole.part(similarity(whole.of(features), whole.of(source)))


BOTH = pytest.mark.parametrize("loss", [contrast, alike])


@dataclass(frozen=True)
class Overheard(Ranks):
    """A rank that says something and hears nobody."""

    said: list[Tensor] = field(default_factory=list)

    def sum_values(self, values: Tensor) -> Tensor:
        self.said.append(values)
        return values


@dataclass(frozen=True)
class Told(Ranks):
    """A rank that is told what all said."""

    sums: list[Tensor] = field(default_factory=list)

    def sum_values(self, values: Tensor) -> Tensor:
        return self.sums.pop(0)


Run = Callable[[Ranks, Tensor], Sequence[tuple[Tensor, Tensor]]]
"""From a rank and its places to losses and gradients of its parts."""


def together(run: Run, shares: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Losses and gradients of the whole batch, as ranks with these shares of it find them."""
    heard = [Overheard(rank, len(shares)) for rank in range(len(shares))]
    for rank, places in zip(heard, shares, strict=True):
        run(rank, places)
    sums = [torch.stack(said).sum(0) for said in zip(*(rank.said for rank in heard), strict=True)]
    losses, gradients = [], []
    for number, places in enumerate(shares):
        for part, gradient in run(Told(number, len(shares), sums=list(sums)), places):
            losses.append(part)
            gradients.append(gradient)
    return torch.cat(losses), torch.stack(gradients).sum(0)


@dataclass
class Case:
    """A batch and a loss on it; a network in front of the features is three by three."""

    loss: Loss
    rows: Tensor = field(default_factory=lambda: ROWS)
    labels: Tensor = field(default_factory=lambda: LABELS)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        count = len(self.rows)
        self.inputs, self.source = torch.randn(2, count, 3, dtype=torch.float64)
        self.start = torch.randn(3, 3, dtype=torch.float64)

    def heard(self, whole: Whole, places: Tensor, *, stand_in: bool = False) -> tuple[Tensor, ...]:
        """Losses of a part, and the gradient of their sum by the network."""
        weight = self.start.clone().requires_grad_()
        # whoever has no part hears the first utterance, to be asked as often as the others
        own = torch.zeros(1, dtype=torch.long) if stand_in else places
        losses = self.loss(whole, self.inputs[own] @ weight, self.source[own], self.labels)
        (gradient,) = torch.autograd.grad(losses.sum(), [weight])
        return losses.detach(), gradient

    def at_once(self) -> tuple[Tensor, ...]:
        return self.heard(Whole(self.rows), torch.arange(len(self.rows)))

    def gathered(self, ranks: Ranks, places: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        whole = Gathered(self.rows, places, ranks=ranks)
        return [self.heard(whole, places, stand_in=not len(places))]

    def recorded(self, ranks: Ranks, places: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        """Two utterances at once."""
        recording = Recording(self.rows, ranks=ranks)
        parts = torch.split(places, 2)
        with torch.no_grad():
            for part in parts:
                self.loss(
                    recording.heard(part),
                    self.inputs[part] @ self.start,
                    self.source[part],
                    self.labels,
                )
        recording.finish()
        return [self.heard(recording.again(part), part) for part in parts]


def assert_same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], order: Tensor) -> None:
    losses, gradient = found
    torch.testing.assert_close(losses, expected[0][order], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, expected[1], rtol=1e-12, atol=1e-14)


SHARES = [
    [[0, 2, 4], [1, 3, 5]],
    [[0, 3], [1, 4], [2, 5]],
    # of unlike size, and not in order
    [[5, 0, 3, 1], [4], [2]],
    # one worker has no part
    [[0, 1, 2, 3, 4, 5], []],
    [[], [1, 0], [], [3, 2, 5, 4]],
]


@BOTH
@pytest.mark.parametrize("shares", SHARES)
def test_workers_that_gather_learn_what_one_would(loss: Loss, shares: list[list[int]]) -> None:
    case = Case(loss)
    places = [torch.tensor(share, dtype=torch.long) for share in shares]
    expected = case.at_once()
    assert float(expected[1].abs().min()) > 1e-6

    assert_same(together(case.gathered, places), expected, torch.cat(places))


@BOTH
@pytest.mark.parametrize("shares", [[[3, 0, 5, 1, 4, 2]], [[0, 2, 4], [1, 3, 5]]])
def test_parts_one_after_another_teach_what_the_whole_does(
    loss: Loss, shares: list[list[int]]
) -> None:
    """By one worker and by two."""
    case = Case(loss)
    places = [torch.tensor(share) for share in shares]

    assert_same(together(case.recorded, places), case.at_once(), torch.cat(places))


@BOTH
@pytest.mark.parametrize(
    "rows", [ROWS[:1], torch.tensor([0, 2, 5, 6])], ids=["one utterance", "one class"]
)
def test_batches_of_one_utterance_and_of_one_class(loss: Loss, rows: Tensor) -> None:
    case = Case(loss, rows=rows)
    whole = torch.arange(len(rows))
    expected = case.at_once()
    assert expected[1].isfinite().all()

    assert_same(
        together(case.gathered, [whole[::2], whole[1::2]]),
        expected,
        torch.cat([whole[::2], whole[1::2]]),
    )
    assert_same(together(case.recorded, [whole]), expected, whole)


@BOTH
def test_a_part_by_itself_would_teach_something_else(loss: Loss) -> None:
    """What this is for: the mean over parts is not the loss of the batch."""
    case = Case(loss)
    first = torch.tensor([0, 2, 4])
    losses, gradient = case.heard(Whole(case.rows[first]), first)
    _, whole = case.at_once()

    assert not torch.allclose(losses, case.at_once()[0][first], rtol=1e-3)
    assert not torch.allclose(gradient, whole, rtol=1e-3)


@BOTH
def test_one_worker_that_hears_all_at_once_changes_nothing(loss: Loss) -> None:
    """To the bit, in single precision."""
    case = Case(loss)
    case.inputs, case.source, case.start = (
        part.float() for part in (case.inputs, case.source, case.start)
    )
    losses, gradient = case.at_once()
    weight = case.start.clone().requires_grad_()
    plain = (
        supervised_contrastive(case.inputs @ weight, LABELS[ROWS], temperature=0.3)
        if loss is contrast
        else similarity(case.inputs @ weight, case.source)
    )
    (slope,) = torch.autograd.grad(plain.sum(), [weight])

    assert torch.equal(losses, plain)
    assert torch.equal(gradient, slope)


def test_features_of_others_are_given_and_ones_own_are_learned_from() -> None:
    features = torch.tensor([[1.0], [2.0]], requires_grad=True)
    places = torch.tensor([2, 0])
    others = torch.tensor([[2.0], [7.0], [1.0]])
    whole = Gathered(torch.arange(3), places, ranks=Told(0, 2, sums=[others]))
    found = whole.of(features)
    found.square().sum().backward()

    assert found.tolist() == [[2.0], [7.0], [1.0]]
    assert features.grad is not None
    assert features.grad.tolist() == [[2.0], [4.0]]


def test_a_recording_by_one_worker_needs_nobody() -> None:
    recording = Recording(torch.arange(2), ranks=ALONE)
    for place in (1, 0):
        recording.heard(torch.tensor([place])).of(torch.tensor([[float(place) + 1.0]]))
    recording.finish()

    assert [known.tolist() for known in recording.known] == [[[1.0], [2.0]]]
