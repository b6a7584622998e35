from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.macs import count_parameters, multiply_accumulates
from models.outputs import length_mask
from models.satn import Satn, SatnEncoder, begin_as
from models.transformer import Attention
from tests.models.networks import assert_padding_never_matters

SIZES: dict[str, Any] = {
    "bins": 4,
    "channels": 3,
    "stride": 2,
    "dim": 16,
    "levels": 2,
    "kernel": 3,
    "causal": False,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 20,
    "dropout": 0.0,
}


def encoder(**changes: Any) -> SatnEncoder:
    return SatnEncoder(**SIZES | changes).eval()


def satn(**changes: Any) -> Satn:
    options = SIZES | {"classes": 4, "segment": None, "segment_pooling": "mean"}
    return Satn(**options | changes).eval()


def shaken(net: Satn) -> Satn:
    """``net`` with louder weights, so that segments differ in what they say."""
    with torch.no_grad():
        for value in net.parameters():
            value.add_(torch.randn_like(value) * 0.3)
    return net


# Padding and tokens


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("segment", [None, 29, 40])
def test_padding_never_changes_an_output(stride: int, causal: bool, segment: int | None) -> None:
    torch.manual_seed(0)

    assert_padding_never_matters(satn(stride=stride, causal=causal, segment=segment), width=12)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_token_stands_on_every_frame_of_the_stride(stride: int) -> None:
    output = satn(stride=stride)(torch.randn(2, 9, 12), torch.tensor([9, 8]))

    counts = {1: [9, 8], 2: [5, 4], 4: [3, 2]}[stride]
    assert output.tokens.shape == (2, counts[0], 16)
    assert output.token_lengths.tolist() == counts
    assert output.positions.dtype == torch.float32
    # Half a frame after the frame begins.
    centres = torch.tensor([stride * place + 0.5 for place in range(counts[0])])
    torch.testing.assert_close(output.positions, centres / torch.tensor([[9.0], [8.0]]))


@pytest.mark.parametrize("depth", [1, 3])
def test_every_attention_layer_among_tokens_is_told(depth: int) -> None:
    torch.manual_seed(0)
    net, frames, lengths = satn(depth=depth), torch.randn(2, 9, 12), torch.tensor([9, 8])
    output = net(frames, lengths)

    assert len(output.attention) == depth
    listening = output.listening(depth)
    for told in (listening.heads.queries, listening.heads.keys, listening.heads.values):
        assert told.shape == (2, 2, 5, 8)
    # The first layer's are those of the convolutions' tokens.
    heard, counts = net.encoder.tcn(frames, lengths)
    first = net.encoder.transformer.attentions[0]
    assert isinstance(first, Attention)
    queries = first.qkv(first.norm(heard))[..., :16].view(2, 5, 2, 8).transpose(1, 2)
    torch.testing.assert_close(output.attention[0].queries, queries)
    assert listening.lengths.tolist() == counts.tolist() == [5, 4]


def test_attention_looks_ahead_beyond_causal_convolutions() -> None:
    torch.manual_seed(0)
    net = encoder(causal=True)
    frames = torch.randn(1, 40, 12, requires_grad=True)
    encoded = net(frames, torch.tensor([40]))
    (slopes,) = torch.autograd.grad(encoded.tokens[0, 0].square().sum(), frames)

    assert slopes[0, -2].abs().max() > 0


def test_order_of_frames_matters() -> None:
    torch.manual_seed(0)
    net, frames = satn(), torch.randn(1, 40, 12)
    lengths = torch.tensor([40])

    difference = net(frames, lengths).logits - net(frames.flip(1), lengths).logits
    assert difference.abs().max() > 1e-3


