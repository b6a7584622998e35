"""One file that is whole or not there."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import orchestrator.training.checkpoint as checkpoint_module
from orchestrator.training.checkpoint import Checkpoint, Progress, Saved

FILE = "checkpoint.safetensors"


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def saved(value: float = 1.0, *, epoch: int = 3) -> Saved:
    progress = Progress(
        stage=1,
        stage_epochs=2,
        epoch=epoch,
        updates=12,
        best=0.1 + 0.2,
        trail=[0.5, 1 / 3],
        history=[{"train/cross_entropy": 0.7, "validation/accuracy": 2 / 3}],
        kept_epoch=2,
    )
    parts = {
        "network": {"a.weight": torch.full((2, 3), value), "a.count": torch.tensor(5)},
        "rng": {"cpu": torch.arange(7, dtype=torch.uint8)},
    }
    return Saved(parts, progress)


def checkpoint_in(folder: Path, *, minutes: float = 0.0, clock: Any = None) -> Checkpoint:
    return Checkpoint(folder, minutes=minutes, clock=clock or Clock())


def same(one: Saved, other: Saved) -> bool:
    def flat(it: Saved) -> dict[tuple[str, str], Tensor]:
        return {(part, name): v for part, own in it.parts.items() for name, v in own.items()}

    here, there = flat(one), flat(other)
    return (
        one.progress == other.progress
        and here.keys() == there.keys()
        and all(torch.equal(here[key], there[key]) for key in here)
        and all(here[key].dtype == there[key].dtype for key in here)
    )


def test_what_is_read_is_what_was_written_bit_by_bit(tmp_path: Path) -> None:
    checkpoint_in(tmp_path / "some" / "where").write(saved())
    found = checkpoint_in(tmp_path / "some" / "where").read()

    assert found is not None
    assert same(found, saved())


def test_a_fit_that_has_kept_nothing_yet_is_told_as_such(tmp_path: Path) -> None:
    checkpoint_in(tmp_path).write(Saved({"network": {"a": torch.zeros(1)}}, Progress(epoch=1)))
    found = checkpoint_in(tmp_path).read()

    assert found is not None
    assert found.progress.best == math.inf


def test_there_is_none_before_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert checkpoint_in(tmp_path / "nowhere").read() is None
    assert not (tmp_path / "nowhere").exists()
    assert not caplog.records


def test_the_newest_counts_and_is_alone(tmp_path: Path) -> None:
    checkpoint = checkpoint_in(tmp_path)
    for epoch in (1, 2, 3):
        checkpoint.write(saved(float(epoch), epoch=epoch))
    found = checkpoint.read()

    assert found is not None
    assert same(found, saved(3.0, epoch=3))
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_two_names_of_one_tensor_and_a_view_are_kept(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).view(2, 3)
    parts = {"network": {"one": tensor, "other": tensor, "turned": tensor.T}}
    checkpoint_in(tmp_path).write(Saved(parts, Progress()))
    found = checkpoint_in(tmp_path).read()

    assert found is not None
    assert same(found, Saved(parts, Progress()))


def test_it_is_due_by_the_clock(tmp_path: Path) -> None:
    clock = Clock()
    checkpoint = checkpoint_in(tmp_path, minutes=2.0, clock=clock)

    assert not checkpoint.due()
    clock.now += 119.0
    assert not checkpoint.due()
    clock.now += 1.0
    assert checkpoint.due()
    checkpoint.write(saved())
    assert not checkpoint.due()
    clock.now += 120.0
    assert checkpoint.due()


def test_with_no_minutes_it_is_always_due(tmp_path: Path) -> None:
    checkpoint = checkpoint_in(tmp_path, minutes=0.0)

    assert checkpoint.due()
    checkpoint.write(saved())
    assert checkpoint.due()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def other_bytes(path: Path) -> None:
    path.write_bytes(b"\x80\x00no checkpoint at all" * 40)


def without_progress(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"network/a": torch.zeros(1)}, path)


def of_another_version(path: Path) -> None:
    from safetensors.torch import save_file

    metadata = {"progress": '{"epoch": 3, "unheard_of": 1}'}
    save_file({"network/a": torch.zeros(1)}, path, metadata=metadata)


@pytest.mark.parametrize(
    "damage", [cut, emptied, other_bytes, without_progress, of_another_version]
)
def test_a_damaged_file_is_told_of_and_is_as_if_there_were_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    checkpoint_in(tmp_path).write(saved())
    damage(tmp_path / FILE)

    with caplog.at_level(logging.WARNING):
        assert checkpoint_in(tmp_path).read() is None
    (record,) = caplog.records
    assert "is damaged" in record.getMessage()
    assert "training begins anew" in record.getMessage()
    # and the next one is good again
    checkpoint_in(tmp_path).write(saved())
    assert checkpoint_in(tmp_path).read() is not None


def test_whoever_is_killed_while_writing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoint_in(tmp_path)
    checkpoint.write(saved(1.0))

    def half(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "save_file", half)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.write(saved(2.0))
    found = checkpoint.read()

    assert found is not None
    assert same(found, saved(1.0))
    assert len(list(tmp_path.iterdir())) == 2
    checkpoint.remove()
    assert not tmp_path.exists()


def test_removing_what_is_not_there_is_no_mistake(tmp_path: Path) -> None:
    checkpoint_in(tmp_path / "nowhere").remove()
    checkpoint = checkpoint_in(tmp_path / "somewhere")
    checkpoint.write(saved())
    checkpoint.remove()
    checkpoint.remove()

    assert list(tmp_path.iterdir()) == []
