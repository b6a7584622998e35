"""How fitted networks lie in the store: safetensors and JSON, nothing that is unpickled (law 9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from orchestrator.training.loop import Fitted

WEIGHTS = "weights.safetensors"
FACTS = "facts.json"
HISTORY = "history.json"
VALIDATION = "validation_logits.npy"


def write_fitted(
    folder: Path, fitted: Fitted, *, extra: dict[str, Tensor], facts: dict[str, Any]
) -> None:
    """Weights (with ``extra`` tensors), facts, history and validation logits of a network."""
    tensors = {f"network.{name}": value.contiguous() for name, value in fitted.state.items()}
    # so that a full disk is an OSError, as of every other file
    (folder / WEIGHTS).write_bytes(save(tensors | extra))
    write_json(folder / FACTS, facts | fitted.facts | {"epoch": fitted.epoch})
    write_json(folder / HISTORY, fitted.history)
    np.save(folder / VALIDATION, fitted.validation_logits)


def read_weights(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's state and the extra tensors of a fitted network, on the CPU."""
    tensors = load_file(folder / WEIGHTS)
    state = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    extra = {k: v for k, v in tensors.items() if not k.startswith("network.")}
    return state, extra


def write_json(path: Path, value: object) -> None:
    """Sorted, indented JSON, so that equal values are equal bytes."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    return json.loads(path.read_text())


def statistics_tensors(mean: np.ndarray, std: np.ndarray) -> dict[str, Tensor]:
    """Normalisation statistics as tensors to keep beside the weights."""
    return {"mean": torch.from_numpy(mean.copy()), "std": torch.from_numpy(std.copy())}
