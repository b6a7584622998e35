from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from models.layer_mix import FrameMixHead, LayerMixHead


def test_standardised_mix_by_hand() -> None:
    head = LayerMixHead(layers=2, width=1, classes=3)
    # Layer 0: mean 2, deviation 1; layer 1: mean 0, deviation 10.
    head.fit_statistics(torch.tensor([[[1.0], [10.0]], [[3.0], [-10.0]]]))
    with torch.no_grad():
        head.mix.copy_(torch.tensor([0.0, torch.tensor(3.0).log()]))

    output = head(torch.tensor([[[4.0], [5.0]]]))

    # Weights 1/4 and 3/4: 0.25 * (4 - 2) / 1 + 0.75 * 5 / 10.
    torch.testing.assert_close(torch.tensor([[0.875]]), output.pooled)
    torch.testing.assert_close(head.head(output.pooled), output.logits)


def test_feature_that_does_not_vary_is_only_centred() -> None:
    head = LayerMixHead(layers=1, width=1, classes=2)
    head.fit_statistics(torch.full((4, 1, 1), 7.0))

    assert head(torch.tensor([[[7.5]]])).pooled.tolist() == [[0.5]]


def test_mean_of_mixed_frames_is_the_mixed_mean() -> None:
    torch.manual_seed(0)
    head = LayerMixHead(layers=3, width=4, classes=2)
    head.fit_statistics(torch.randn(20, 3, 4) * 5 + 1)
    with torch.no_grad():
        head.mix.copy_(torch.randn(3))
    frames = torch.randn(11, 3, 4)

    mixed = head.mix_frames(frames)

    assert mixed.shape == (11, 4)
    torch.testing.assert_close(head(frames.mean(0)[None]).pooled[0], mixed.mean(0))


def test_frames_use_the_mean_half_of_pooled_statistics() -> None:
    torch.manual_seed(0)
    both, means = (LayerMixHead(layers=2, width=width, classes=2) for width in (6, 3))
    pooled = torch.randn(9, 2, 6)
    both.fit_statistics(pooled)
    means.fit_statistics(pooled[..., :3])
    frames = torch.randn(5, 2, 3)

    torch.testing.assert_close(means.mix_frames(frames), both.mix_frames(frames))


def test_statistics_travel_with_the_weights() -> None:
    head = LayerMixHead(layers=1, width=2, classes=2)
    head.fit_statistics(torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]]))
    other = LayerMixHead(layers=1, width=2, classes=2)
    other.load_state_dict(head.state_dict())

    assert other.mean.tolist() == [[2.0, 4.0]]
    assert other.deviation.tolist() == [[1.0, 2.0]]


# Over frames


def frame_head(
    pooling: Literal["mean", "statistics", "attentive"], layers: int = 2
) -> FrameMixHead:
    torch.manual_seed(0)
    head = FrameMixHead(layers=layers, width=3, classes=2, pooling=pooling)
    head.fit_statistics(torch.randn(20, layers, head.dim) * 3 + 1)
    with torch.no_grad():
        head.mix.copy_(torch.randn(layers))
    return head


def padded(*lengths: int, layers: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of some utterances, and large numbers where there are none."""
    frames = torch.full((len(lengths), max(lengths), layers, 3), 1e3)
    for row, length in enumerate(lengths):
        frames[row, :length] = torch.randn(length, layers, 3)
    return frames, torch.tensor(lengths)


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
def test_pooled_frames_are_classified_as_pooled_vectors_are(
    pooling: Literal["mean", "statistics"],
) -> None:
    head = frame_head(pooling)
    frames, lengths = padded(5, 1, 8)
    vectors = LayerMixHead(layers=2, width=head.dim, classes=2)
    vectors.load_state_dict(head.state_dict())
    by_hand = []
    for row, length in enumerate(lengths.tolist()):
        real = frames[row, :length].numpy().astype(np.float64)
        parts = [real.mean(0)] + ([real.std(0)] if pooling == "statistics" else [])
        by_hand.append(np.concatenate(parts, axis=-1))
    pooled = torch.from_numpy(np.stack(by_hand)).float()

    torch.testing.assert_close(head.vectors(frames, lengths), pooled, atol=2e-6, rtol=1e-5)
    found, expected = head(frames, lengths), vectors(pooled)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.pooled, expected.pooled)


def test_attention_begins_as_the_mean_of_the_mixed_frames() -> None:
    head = frame_head("attentive")
    frames, lengths = padded(4, 7)
    mixed, same = head.mixed(frames, lengths)

    assert same is lengths
    for row, length in enumerate(lengths.tolist()):
        expected = mixed[row, :length].mean(0)
        torch.testing.assert_close(head(frames, lengths).pooled[row], expected)


def test_attention_weighs_real_frames_by_hand() -> None:
    head = frame_head("attentive")
    assert head.attention is not None
    with torch.no_grad():
        head.attention.score.weight.copy_(torch.tensor([[2.0, 0.0, -1.0]]))
    frames, lengths = padded(3, 6)
    mixed, _ = head.mixed(frames, lengths)
    real = mixed[0, :3]
    weights = torch.exp(2.0 * real[:, 0] - real[:, 2])
    weights = weights / weights.sum()
    output = head(frames, lengths)

    torch.testing.assert_close(output.pooled[0], (weights[:, None] * real).sum(0))
    torch.testing.assert_close(output.logits, head.head(output.pooled))
    alone = head(frames[:1, :3], lengths[:1])
    torch.testing.assert_close(output.logits[:1], alone.logits)


def test_one_frame_has_no_deviation_and_a_finite_gradient() -> None:
    head = frame_head("statistics")
    frames, lengths = padded(1, 2)
    frames.requires_grad_()
    head(frames, lengths).logits.sum().backward()

    assert frames.grad is not None
    assert frames.grad.isfinite().all()
    assert head.vectors(frames, lengths)[0, :, 3:].abs().max() < 1e-5
