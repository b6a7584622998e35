from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.inverted_transformer import InvertedTransformer
from models.macs import count_parameters, multiply_accumulates
from tests.models.networks import assert_padding_never_matters


def inverted_transformer(**changes: Any) -> InvertedTransformer:
    options: dict[str, Any] = {
        "bins": 12,
        "classes": 4,
        "window": 10,
        "dim": 16,
        "depth": 2,
        "heads": 2,
        "mlp_dim": 20,
    }
    return InvertedTransformer(**options | changes).eval()


# Padding


@pytest.mark.parametrize("instance_norm", [True, False])
@pytest.mark.parametrize("window", [40, 33, 30, 10, 1])
def test_padding_never_changes_an_output(window: int, instance_norm: bool) -> None:
    """Windows longer than the batch, shorter than its padding, and shorter than its utterances."""
    torch.manual_seed(0)

    assert_padding_never_matters(
        inverted_transformer(window=window, instance_norm=instance_norm), width=12
    )


@pytest.mark.parametrize("changes", [{"channels": 2, "bins": 6}, {"depth": 0}])
def test_padding_never_changes_an_output_of_other_networks(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)

    assert_padding_never_matters(inverted_transformer(**changes), width=12)


# Windows


def test_each_window_is_read_as_if_it_were_alone() -> None:
    torch.manual_seed(0)
    net, frames = inverted_transformer(), torch.randn(3, 25, 12)
    output = net(frames, torch.tensor([4, 25, 10]))

    assert output.token_lengths.tolist() == [1, 3, 1]
    spans = {0: [(0, 4)], 1: [(0, 10), (7, 17), (15, 25)], 2: [(0, 10)]}
    for row, stretches in spans.items():
        alone = [
            net(frames[row : row + 1, begin:end], torch.tensor([end - begin])).pooled[0]
            for begin, end in stretches
        ]
        found = output.tokens[row, : len(alone)]
        torch.testing.assert_close(found, torch.stack(alone), rtol=1e-5, atol=1e-5)
        mean = torch.stack(alone).mean(0)
        torch.testing.assert_close(output.pooled[row], mean, rtol=1e-5, atol=1e-5)
        assert not output.tokens[row, len(alone) :].any()
    torch.testing.assert_close(output.logits, net.head(output.pooled))


@pytest.mark.parametrize(
    ("length", "centres"),
    [(4, [0.5]), (10, [0.5]), (20, [0.25, 0.75]), (25, [5 / 25, 12 / 25, 20 / 25])],
)
def test_a_token_stands_at_the_centre_of_its_window(length: int, centres: list[float]) -> None:
    output = inverted_transformer()(torch.randn(1, length, 12), torch.tensor([length]))

    assert output.tokens.shape == (1, len(centres), 16)
    assert output.positions.dtype == torch.float32
    np.testing.assert_allclose(output.positions[0], centres, rtol=1e-6)


# Tokens


@pytest.mark.parametrize("instance_norm", [True, False])
def test_tokens_by_loops_over_windows_and_series(instance_norm: bool) -> None:
    torch.manual_seed(0)
    net = inverted_transformer(instance_norm=instance_norm, window=6).double()
    frames = torch.randn(2, 6, 12).double() * 2 + 3
    lengths = [6, 4]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    found = net.embed(frames, mask).detach().numpy()
    weights = {name: value.numpy() for name, value in net.embed.state_dict().items()}

    for row, length in enumerate(lengths):
        for series in range(12):
            course = frames[row, :length, series].numpy()
            expected = weights["course.bias"] + weights["identity"][series]
            if instance_norm:
                mean, deviation = course.mean(), np.sqrt(course.var() + 1e-5)
                course = (course - mean) / deviation
                level = weights["level.weight"] @ np.array([mean, np.log(deviation)])
                expected = expected + level + weights["level.bias"]
            for frame in range(length):
                expected = expected + weights["course.weight"][:, frame] * course[frame]
                expected = expected + weights["validity.weight"][:, frame]
            np.testing.assert_allclose(found[row, series], expected, rtol=1e-10, atol=1e-10)


def test_level_reaches_a_normalised_token_by_mean_and_deviation_alone() -> None:
    torch.manual_seed(0)
    net, frames = inverted_transformer(), torch.randn(1, 10, 12)
    lengths = torch.tensor([10])
    louder = frames * 3 + 5

    assert (net(louder, lengths).logits - net(frames, lengths).logits).abs().max() > 1e-2
    with torch.no_grad():
        assert net.embed.level is not None
        net.embed.level.weight.zero_()
    # but for the variance's floor
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(net(louder, lengths).logits, net(frames, lengths).logits, **close)


