from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from models.tcn import DilatedConv, NormalisedConv, TemporalConvNet


def tcn(**changes: Any) -> TemporalConvNet:
    options: dict[str, Any] = {
        "dim": 6,
        "levels": 3,
        "kernel": 3,
        "stride": 1,
        "causal": False,
        "dropout": 0.0,
    }
    return TemporalConvNet(5, **options | changes).eval()


# What a token sees


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "levels", "causal"),
    [(3, 0, False), (3, 1, False), (3, 3, False), (5, 2, False)]
    + [(3, 0, True), (3, 1, True), (3, 3, True), (2, 3, True), (4, 2, True)],
)
def test_a_token_depends_on_its_receptive_field_and_on_no_frame_beyond(
    kernel: int, levels: int, stride: int, causal: bool
) -> None:
    """Positive numbers everywhere, so that ReLU passes and nothing cancels."""
    torch.manual_seed(0)
    net = tcn(kernel=kernel, levels=levels, stride=stride, causal=causal).double()
    with torch.no_grad():
        for value in net.parameters():
            value.abs_()
    field = net.receptive_field
    count = 2 * field // stride + 3
    token = count // 2
    frames = torch.rand(1, stride * count, 5, dtype=torch.float64, requires_grad=True)

    tokens, _ = net(frames, torch.tensor([stride * count]))
    (slopes,) = torch.autograd.grad(tokens[0, token].sum(), frames)
    seen = slopes[0].abs().sum(-1).nonzero()[:, 0].tolist()

    first = stride * token - (field - 1 if causal else (field - 1) // 2)
    assert first > 0
    assert first + field < stride * count
    assert seen == list(range(first, first + field))


@pytest.mark.parametrize(("levels", "stride", "frames"), [(6, 1, 253), (7, 1, 509), (5, 2, 251)])
@pytest.mark.parametrize("causal", [False, True])
def test_receptive_field_by_hand(levels: int, stride: int, frames: int, causal: bool) -> None:
    """Bai et al.: 1 + 2 (3 - 1) (2^6 - 1) = 253; stride 2: 3 + 2 * 4 * (2^5 - 1) = 251."""
    assert tcn(levels=levels, stride=stride, causal=causal).receptive_field == frames


def test_an_even_kernel_is_refused_unless_causal() -> None:
    with pytest.raises(ValueError, match="kernel 2 is even and so has no middle"):
        tcn(kernel=2)


# Values


def effective(conv: NormalisedConv) -> tuple[NDArray[Any], NDArray[Any]]:
    weights = {name: value.numpy() for name, value in conv.state_dict().items()}
    norms = np.sqrt((weights["weight"] ** 2).sum((1, 2), keepdims=True))
    return weights["scale"] * weights["weight"] / norms, weights["bias"]


def convolved(
    series: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], places: list[list[int]]
) -> NDArray[Any]:
    """``series`` (time, planes) at ``places`` of each tap; nothing lies outside it."""
    found = np.tile(bias, (len(places), 1))
    for row, taps in enumerate(places):
        for tap, place in enumerate(taps):
            if 0 <= place < len(series):
                found[row] += weight[:, :, tap] @ series[place]
    return found


