"""Small networks that the tests share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.conv_transformer import ConvTransformer
from models.vertical_vit import VerticalVit


def vit(**changes: Any) -> VerticalVit:
    options: dict[str, Any] = {
        "bins": 12,
        "classes": 4,
        "dim": 16,
        "depth": 2,
        "heads": 3,
        "head_dim": 8,
        "mlp_dim": 20,
    }
    return VerticalVit(**options | changes).eval()


def conv_transformer(**changes: Any) -> ConvTransformer:
    options: dict[str, Any] = {
        "bins": 12,
        "classes": 4,
        "widths": (6, 8, 10),
        "dim": 16,
        "depth": 2,
        "heads": 2,
        "mlp_dim": 20,
    }
    return ConvTransformer(**options | changes).eval()


def assert_padding_never_matters(network: nn.Module, *, width: int) -> None:
    """The same outputs alone and beside a longer utterance, whatever the padding holds."""
    lengths = torch.tensor([29, 17, 4, 1])
    frames = torch.randn(4, 33, width) * 3
    frames[1, 17:] = 1.0e4
    frames[2, 4:] = float("nan")
    together = network(frames, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = network(frames[row : row + 1, :length], lengths[row : row + 1])
        count = int(alone.token_lengths[0])

        assert alone.tokens.shape[1] == count == int(together.token_lengths[row])
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(alone.logits[0], together.logits[row], **close)
        torch.testing.assert_close(alone.pooled[0], together.pooled[row], **close)
        torch.testing.assert_close(alone.tokens[0], together.tokens[row, :count], **close)
        torch.testing.assert_close(alone.positions[0], together.positions[row, :count])
    together.logits.sum().backward()
    gradients = [value.grad for value in network.parameters() if value.grad is not None]

    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