def test_the_order_of_series_matters_by_their_identities_alone() -> None:
    torch.manual_seed(0)
    net, frames = inverted_transformer(), torch.randn(1, 10, 12)
    lengths = torch.tensor([10])

    assert (net(frames.flip(2), lengths).logits - net(frames, lengths).logits).abs().max() > 1e-4
    with torch.no_grad():
        net.embed.identity.zero_()
    torch.testing.assert_close(net(frames.flip(2), lengths).logits, net(frames, lengths).logits)


def test_silence_is_not_padding() -> None:
    torch.manual_seed(0)
    net, frames = inverted_transformer(instance_norm=False), torch.randn(1, 10, 12)
    frames[:, 6:] = 0.0

    silent, padded = (net(frames, torch.tensor([length])).logits for length in (10, 6))
    assert (silent - padded).abs().max() > 1e-3


@pytest.mark.parametrize("length", [1, 10, 25])
def test_constant_series_give_finite_outputs_and_gradients(length: int) -> None:
    torch.manual_seed(0)
    net, frames = inverted_transformer(), torch.full((1, length, 12), -7.0)
    output = net(frames, torch.tensor([length]))
    output.logits.sum().backward()

    assert output.logits.isfinite().all()
    assert all(value.grad.isfinite().all() for value in net.parameters())


# Precision and second derivatives


def test_double_precision_agrees_with_single() -> None:
    torch.manual_seed(0)
    net, frames, lengths = inverted_transformer(), torch.randn(2, 25, 12), torch.tensor([25, 4])
    single = net(frames, lengths)
    double = net.double()(frames.double(), lengths)

    assert {double.logits.dtype, double.pooled.dtype, double.tokens.dtype} == {torch.float64}
    assert double.positions.dtype == torch.float32
    torch.testing.assert_close(double.logits.float(), single.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("instance_norm", [True, False])
@pytest.mark.parametrize("length", [4, 9])
def test_derivatives_through_a_step_agree_with_differences(
    length: int, instance_norm: bool
) -> None:
    """One window, then two: the loss after a gradient step, by the step's weight and its start."""
    torch.manual_seed(0)
    net = inverted_transformer(
        bins=3, window=5, dim=4, mlp_dim=6, classes=3, instance_norm=instance_norm
    ).double()
    lengths, labels = torch.tensor([length, 2]), torch.tensor([0, 2])
    taught, held = torch.randn(2, 2, length, 3).double()
    start = {name: value.detach() for name, value in net.named_parameters()}

    def loss(weights: dict[str, Tensor], frames: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (frames, lengths)).logits, labels)

    def after_a_step(rate: Tensor, weights: dict[str, Tensor]) -> Tensor:
        slopes = torch.func.grad(loss)(weights, taught)
        return loss({name: value - rate * slopes[name] for name, value in weights.items()}, held)

    rate, width = torch.tensor(0.3).double(), 1e-5
    direction = {name: torch.randn_like(value) for name, value in start.items()}

    def moved(by: float) -> dict[str, Tensor]:
        return {name: value + by * direction[name] for name, value in start.items()}

    with sdpa_kernel(SDPBackend.MATH):
        by_rate, by_start = torch.func.grad(after_a_step, argnums=(0, 1))(rate, start)
        rate_differences = after_a_step(rate + width, start) - after_a_step(rate - width, start)
        differences = after_a_step(rate, moved(width)) - after_a_step(rate, moved(-width))

    assert by_rate.abs() > 1e-3
    torch.testing.assert_close(by_rate, rate_differences / (2 * width), rtol=1e-6, atol=1e-9)
    assert all(value.isfinite().all() for value in by_start.values())
    along = sum((by_start[name] * direction[name]).sum() for name in start)
    torch.testing.assert_close(along, differences / (2 * width), rtol=1e-6, atol=1e-9)


# Cost and refusals


def test_recipe_sized_student_is_within_its_budget() -> None:
    student = InvertedTransformer(
        bins=64, classes=7, window=150, dim=128, depth=3, heads=4, mlp_dim=256
    )

    assert count_parameters(student) < 1_000_000


@pytest.mark.parametrize(("frames", "windows"), [(4, 1), (10, 1), (25, 3)])
def test_cost_by_hand_grows_by_whole_windows(frames: int, windows: int) -> None:
    series, dim, window = 12, 16, 10
    embedding = series * window * dim + window * dim + series * 2 * dim
    block = series * (dim * 3 * dim + dim * dim + 2 * dim * 20) + 2 * series * series * dim
    pooling = series * dim * 2 + series * dim

    expected = windows * (embedding + 2 * block + pooling) + dim * 4
    assert multiply_accumulates(inverted_transformer(), frames=frames, width=12) == expected


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads 3 does not divide dim 16"):
        inverted_transformer(heads=3)


def test_a_window_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="window is 0 frames"):
        inverted_transformer(window=0)
