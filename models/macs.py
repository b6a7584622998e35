"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of ``model``."""
    return sum(value.numel() for value in model.parameters() if value.requires_grad)


def multiply_accumulates(model: nn.Module, *, frames: int, width: int) -> int:
    """Count the multiply-accumulates of one forward pass over one utterance.

    Matrix products, convolutions and attention are counted, as torch counts floating-point
    operations divided by two; norms, activations and biases are not.

    Args:
        model: a network of this package, called as ``model(frames, lengths)``; its mode is kept.
        frames: length of the utterance in frames.
        width: features of a frame, bins times channels.
    """
    device = next(model.parameters()).device
    heard = torch.zeros(1, frames, width, device=device)
    lengths = torch.tensor([frames], device=device)
    training = model.training
    model.eval()
    try:
        # The counter does not know torch's fused attention on CPU; the plain products it does.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as mode:
            model(heard, lengths)
    finally:
        model.train(training)
    return int(mode.get_total_flops()) // 2
