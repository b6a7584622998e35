"""Supervised contrast: utterances of one emotion are pulled together, others pushed apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def supervised_contrastive(features: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """How far each utterance is from those of its class, among the others of the batch.

    With ``u`` the features at length one and ``P(i)`` the other utterances with the label of ``i``:
    ``-mean over p in P(i) of log(exp(u_i u_p / temperature) / sum over a != i of exp(u_i u_a /
    temperature))`` (Khosla et al. 2020, equation 2, one view). Plain: without the factor
    ``temperature / base temperature`` of the authors' code.

    The loss of an utterance depends on its whole batch: unlike the other objectives, parts of a
    batch do not give what the batch gives.

    Args:
        features: (batch, dim) of any length; halves are computed as float32.
        labels: (batch,) int.
        temperature: of the softmax over the others, above 0.

    Returns:
        (batch,) losses; 0 for an utterance that is the only one of its class.
    """
    # autocast would multiply in half precision, whose error the temperature then magnifies
    with torch.autocast(features.device.type, enabled=False):
        units = _unit(features)
        similarities = units @ units.T / temperature
    same = labels[:, None] == labels
    itself = torch.eye(len(labels), dtype=torch.bool, device=same.device)
    # not -inf, whose gradient in a batch of one is NaN on its way
    others = similarities.masked_fill(itself, torch.finfo(similarities.dtype).min)
    costs = -F.log_softmax(others, dim=1)
    positives = same & ~itself
    return costs.masked_fill(~positives, 0.0).sum(dim=1) / positives.sum(dim=1).clamp_min(1)


class ProjectionHead(nn.Module):
    """Maps the student's pooled features to where they are compared; dropped after training.

    A linear layer, ReLU and another linear layer, then length one (Khosla et al. 2020, section 3.1;
    that the hidden layer is as wide as the features is inferred from the authors' code).

    Args:
        dim: width of the features.
        out: width of the output.
    """

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, out))

    def forward(self, features: Tensor) -> Tensor:
        """Project ``features`` (batch, dim) to (batch, out), each row of length one."""
        return _unit(self.layers(features))


def _unit(rows: Tensor) -> Tensor:
    full = rows.to(torch.promote_types(rows.dtype, torch.float32))
    # torch's normalize makes the second gradient of a row of zeros NaN: its norm has a corner there
    return full * full.square().sum(dim=-1, keepdim=True).clamp_min(1e-12).rsqrt()