# Segments


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_long_utterance_has_the_posterior_of_its_segments(pooling: str) -> None:
    torch.manual_seed(0)
    net = shaken(satn(segment=10, segment_pooling=pooling)).double()
    frames = torch.randn(3, 27, 12).double()
    frames[0, 4:] = float("nan")
    output = net(frames, torch.tensor([4, 25, 10]))

    # 25 frames leave 15 to spread over two steps.
    spans = {0: [(0, 4)], 1: [(0, 10), (7, 17), (15, 25)], 2: [(0, 10)]}
    for row, stretches in spans.items():
        parts = [
            net(frames[row : row + 1, begin:end], torch.tensor([end - begin]))
            for begin, end in stretches
        ]
        posteriors = torch.stack([part.logits[0].softmax(0) for part in parts])
        pooled = posteriors.mean(0) if pooling == "mean" else posteriors.max(0).values
        vectors = torch.cat([part.pooled for part in parts])
        torch.testing.assert_close(output.logits[row].exp(), pooled / pooled.sum())
        torch.testing.assert_close(output.pooled[row], vectors.mean(0))
        torch.testing.assert_close(output.tokens[row, : len(parts)], vectors)
        assert not output.tokens[row, len(parts) :].any()
        total = stretches[-1][1]
        centres = torch.tensor([(begin + end) / 2 / total for begin, end in stretches])
        torch.testing.assert_close(output.positions[row, : len(parts)], centres)
    assert output.token_lengths.tolist() == [1, 3, 1]
    assert output.attention == ()


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_posterior_is_the_same_alone_and_beside_longer_ones(pooling: str) -> None:
    torch.manual_seed(0)
    net = shaken(satn(segment=10, segment_pooling=pooling))
    lengths = torch.tensor([29, 17, 10, 1])
    frames = torch.randn(4, 33, 12)
    frames[1, 17:] = float("nan")
    together = net(frames, lengths)

    assert together.token_lengths.tolist() == [3, 2, 1, 1]
    for row, length in enumerate(lengths.tolist()):
        alone = net(frames[row : row + 1, :length], lengths[row : row + 1])
        posterior, found = alone.logits[0].softmax(0), together.logits[row].exp()
        torch.testing.assert_close(posterior, found, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone.pooled[0], together.pooled[row], rtol=1e-5, atol=1e-5)
        assert bool(alone.attention) == (length <= 10)
    together.logits.sum().backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in net.parameters())


def test_in_one_segment_the_logits_are_the_heads_own() -> None:
    torch.manual_seed(0)
    net, frames = satn(segment=10), torch.randn(2, 12, 12)
    output = net(frames, torch.tensor([10, 3]))

    torch.testing.assert_close(output.logits, net.head(output.pooled))
    mask = length_mask(output.token_lengths, output.tokens.shape[1])
    torch.testing.assert_close(output.pooled, net.pooling(output.tokens, mask))
    assert output.tokens.shape == (2, 6, 16)
    assert len(output.attention) == 2


def test_without_segments_a_long_utterance_is_heard_whole() -> None:
    output = satn()(torch.randn(1, 500, 12), torch.tensor([500]))

    assert output.tokens.shape == (1, 250, 16)
    assert len(output.attention) == 2


# Beginning as another


def test_a_student_begins_as_its_source_and_then_goes_its_own_way() -> None:
    torch.manual_seed(0)
    student, source = satn(dropout=0.3), encoder()
    frames, lengths = torch.randn(2, 20, 12), torch.tensor([20, 7])
    expected = source(frames, lengths).tokens
    begin_as(student.encoder, source)

    torch.testing.assert_close(student.encoder(frames, lengths).tokens, expected, rtol=0, atol=0)
    with torch.no_grad():
        for value in student.parameters():
            value.mul_(2)
    torch.testing.assert_close(source(frames, lengths).tokens, expected, rtol=0, atol=0)


def test_a_source_of_another_size_is_refused_by_name_and_changes_nothing() -> None:
    student = encoder()
    before = copy.deepcopy(student.state_dict())

    with pytest.raises(ValueError, match="but dim is 16 here and 12 there, heads is 2 here and 3"):
        begin_as(student, encoder(dim=12, heads=3))
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [{"causal": True}, {"heads": 4}, {"bins": 6, "channels": 2}, {"levels": 1}, {"depth": 1}],
)
def test_a_source_whose_weights_mean_something_else_is_refused(change: dict[str, Any]) -> None:
    """Some would fit by their shape."""
    with pytest.raises(ValueError, match=f"{next(iter(change))} is .* here and .* there"):
        begin_as(encoder(), encoder(**change))


# Precision, derivatives, copies, cost


