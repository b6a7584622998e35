from __future__ import annotations

import numpy as np
import torch

from models.pooling import AttentivePooling


def test_attentive_pooling_by_hand() -> None:
    pooling = AttentivePooling(2, heads=2)
    with torch.no_grad():
        # Head 0 scores a token by its first feature, head 1 treats all alike.
        pooling.score.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        pooling.score.bias.zero_()
    tokens = torch.tensor([[[0.0, 2.0], [3.0**0.5, 4.0], [50.0, 60.0]]])

    pooled = pooling(tokens, torch.tensor([[True, True, False]]))

    weight = 2.718281828 ** (3**0.5)
    expected = torch.tensor([[3**0.5 * weight / (1 + weight), 3.0]])
    torch.testing.assert_close(expected, pooled)


def test_attentive_pooling_keeps_double_precision() -> None:
    torch.manual_seed(0)
    pooling = AttentivePooling(4, heads=2).double()
    tokens, mask = torch.randn(2, 5, 4).double(), torch.arange(5) < torch.tensor([[5], [2]])

    scores = pooling.score(tokens).detach().numpy()
    for row, count in enumerate((5, 2)):
        for head in range(2):
            weights = np.exp(scores[row, :count, head])
            shares = tokens[row, :count, 2 * head : 2 * head + 2].numpy()
            expected = (weights / weights.sum()) @ shares
            found = pooling(tokens, mask)[row, 2 * head : 2 * head + 2].detach().numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
