"""How fitted networks lie in the store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.training.files import (
    read_json,
    read_weights,
    statistics_tensors,
    write_fitted,
    write_json,
)
from orchestrator.training.loop import Fitted


def fitted() -> Fitted:
    # a transposed weight is not contiguous, which safetensors refuses
    state = {"head.weight": torch.arange(6.0).view(2, 3).T, "mean": torch.tensor([7.0])}
    logits = np.array([[1.5, -2.0]], dtype=np.float32)
    return Fitted(state, epoch=3, validation_logits=logits, history=[{"train/x": 0.5}])


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    mean, std = np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32)
    write_fitted(tmp_path, fitted(), extra=statistics_tensors(mean, std), facts={"parameters": 7})
    state, extra = read_weights(tmp_path)

    # a network's own "mean" and the statistics' do not meet
    assert state.keys() == {"head.weight", "mean"}
    assert torch.equal(state["head.weight"], torch.tensor([[0.0, 3], [1, 4], [2, 5]]))
    assert state["mean"].tolist() == [7.0]
    assert extra["mean"].tolist() == [1.0, 2.0]
    assert extra["std"].tolist() == [3.0, 4.0]
    assert read_json(tmp_path / "facts.json") == {"epoch": 3, "parameters": 7}
    assert read_json(tmp_path / "history.json") == [{"train/x": 0.5}]
    assert np.load(tmp_path / "validation_logits.npy").tolist() == [[1.5, -2.0]]


def test_the_same_network_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_fitted(tmp_path / name, fitted(), extra={}, facts={"b": 1, "a": 2})
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()


def test_nothing_in_the_store_needs_unpickling(tmp_path: Path) -> None:
    """Law 9."""
    write_fitted(tmp_path, fitted(), extra={}, facts={})

    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".json",
        ".json",
        ".npy",
        ".safetensors",
    ]
    np.load(tmp_path / "validation_logits.npy", allow_pickle=False)


def test_statistics_are_copies() -> None:
    mean = np.zeros(2, np.float32)
    kept = statistics_tensors(mean, mean)
    mean += 1

    assert kept["mean"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [{"b": 1, "a": [2, None]}, [], "x"])
def test_json_is_sorted_and_ends_in_a_newline(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()

    assert text == json.dumps(value, indent=1, sort_keys=True) + "\n"
    assert read_json(tmp_path / "x.json") == value