@pytest.mark.parametrize("segment", [None, 10])
def test_double_precision_agrees_with_single(segment: int | None) -> None:
    torch.manual_seed(0)
    net, frames = satn(segment=segment), torch.randn(2, 25, 12)
    lengths = torch.tensor([25, 4])
    single = net(frames, lengths)
    double = net.double()(frames.double(), lengths)

    assert {double.logits.dtype, double.pooled.dtype, double.tokens.dtype} == {torch.float64}
    assert double.positions.dtype == torch.float32
    torch.testing.assert_close(double.logits.float(), single.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("segment", [None, 5])
def test_derivatives_through_a_step_agree_with_differences(segment: int | None) -> None:
    """The loss after a gradient step, by the step's weight and its start, as in meta-learning."""
    torch.manual_seed(0)
    small: dict[str, Any] = {"bins": 3, "channels": 1, "dim": 4, "mlp_dim": 6, "levels": 1}
    net = satn(**small, classes=3, segment=segment).double()
    lengths, labels = torch.tensor([9, 2]), torch.tensor([0, 2])
    taught, held = torch.randn(2, 2, 9, 3).double()
    start = {name: value.detach() for name, value in net.named_parameters()}

    def loss(weights: dict[str, Tensor], frames: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (frames, lengths)).logits, labels)

    def after_a_step(rate: Tensor, weights: dict[str, Tensor]) -> Tensor:
        slopes = torch.func.grad(loss)(weights, taught)
        return loss({name: value - rate * slopes[name] for name, value in weights.items()}, held)

    rate, width = torch.tensor(0.3).double(), 1e-6
    direction = {name: torch.randn_like(value) for name, value in start.items()}

    def moved(by: float) -> dict[str, Tensor]:
        return {name: value + by * direction[name] for name, value in start.items()}

    with sdpa_kernel(SDPBackend.MATH):
        by_rate, by_start = torch.func.grad(after_a_step, argnums=(0, 1))(rate, start)
        rate_differences = after_a_step(rate + width, start) - after_a_step(rate - width, start)
        differences = after_a_step(rate, moved(width)) - after_a_step(rate, moved(-width))

    assert by_rate.abs() > 1e-3
    torch.testing.assert_close(by_rate, rate_differences / (2 * width), rtol=1e-6, atol=1e-8)
    along = sum((by_start[name] * direction[name]).sum() for name in start)
    torch.testing.assert_close(along, differences / (2 * width), rtol=1e-6, atol=1e-8)


def test_a_copy_is_equal_and_separate() -> None:
    torch.manual_seed(0)
    net, frames, lengths = satn(), torch.randn(2, 20, 12), torch.tensor([20, 7])
    twin, before = copy.deepcopy(net), net(frames, lengths).logits
    torch.testing.assert_close(twin(frames, lengths).logits, before, rtol=0, atol=0)
    shaken(twin)

    assert (twin(frames, lengths).logits - before).abs().max() > 1e-2
    torch.testing.assert_close(net(frames, lengths).logits, before, rtol=0, atol=0)
    net.load_state_dict(twin.state_dict())
    torch.testing.assert_close(net(frames, lengths).logits, twin(frames, lengths).logits)


@pytest.mark.parametrize(("frames", "segments"), [(10, 1), (25, 3)])
def test_cost_by_hand(frames: int, segments: int) -> None:
    tokens, dim = 5, 16
    convolutions = tokens * (3 * 12 * dim + 2 * 2 * 3 * dim * dim)
    layer = tokens * (dim * 3 * dim + dim * dim + 2 * dim * 20) + 2 * tokens * tokens * dim
    pooling = tokens * dim * 2 + tokens * dim

    expected = segments * (convolutions + 2 * layer + pooling + dim * 4)
    assert multiply_accumulates(satn(segment=10), frames=frames, width=12) == expected


def test_recipe_sized_student_is_within_its_budget() -> None:
    student = satn(bins=40, dim=96, levels=5, depth=1, heads=4, mlp_dim=192, segment=300)

    assert count_parameters(student) < 1_000_000
    assert multiply_accumulates(student, frames=300, width=120) < 65_000_000


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "heads 3 does not divide dim 16"),
        ({"depth": 0}, "depth is 0; self-attention needs one layer or more"),
        ({"kernel": 4}, "kernel 4 is even"),
        ({"segment": 0}, "segment is 0 frames"),
        ({"segment_pooling": "median"}, "segment_pooling is 'median'; take 'mean' or 'max'"),
    ],
)
def test_what_cannot_be_built_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        satn(**change)
