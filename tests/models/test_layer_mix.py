from __future__ import annotations

import torch

from models.layer_mix import LayerMixHead


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