@pytest.mark.parametrize(
    ("kernel", "stride", "causal"), [(3, 1, False), (3, 3, False), (2, 1, True), (3, 2, True)]
)
def test_tokens_by_loops(kernel: int, stride: int, causal: bool) -> None:
    torch.manual_seed(0)
    net = tcn(kernel=kernel, stride=stride, causal=causal, levels=2).double()
    with torch.no_grad():
        for value in net.parameters():
            # Scales that are not the norms they begin as.
            value.add_(torch.randn_like(value) * 0.3)
    frames = torch.randn(1, 11, 5).double()
    tokens, token_lengths = net(frames, torch.tensor([11]))

    count = -(-11 // stride)
    back = 2 * stride - 2 if causal else stride - 1
    hops = [[stride * row - back + tap for tap in range(2 * stride - 1)] for row in range(count)]
    entry = {name: value.numpy() for name, value in net.enter.state_dict().items()}
    series = convolved(frames[0].numpy(), entry["weight"], entry["bias"], hops)
    for level in range(2):
        heard = series
        for name in ("first", "second"):
            back = (kernel - 1) * 2**level // (1 if causal else 2)
            hops = [[row - back + tap * 2**level for tap in range(kernel)] for row in range(count)]
            conv = net.get_submodule(f"blocks.{level}.{name}.conv")
            assert isinstance(conv, NormalisedConv)
            heard = np.maximum(convolved(heard, *effective(conv), hops), 0)
        series = np.maximum(series + heard, 0)

    assert token_lengths.tolist() == [count]
    np.testing.assert_allclose(tokens[0].detach().numpy(), series, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_padding_never_changes_a_token_and_is_zero(stride: int, causal: bool) -> None:
    torch.manual_seed(0)
    net = tcn(stride=stride, causal=causal)
    lengths = torch.tensor([29, 17, 4, 1])
    frames = torch.randn(4, 33, 5)
    frames[1, 17:] = 1.0e4
    frames[2, 4:] = float("nan")
    together, counts = net(frames, lengths)

    assert counts.tolist() == [-(-length // stride) for length in lengths.tolist()]
    assert together.shape == (4, -(-33 // stride), 6)
    for row, length in enumerate(lengths.tolist()):
        alone, _ = net(frames[row : row + 1, :length], lengths[row : row + 1])
        count = int(counts[row])
        torch.testing.assert_close(alone[0], together[row, :count], rtol=1e-5, atol=1e-6)
        assert not together[row, count:].any()
    together.sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in net.parameters())


def test_dropout_takes_whole_planes_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = DilatedConv(64, kernel=3, dilation=1, causal=False, dropout=0.25)
    with torch.no_grad():
        for value in layer.parameters():
            value.abs_()
    planes, mask = torch.rand(32, 64, 9), torch.ones(32, 1, 9, dtype=torch.bool)
    heard, kept = layer.train()(planes, mask), layer.eval()(planes, mask)

    silent = (heard == 0).all(2)
    assert ((heard == 0).any(2) == silent).all()
    assert 0.2 < silent.float().mean() < 0.3
    torch.testing.assert_close(heard[~silent] * 0.75, kept[~silent])


def test_blocks_are_heard_from_the_start() -> None:
    """As loud as torch's convolutions begin, uniform within 1 / sqrt(fan-in)."""
    torch.manual_seed(0)
    weight, _ = effective(NormalisedConv(64, kernel=3, dilation=1, padding=1))

    np.testing.assert_allclose(weight.std(), (3 * 64 * 3) ** -0.5, rtol=0.05)


def test_first_and_second_derivatives_of_a_normalised_convolution() -> None:
    torch.manual_seed(0)
    conv = NormalisedConv(2, kernel=3, dilation=1, padding=1).double()
    planes = torch.randn(1, 2, 4).double()
    start = tuple((value.detach() * 1.3).requires_grad_() for value in conv.parameters())
    names = [name for name, _ in conv.named_parameters()]

    def heard(*values: Tensor) -> Tensor:
        said: Tensor = functional_call(conv, dict(zip(names, values, strict=True)), (planes,))
        return said.sin()

    assert torch.autograd.gradcheck(heard, start)
    assert torch.autograd.gradgradcheck(heard, start)


# Copies


def moved(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() * 1.5 + 0.1 for name, value in net.named_parameters()}


def test_a_copy_is_equal_and_separate() -> None:
    torch.manual_seed(0)
    net, frames, lengths = tcn(), torch.randn(2, 20, 5), torch.tensor([20, 7])
    twin = copy.deepcopy(net)
    before = net(frames, lengths)[0]

    torch.testing.assert_close(twin(frames, lengths)[0], before, rtol=0, atol=0)
    twin.load_state_dict(moved(twin))
    assert (twin(frames, lengths)[0] - before).abs().max() > 1e-2
    torch.testing.assert_close(net(frames, lengths)[0], before, rtol=0, atol=0)


def test_weights_travel_by_state_dict_and_by_functional_call() -> None:
    torch.manual_seed(0)
    net, other = tcn(), tcn()
    frames, lengths = torch.randn(2, 20, 5), torch.tensor([20, 7])
    weights = moved(net)
    called = functional_call(net, weights, (frames, lengths))[0]
    other.load_state_dict(weights)

    torch.testing.assert_close(other(frames, lengths)[0], called)
    net.load_state_dict(other.state_dict())
    torch.testing.assert_close(net(frames, lengths)[0], called)
