"""Half precision: where a network computes in it, and what keeps small gradients from vanishing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Autocast of forward passes, and with fp16 a loss that is scaled so that no gradient vanishes.

    Weights, gradients and the optimiser's state stay in float32. A scale that makes a gradient
    overflow is halved and that update left out, as :class:`torch.amp.GradScaler` does.

    Args:
        name: ``float32`` does nothing at all.
        device: a torch device such as ``cpu`` or ``cuda``.
    """

    def __init__(self, name: Literal["float32", "bf16", "fp16"], *, device: str) -> None:
        self.kind = torch.device(device).type
        self.dtype = _TYPES.get(name)
        self.scaler = torch.amp.GradScaler(self.kind) if name == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Within it matrices are multiplied in half precision, if that is wanted."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.kind, dtype=self.dtype)

    def backward(self, loss: Tensor) -> None:
        """Gradients of ``loss``, scaled if need be until :meth:`unscale`."""
        torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        """Gradients as they are, to be clipped."""
        if self.scaler is not None:
            self.scaler.unscale_(optimiser)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """A step, unless a scaled gradient overflowed."""
        if self.scaler is None:
            optimiser.step()
        else:
            self.scaler.step(optimiser)
            self.scaler.update()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs: the scale, and how long it has held."""
        if self.scaler is None:
            return {}
        held = self.scaler.state_dict()
        return {
            "scale": torch.tensor(held["scale"], dtype=torch.float64),
            "steps": torch.tensor(held["_growth_tracker"]),
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        if self.scaler is not None and state:
            held = self.scaler.state_dict()
            held |= {"scale": float(state["scale"]), "_growth_tracker": int(state["steps"])}
            self.scaler.load_state_dict(held)
