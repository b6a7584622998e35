from __future__ import annotations

import math

import pytest
import torch

from models.distillation.bounded import BoundedValues


def test_starts_at_the_initial_values() -> None:
    values = BoundedValues(
        {"temperature": 4.0, "distillation": 0.5, "contrastive": 9.99},
        {"distillation": (0.05, 5.0), "temperature": (1.0, 10.0), "contrastive": (0.1, 10.0)},
    )

    assert values.values() == pytest.approx(
        {"temperature": 4.0, "distillation": 0.5, "contrastive": 9.99}, rel=1e-5
    )
    assert list(values()) == ["temperature", "distillation", "contrastive"]


def test_raw_moves_the_logarithm_between_the_bounds_by_hand() -> None:
    values = BoundedValues({"weight": 1.0}, {"weight": (0.1, 10.0)})

    # Initially half way on the logarithmic scale; a sigmoid of log 3 is three quarters of the way.
    assert values.raw.item() == 0.0
    quarters = values.from_raw(torch.tensor([math.log(3)], dtype=torch.float64))
    assert quarters["weight"].item() == pytest.approx(10**0.5, rel=1e-14)


@pytest.mark.parametrize("raw", [-1e30, -100.0, -17.0, 17.0, 100.0, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_raw_value_leaves_the_bounds(raw: float, dtype: torch.dtype) -> None:
    bounds = [(1.0, 10.0), (0.0625, 6.25), (1e-3, 7.0), (3.0, 3.25)]
    values = BoundedValues(
        {str(name): math.sqrt(low * high) for name, (low, high) in enumerate(bounds)},
        {str(name): pair for name, pair in enumerate(bounds)},
    )

    reached = values.from_raw(torch.full((4,), raw, dtype=dtype))

    for value, (low, high) in zip(reached.values(), bounds, strict=True):
        edges = torch.tensor([low, high], dtype=dtype)
        assert edges[0] <= value <= edges[1]


def test_gradient_of_each_value_reaches_its_own_raw_by_hand() -> None:
    values = BoundedValues(
        {"temperature": 4.0, "weight": 1.0}, {"temperature": (1.0, 16.0), "weight": (0.1, 10.0)}
    )

    values()["temperature"].backward()

    # Half way: value * log(high / low) * 1/2 * 1/2.
    assert values.raw.grad is not None
    assert values.raw.grad.tolist() == pytest.approx([4 * math.log(16) / 4, 0.0])


def test_functional_form_is_differentiable_twice_in_float64() -> None:
    values = BoundedValues(
        {"temperature": 4.0, "weight": 0.2}, {"temperature": (1.0, 10.0), "weight": (0.1, 10.0)}
    ).double()

    def stacked(raw: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(values.from_raw(raw).values()))

    raw = values.raw.detach().clone().requires_grad_()
    assert stacked(raw).dtype == torch.float64
    assert torch.autograd.gradcheck(stacked, raw)
    assert torch.autograd.gradgradcheck(stacked, raw)


def test_checkpoint_holds_the_raw_values_and_nothing_else() -> None:
    bounds = {"temperature": (1.0, 10.0)}
    values = BoundedValues({"temperature": 4.0}, bounds)
    other = BoundedValues({"temperature": 2.0}, bounds)

    assert list(values.state_dict()) == ["raw"]
    other.load_state_dict(values.state_dict())
    assert other.values() == values.values()


def test_initial_next_to_its_bound_is_still_learnable() -> None:
    values = BoundedValues(
        {"low": math.nextafter(1.0, 2.0), "high": math.nextafter(10.0, 0.0)},
        {"low": (1.0, 10.0), "high": (1.0, 10.0)},
    )

    assert values.raw.isfinite().all()


@pytest.mark.parametrize("initial", [1.0, 10.0, 0.5, 11.0, -1.0, math.nan])
def test_initial_outside_or_at_its_bounds_is_refused_by_name(initial: float) -> None:
    with pytest.raises(ValueError, match="temperature: initial value .* strictly between"):
        BoundedValues({"temperature": initial}, {"temperature": (1.0, 10.0)})


@pytest.mark.parametrize(
    "bounds", [(0.0, 1.0), (-1.0, 1.0), (2.0, 0.1), (0.5, 0.5), (0.1, math.inf), (math.nan, 1.0)]
)
def test_bounds_that_are_none_are_refused_by_name(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="weight: bounds .* finite, positive, the lower one first"):
        BoundedValues(
            {"temperature": 4.0, "weight": 0.5}, {"temperature": (1, 9), "weight": bounds}
        )


def test_names_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="student, teacher: every value needs"):
        BoundedValues({"teacher": 4.0}, {"student": (1.0, 10.0)})


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="initial is empty"):
        BoundedValues({}, {})
