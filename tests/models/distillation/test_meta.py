from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.distillation.bounded import BoundedValues
from models.distillation.meta import (
    HeldLoss,
    Tensors,
    TrainLoss,
    exact_gradient,
    finite_difference_gradient,
)
from models.inverted_transformer import InvertedTransformer
from models.transformer import Transformer
from tests.models.networks import conv_transformer

BINS, CLASSES = 12, 4
BOTH_FORMS = pytest.mark.parametrize("gradient", [exact_gradient, finite_difference_gradient])
Gradient = Callable[..., tuple[Tensors, Tensor]]


class Attentive(nn.Module):
    """Attention over frames, and their mean over time."""

    def __init__(self, *, dim: int = 6, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Linear(BINS, dim)
        self.transformer = Transformer(
            dim, depth=1, heads=2, head_dim=3, mlp_dim=8, dropout=dropout
        )
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(frames.shape[1]) < lengths[:, None]
        tokens = self.transformer(self.embed(frames), mask) * mask[..., None]
        logits: Tensor = self.head(tokens.sum(1) / lengths[:, None])
        return logits


class Teacher(nn.Module):
    """A few parameters, so that each can be moved by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(BINS, 3)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.head(self.hidden(frames.mean(1)).tanh())
        return 3 * logits


class OfLogits(nn.Module):
    """A network of ours, seen through its logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.network(frames, lengths).logits
        return logits


@dataclass
class Lesson:
    """A student and its two losses, with what is learned about the first of them."""

    student: nn.Module
    train_loss: TrainLoss
    held_loss: HeldLoss
    learned: Tensors

    @property
    def params(self) -> Tensors:
        return dict(self.student.named_parameters())

    def inputs(self) -> tuple[TrainLoss, HeldLoss, Tensors, Tensors]:
        return self.train_loss, self.held_loss, self.params, self.learned


def tempered_divergence(
    student: Tensor, teacher: Tensor, student_temperature: Tensor, teacher_temperature: Tensor
) -> Tensor:
    wanted = (teacher / teacher_temperature).log_softmax(-1)
    given = (student / student_temperature).log_softmax(-1)
    divergence = (wanted.exp() * (wanted - given)).sum(-1).mean()
    return divergence * student_temperature * teacher_temperature


def lesson(student: nn.Module, *, learn: str, dtype: torch.dtype = torch.float64) -> Lesson:
    """Cross-entropy and a weighted, tempered divergence from a teacher, on padded utterances."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(2, 5, 9, BINS, generator=generator, dtype=dtype)
    labels = torch.randint(CLASSES, (2, 5), generator=generator)
    lengths = torch.tensor([9, 7, 4, 9, 1])
    student, teacher = student.to(dtype), Teacher().to(dtype)
    values = BoundedValues(
        {"student": 2.0, "teacher": 3.0, "weight": 0.7},
        {"student": (1.0, 10.0), "teacher": (1.0, 10.0), "weight": (0.07, 7.0)},
    ).to(dtype)

    def train_loss(params: Tensors, learned: Tensors) -> Tensor:
        logits = functional_call(student, params, (frames[0], lengths))
        if learn == "values":
            now, wanted = values.from_raw(learned["raw"]), teacher(frames[0], lengths)
        else:
            now, wanted = values(), functional_call(teacher, learned, (frames[0], lengths))
        divergence = tempered_divergence(logits, wanted, now["student"], now["teacher"])
        return F.cross_entropy(logits, labels[0]) + now["weight"] * divergence

    def held_loss(params: Tensors) -> Tensor:
        return F.cross_entropy(functional_call(student, params, (frames[1], lengths)), labels[1])

    learned = values if learn == "values" else teacher
    return Lesson(student, train_loss, held_loss, dict(learned.named_parameters()))


def numerical_gradient(of: Lesson, *, rate: float, step: float = 1e-4) -> tuple[Tensors, float]:
    """Central differences through the whole virtual step, one learned number at a time."""
    moving = [name for name, tensor in of.params.items() if tensor.requires_grad]

    def outer_loss(learned: Tensors) -> float:
        params = of.params
        slopes = torch.autograd.grad(
            of.train_loss(params, learned), [params[name] for name in moving]
        )
        for name, slope in zip(moving, slopes, strict=True):
            params[name] = params[name] - rate * slope
        return of.held_loss(params).item()

    gradients = {name: torch.zeros_like(tensor) for name, tensor in of.learned.items()}
    for name, tensor in of.learned.items():
        for place in range(tensor.numel()):
            ahead, behind = tensor.detach().clone(), tensor.detach().clone()
            ahead.view(-1)[place] += step
            behind.view(-1)[place] -= step
            rise = outer_loss(of.learned | {name: ahead}) - outer_loss(of.learned | {name: behind})
            gradients[name].view(-1)[place] = rise / (2 * step)
    return gradients, outer_loss(of.learned)


def relative_error(found: Tensors, reference: Tensors) -> float:
    assert found.keys() == reference.keys()
    difference = torch.cat([(found[name] - reference[name]).flatten() for name in reference])
    whole = torch.cat([tensor.flatten() for tensor in reference.values()])
    return float(difference.norm() / whole.norm())


STUDENTS: dict[str, Callable[[], nn.Module]] = {
    "attention": Attentive,
    "conv-transformer": lambda: OfLogits(conv_transformer(widths=(3, 4), dim=6, depth=1)),
    "inverted-transformer": lambda: OfLogits(
        InvertedTransformer(
            bins=BINS, classes=CLASSES, window=6, dim=6, depth=1, heads=2, mlp_dim=8
        )
    ),
}


@pytest.mark.parametrize("learn", ["values", "teacher"])
@pytest.mark.parametrize("student", STUDENTS)
def test_meta_gradients_are_those_of_numerical_differentiation(student: str, learn: str) -> None:
    torch.manual_seed(1)
    of = lesson(STUDENTS[student](), learn=learn)

    exact, outer_loss = exact_gradient(*of.inputs(), rate=0.1)
    cheap, same_outer_loss = finite_difference_gradient(*of.inputs(), rate=0.1)

    numerical, expected_loss = numerical_gradient(of, rate=0.1)
    assert relative_error(exact, numerical) <= 1e-6  # asked for: 1e-4
    assert relative_error(cheap, numerical) <= 1e-2
    assert all(gradient.count_nonzero() == gradient.numel() for gradient in numerical.values())
    assert outer_loss.item() == pytest.approx(expected_loss, rel=1e-12)
    assert same_outer_loss.item() == pytest.approx(expected_loss, rel=1e-12)
    assert not any(tensor.requires_grad for tensor in (outer_loss, same_outer_loss))
    assert not any(tensor.requires_grad for tensor in (*exact.values(), *cheap.values()))


class WaitingError(Exception):
    """A worker has said something and not yet heard the others."""


def together(
    gradient: Gradient, parts: Sequence[tuple[TrainLoss, HeldLoss]], of: Lesson
) -> list[tuple[Tensors, Tensor]]:
    """What workers with these parts of the losses find, each run anew until nobody waits."""
    sums: list[list[Tensor]] = []

    def add(said: list[list[Tensor]], known: Iterator[list[Tensor]], mine: list[Tensor]) -> Any:
        if (whole := next(known, None)) is None:
            said.append(mine)
            raise WaitingError
        return whole

    while True:
        said: list[list[Tensor]] = []
        found = []
        for inner, outer in parts:
            asked = partial(add, said, iter(sums))
            with contextlib.suppress(WaitingError):
                found.append(gradient(inner, outer, of.params, of.learned, rate=0.1, add=asked))
        if found:
            return found
        sums.append([torch.stack(parts).sum(0) for parts in zip(*said, strict=True)])


@BOTH_FORMS
@pytest.mark.parametrize("learn", ["values", "teacher"])
def test_workers_with_parts_of_the_losses_find_the_gradient_of_the_whole(
    gradient: Gradient, learn: str
) -> None:
    torch.manual_seed(1)
    of = lesson(Attentive(), learn=learn)
    expected, expected_loss = gradient(*of.inputs(), rate=0.1)

    def part(share: float, held_share: float) -> tuple[TrainLoss, HeldLoss]:
        return (
            lambda params, learned: share * of.train_loss(params, learned),
            lambda params: held_share * of.held_loss(params),
        )

    # the third has no part in either batch
    found = together(gradient, [part(0.25, 0.6), part(0.75, 0.4), part(0.0, 0.0)], of)

    assert len(found) == 3
    for gradients, outer_loss in found:
        assert relative_error(gradients, expected) <= 1e-9
        assert outer_loss.item() == pytest.approx(expected_loss.item(), rel=1e-12)
        # the same for all
        assert all(torch.equal(gradients[name], found[0][0][name]) for name in expected)


def test_finite_differences_close_in_with_the_square_of_epsilon() -> None:
    torch.manual_seed(1)
    of = lesson(Attentive(), learn="values")
    exact, _ = exact_gradient(*of.inputs(), rate=0.1)

    def error(epsilon: float) -> float:
        found, _ = finite_difference_gradient(*of.inputs(), rate=0.1, epsilon=epsilon)
        return relative_error(found, exact)

    assert error(0.03) / error(0.003) == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("epsilon", [1e-4, 0.5])
def test_finite_difference_by_hand(epsilon: float) -> None:
    # Inner loss w x^3 at x = 2, w = 1: a step of rate 1/12 leads to 2 - 12/12 = 1, where the outer
    # loss x^2 is 1 and its slope v 2. The inner loss's slope by w is x^3, and x moves by epsilon,
    # as h v = (epsilon / 2) 2: so (x + h v)^3 - (x - h v)^3 = 2 h v (12 + epsilon^2).
    params = {"x": torch.tensor(2.0, dtype=torch.float64, requires_grad=True)}
    learned = {"w": torch.tensor(1.0, dtype=torch.float64, requires_grad=True)}

    found, outer_loss = finite_difference_gradient(
        lambda params, learned: learned["w"] * params["x"] ** 3,
        lambda params: params["x"] ** 2,
        params,
        learned,
        rate=1 / 12,
        epsilon=epsilon,
    )

    assert outer_loss.item() == pytest.approx(1.0, rel=1e-12)
    assert found["w"].item() == pytest.approx(-(12 + epsilon**2) * 2 / 12, rel=1e-9)


@BOTH_FORMS
def test_frozen_parameters_of_the_student_stay_in_the_virtual_step(gradient: Gradient) -> None:
    torch.manual_seed(1)
    of = lesson(Attentive(), learn="values")
    free, _ = gradient(*of.inputs(), rate=0.1)
    of.student.get_submodule("transformer").requires_grad_(False)

    found, outer_loss = gradient(*of.inputs(), rate=0.1)

    numerical, expected_loss = numerical_gradient(of, rate=0.1)
    assert relative_error(found, numerical) <= 1e-2
    assert outer_loss.item() == pytest.approx(expected_loss, rel=1e-12)
    assert relative_error(found, free) > 0.05


@BOTH_FORMS
def test_learned_tensors_without_influence_get_zeros(gradient: Gradient) -> None:
    torch.manual_seed(1)
    of = lesson(Attentive(), learn="teacher")
    expected, _ = gradient(*of.inputs(), rate=0.1)
    of.learned["head.bias"].requires_grad_(False)
    of.learned = {"unused": nn.Parameter(torch.ones(2, 3)), **of.learned}
    train_loss = of.train_loss
    of.train_loss = lambda params, learned: train_loss(
        params, {name: tensor for name, tensor in learned.items() if name != "unused"}
    )

    found, _ = gradient(*of.inputs(), rate=0.1)

    assert list(found) == list(of.learned)
    torch.testing.assert_close(found["unused"], torch.zeros(2, 3))
    torch.testing.assert_close(found["head.bias"], torch.zeros_like(expected["head.bias"]))
    torch.testing.assert_close(found["head.weight"], expected["head.weight"])


@BOTH_FORMS
def test_rate_zero_gives_zeros_and_the_loss_as_it_is(gradient: Gradient) -> None:
    of = lesson(Attentive(), learn="values")

    found, outer_loss = gradient(*of.inputs(), rate=0.0)

    assert found["raw"].tolist() == [0.0, 0.0, 0.0]
    assert outer_loss.item() == pytest.approx(of.held_loss(of.params).item(), rel=1e-12)


@BOTH_FORMS
@pytest.mark.parametrize(
    "held_loss",
    [
        lambda params: torch.tensor(2.0),
        lambda params: 2.0 + 0.0 * sum(tensor.sum() for tensor in params.values()),
    ],
    ids=["constant", "times-zero"],
)
def test_held_loss_that_ignores_the_student_gives_zeros(
    gradient: Gradient, held_loss: HeldLoss
) -> None:
    of = lesson(Attentive(), learn="values")

    found, outer_loss = gradient(of.train_loss, held_loss, of.params, of.learned, rate=0.1)

    assert found["raw"].tolist() == [0.0, 0.0, 0.0]
    assert outer_loss.item() == 2.0


@BOTH_FORMS
def test_train_loss_that_ignores_the_student_gives_zeros(gradient: Gradient) -> None:
    of = lesson(Attentive(), learn="values")

    found, _ = gradient(
        lambda params, learned: learned["raw"].sum(), of.held_loss, of.params, of.learned, rate=0.1
    )

    assert found["raw"].tolist() == [0.0, 0.0, 0.0]


@BOTH_FORMS
def test_loss_that_is_not_a_number_is_not_hidden(gradient: Gradient) -> None:
    of = lesson(Attentive(), learn="values")

    found, outer_loss = gradient(
        of.train_loss,
        lambda params: of.held_loss(params) * torch.nan,
        of.params,
        of.learned,
        rate=0.1,
    )

    assert outer_loss.isnan()
    assert found["raw"].isnan().all()


@BOTH_FORMS
@pytest.mark.parametrize("role", ["params", "learned"])
def test_detached_copies_are_refused(gradient: Gradient, role: str) -> None:
    of = lesson(Attentive(), learn="values")
    groups = {"params": of.params, "learned": of.learned}
    groups[role] = {name: tensor.detach() for name, tensor in groups[role].items()}

    with pytest.raises(ValueError, match=f"tensors in {role} requires a gradient"):
        gradient(of.train_loss, of.held_loss, **groups, rate=0.1)


def test_exact_form_brings_its_own_attention_kernel_and_takes_it_away() -> None:
    torch.manual_seed(1)
    of = lesson(Attentive(), learn="values", dtype=torch.float32)

    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        found, _ = exact_gradient(*of.inputs(), rate=0.1)
        kept = (
            torch.backends.cuda.flash_sdp_enabled() and not torch.backends.cuda.math_sdp_enabled()
        )

    assert kept
    assert found["raw"].count_nonzero() == 3


def test_every_pass_of_the_finite_difference_meets_the_same_dropout() -> None:
    torch.manual_seed(1)
    of = lesson(Attentive(dropout=0.3).train(), learn="values")
    exact, outer_loss = exact_gradient(*of.inputs(), rate=0.1)

    cheap, same_outer_loss = finite_difference_gradient(*of.inputs(), rate=0.1)

    assert outer_loss.item() == same_outer_loss.item()
    assert relative_error(cheap, exact) <= 1e-2
    torch.manual_seed(2)
    other, _ = exact_gradient(*of.inputs(), rate=0.1)
    assert relative_error(other, exact) > 0.05  # dropout was there


def bits(tensor: Tensor | None) -> bytes | None:
    return None if tensor is None else tensor.detach().numpy().tobytes()


@BOTH_FORMS
@pytest.mark.parametrize("learn", ["values", "teacher"])
def test_pilot_update_leaves_everything_bitwise_as_it_was(gradient: Gradient, learn: str) -> None:
    torch.manual_seed(1)
    of = lesson(Attentive(dropout=0.3).train(), learn=learn, dtype=torch.float32)
    optimiser = torch.optim.AdamW(of.params.values(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        of.train_loss(of.params, of.learned).backward()
        optimiser.step()
    next(iter(of.params.values())).grad = None

    def everything() -> dict[str, Any]:
        state: dict[str, Any] = {"random": bits(torch.get_rng_state())}
        for group in (of.params, of.learned, dict(of.student.named_buffers())):
            for name, tensor in group.items():
                state[name] = bits(tensor), bits(tensor.grad), tensor.requires_grad, tensor._version
        for index, moments in optimiser.state_dict()["state"].items():
            for name, moment in moments.items():
                state[f"{index} {name}"] = bits(moment)
        state["groups"] = copy.deepcopy(optimiser.state_dict()["param_groups"])
        return state

    before = everything()
    objects = [id(tensor) for tensor in (*of.params.values(), *of.learned.values())]
    found, _ = gradient(*of.inputs(), rate=0.1)

    assert everything() == before
    assert objects == [id(tensor) for tensor in (*of.params.values(), *of.learned.values())]
    assert len(before) > 3 * len(of.params)
    assert all(tensor.count_nonzero() for tensor in found.values())


@BOTH_FORMS
def test_weight_with_a_known_best_value_is_reached(gradient: Gradient) -> None:
    # The student settles at (w a + b) / (w + 1); what is held out lies there for w = 2.5.
    one, other = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([-1.0, 1.0, 2.0])
    best = 2.5
    sought = (best * one + other) / (best + 1)
    student = {"theta": torch.zeros(3, requires_grad=True)}
    values = BoundedValues({"weight": 0.4}, {"weight": (0.04, 40.0)})

    def train_loss(params: Tensors, learned: Tensors) -> Tensor:
        weight = values.from_raw(learned["raw"])["weight"]
        theta = params["theta"]
        return (weight * (theta - one).square().sum() + (theta - other).square().sum()) / 2

    def held_loss(params: Tensors) -> Tensor:
        return (params["theta"] - sought).square().sum()

    learn(gradient, train_loss, held_loss, student, values, rate=0.1, rounds=250)

    assert values.values()["weight"] == pytest.approx(best, rel=0.02)
    torch.testing.assert_close(student["theta"].detach(), sought, rtol=0, atol=0.02)


@BOTH_FORMS
def test_temperature_of_an_overconfident_teacher_is_reached(gradient: Gradient) -> None:
    # The teacher's logits are three times the true ones: divided by 3, they are the truth.
    torch.manual_seed(0)
    truth = torch.randn(20, 5)
    teacher = 3 * truth
    student = {"logits": torch.zeros(20, 5, requires_grad=True)}
    values = BoundedValues({"temperature": 1.2}, {"temperature": (1.0, 10.0)})

    def train_loss(params: Tensors, learned: Tensors) -> Tensor:
        temperature = values.from_raw(learned["raw"])["temperature"]
        wanted = (teacher / temperature).softmax(-1)
        return F.cross_entropy(params["logits"], wanted, reduction="sum")

    def held_loss(params: Tensors) -> Tensor:
        return F.cross_entropy(params["logits"], truth.softmax(-1))

    learn(gradient, train_loss, held_loss, student, values, rate=1.0, rounds=250)

    assert values.values()["temperature"] == pytest.approx(3.0, rel=0.05)


def learn(
    gradient: Gradient,
    train_loss: TrainLoss,
    held_loss: HeldLoss,
    student: Tensors,
    values: BoundedValues,
    *,
    rate: float,
    rounds: int,
) -> None:
    """Meta steps by Adam, with two steps of the student after each."""
    meta_optimiser = torch.optim.Adam(values.parameters(), lr=0.05)
    optimiser = torch.optim.SGD(student.values(), lr=rate)
    learned = dict(values.named_parameters())
    for _ in range(rounds):
        found, _ = gradient(train_loss, held_loss, student, learned, rate=rate)
        values.raw.grad = found["raw"]
        meta_optimiser.step()
        for _ in range(2):
            optimiser.zero_grad()
            train_loss(student, learned).backward()
            optimiser.step()
