"""The last two states of a fit, each whole or not used."""

from __future__ import annotations

import errno
import json
import logging
import math
import multiprocessing
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import fs
from torch import Tensor

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.store.publication import LocalFiles, locked
from orchestrator.store.remote import Remote
from orchestrator.training.checkpoint import Checkpoint, Progress, Saved
from orchestrator.training.ranks import Ranks

INPUTS: dict[str, Any] = {"seed": 0, "workers": 1}


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
        workers=[[1, 1]],
    )
    parts = {
        "network": {"a.weight": torch.full((2, 3), value), "a.count": torch.tensor(5)},
        "rng": {"cpu": torch.arange(7, dtype=torch.uint8)},
    }
    return Saved(parts, progress)


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store on the disk, and one that is elsewhere as far as it can tell."""
    if request.param == "local":
        return Store(tmp_path / "store")
    (tmp_path / "bucket").mkdir()
    filesystem = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    return Store("runs/one", filesystem=filesystem, cache=tmp_path / "cache")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def checkpoint_in(
    store: Store,
    *,
    workers: int = 1,
    minutes: float = 0.0,
    epochs: int | None = None,
    clock: Callable[[], float] | None = None,
) -> Checkpoint:
    inputs = INPUTS | {"workers": workers}
    clock = clock or Clock()
    return Checkpoint(store, "student", inputs, minutes=minutes, epochs=epochs, clock=clock)


def files(checkpoint: Checkpoint) -> list[str]:
    """What lies in its folder, in the order of epochs."""
    return [name.rpartition("/")[2] for name in checkpoint.store.files.list(checkpoint.folder)]


def epochs(checkpoint: Checkpoint) -> list[int]:
    """Those whose states lie there."""
    return [int(name[:6]) for name in files(checkpoint) if name.endswith(".safetensors")]


def same(one: Saved, other: Saved | None) -> bool:
    def flat(it: Saved) -> dict[tuple[str, str], Tensor]:
        return {(part, name): v for part, own in it.parts.items() for name, v in own.items()}

    assert other is not None
    here, there = flat(one), flat(other)
    return (
        one.progress == other.progress
        and here.keys() == there.keys()
        and all(torch.equal(here[key], there[key]) for key in here)
        and all(here[key].dtype == there[key].dtype for key in here)
    )


# What is written and read


def test_what_is_read_is_what_was_written_bit_by_bit(store: Store) -> None:
    assert checkpoint_in(store).write(saved())

    assert same(saved(), checkpoint_in(store).read())


def test_another_process_reads_it_wherever_it_runs(store: Store, tmp_path: Path) -> None:
    checkpoint = Checkpoint(store, "student", INPUTS, minutes=0.0)
    checkpoint.write(saved())
    there = pickle.loads(pickle.dumps(checkpoint))

    assert same(saved(), there.read())
    # nothing of it is where only this machine could find it
    kept = tmp_path / "bucket" if (tmp_path / "bucket").exists() else tmp_path / "store"
    assert all(kept in path.parents for path in tmp_path.rglob("*.safetensors"))


def test_a_fit_that_has_kept_nothing_yet_is_told_as_such(local: Store) -> None:
    checkpoint_in(local).write(Saved({"network": {"a": torch.zeros(1)}}, Progress(epoch=1)))
    found = checkpoint_in(local).read()

    assert found is not None
    assert found.progress.best == math.inf


def test_there_is_none_before_the_first(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = checkpoint_in(store)

    assert checkpoint.read() is None
    assert files(checkpoint) == []
    assert not caplog.records


def test_the_newest_counts_and_the_one_before_it_stays(store: Store) -> None:
    checkpoint = checkpoint_in(store)
    left = []
    for epoch in (2, 9, 10, 11):
        checkpoint.write(saved(float(epoch), epoch=epoch))
        left.append(epochs(checkpoint))

    assert left == [[2], [2, 9], [9, 10], [10, 11]]
    assert same(saved(11.0, epoch=11), checkpoint.read())


def test_the_last_epochs_are_the_greatest_however_many_digits_they_have(local: Store) -> None:
    checkpoint = checkpoint_in(local)
    for epoch in (999_999, 1_000_000):
        checkpoint.write(saved(epoch=epoch))

    assert same(saved(epoch=1_000_000), checkpoint.read())
    assert len(epochs(checkpoint)) == 2


def test_two_names_of_one_tensor_and_a_view_are_kept(local: Store) -> None:
    tensor = torch.arange(6.0).view(2, 3)
    parts = {
        "network": {"one": tensor, "other": tensor, "turned": tensor.T, "row": tensor[1]},
        "more": {"empty": torch.zeros(0), "another": torch.zeros(0), "frozen": tensor.clone()[:1]},
    }
    checkpoint_in(local).write(Saved(parts, Progress()))

    assert same(Saved(parts, Progress()), checkpoint_in(local).read())


def test_a_state_changes_no_more_once_it_is_written(local: Store) -> None:
    now = saved()
    checkpoint_in(local).write(now)
    now.parts["network"]["a.weight"].zero_()

    assert same(saved(), checkpoint_in(local).read())


# When one is due


def test_it_is_due_by_the_clock(local: Store) -> None:
    clock = Clock()
    checkpoint = checkpoint_in(local, minutes=2.0, clock=clock)

    assert not checkpoint.due(1)
    clock.now += 119.0
    assert not checkpoint.due(2)
    clock.now += 1.0
    assert checkpoint.due(3)
    checkpoint.write(saved())
    assert not checkpoint.due(4)
    clock.now += 120.0
    assert checkpoint.due(5)


def test_the_clock_of_the_machine_that_trains_counts(local: Store) -> None:
    clock = Clock()
    checkpoint = checkpoint_in(local, minutes=2.0, clock=clock)
    # made where the clock says something else
    clock.now -= 900.0
    checkpoint.read()
    clock.now += 120.0

    assert checkpoint.due(1)


def test_with_no_minutes_it_is_always_due(local: Store) -> None:
    checkpoint = checkpoint_in(local, minutes=0.0)

    assert checkpoint.due(1)
    checkpoint.write(saved())
    assert checkpoint.due(2)


def test_it_is_due_by_the_epochs_since_the_last_one(local: Store) -> None:
    checkpoint = checkpoint_in(local, minutes=60.0, epochs=3)

    assert [checkpoint.due(epoch) for epoch in (1, 2, 3)] == [False, False, True]
    checkpoint.write(saved(epoch=3))
    assert [checkpoint.due(epoch) for epoch in (4, 5, 6)] == [False, False, True]
    # nor is one due at once when the fit goes on
    again = checkpoint_in(local, minutes=60.0, epochs=3)
    again.read()
    assert [again.due(epoch) for epoch in (4, 5, 6)] == [False, False, True]


# Damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def other_bytes(path: Path) -> None:
    path.write_bytes(b"\x80\x00no checkpoint at all" * 40)


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def replaced(path: Path, tensors: dict[str, Tensor]) -> None:
    """Another file in its place, under the digest that it has."""
    from hashlib import sha256

    from safetensors.torch import save

    data = save(tensors)
    path.unlink()
    path.with_name(f"{path.name[:7]}{sha256(data).hexdigest()[:32]}.safetensors").write_bytes(data)


def without_progress(path: Path) -> None:
    replaced(path, {"network/a": torch.zeros(1)})


def of_a_later_version(path: Path) -> None:
    progress = torch.tensor(list(b'{"epoch": 3, "unheard_of": 1}'), dtype=torch.uint8)
    replaced(path, {"network/a": torch.zeros(1), "progress": progress})


DAMAGES = [cut, emptied, other_bytes, one_bit, without_progress, of_a_later_version]


def newest(checkpoint: Checkpoint) -> Path:
    (path,) = checkpoint.store.folder.glob(f"{checkpoint.folder}/*{files(checkpoint)[-2]}")
    return path


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_one_before_a_damaged_one_is_used_and_it_is_said(
    local: Store, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    checkpoint = checkpoint_in(local)
    checkpoint.write(saved(1.0, epoch=5))
    checkpoint.write(saved(2.0, epoch=8))
    damage(newest(checkpoint))

    with caplog.at_level(logging.WARNING):
        assert same(saved(1.0, epoch=5), checkpoint_in(local).read())
    (record,) = caplog.records
    assert "is damaged" in record.getMessage()
    assert "/000008-" in record.getMessage()

    # and the next one takes the place of the damaged one, whose epoch may be later
    checkpoint_in(local).write(saved(3.0, epoch=6))
    assert epochs(checkpoint) == [5, 6]
    assert same(saved(3.0, epoch=6), checkpoint_in(local).read())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_alone_is_as_if_there_were_none(
    local: Store, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    checkpoint = checkpoint_in(local)
    checkpoint.write(saved())
    damage(newest(checkpoint))

    with caplog.at_level(logging.WARNING):
        assert checkpoint_in(local).read() is None
    assert "training begins anew" in caplog.text
    # and the next one is good again
    checkpoint_in(local).write(saved())
    assert same(saved(), checkpoint_in(local).read())


def test_one_that_knows_less_than_this_version_is_read(local: Store) -> None:
    checkpoint = checkpoint_in(local)
    checkpoint.write(saved())
    progress = torch.tensor(list(b'{"epoch": 3, "best": 0.5}'), dtype=torch.uint8)
    replaced(newest(checkpoint), {"network/a": torch.ones(1), "progress": progress})
    found = checkpoint_in(local).read()

    assert found is not None
    assert found.progress == Progress(epoch=3, best=0.5)


def test_whoever_is_killed_while_writing_leaves_those_before_whole(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoint_in(local)
    checkpoint.write(saved(1.0, epoch=1))
    checkpoint.write(saved(2.0, epoch=2))

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # a process that is killed tidies nothing up
        patch.setattr(Path, "unlink", dies)
        patch.setattr(os, "fsync", dies)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.write(saved(3.0, epoch=3))

    assert same(saved(2.0, epoch=2), checkpoint_in(local).read())
    assert epochs(checkpoint) == [1, 2]
    folder = local.folder / checkpoint.folder
    assert len(list(folder.iterdir())) == 4
    checkpoint.remove()
    assert not folder.exists()


# Stores that take nothing


class Full:
    """A disk that is full while it is told to be."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.full = False
        for layer in (LocalFiles, Remote):
            patch.setattr(layer, "write", self.instead_of(layer.write))

    def instead_of(self, write: Any) -> Any:
        def written(layer: Any, name: str, data: bytes) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device", name)
            write(layer, name, data)

        return written


def test_a_full_store_costs_a_checkpoint_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk, clock = Full(monkeypatch), Clock()
    checkpoint = checkpoint_in(store, minutes=1.0, clock=clock)
    checkpoint.write(saved(1.0, epoch=1))
    checkpoint.write(saved(2.0, epoch=2))
    disk.full = True
    with caplog.at_level(logging.WARNING):
        assert not checkpoint.write(saved(3.0, epoch=3))
        # no sooner than if it had been written
        assert not checkpoint.due(4)
        clock.now += 60.0
        assert checkpoint.due(4)
        assert not checkpoint.write(saved(4.0, epoch=4))
        assert same(saved(2.0, epoch=2), checkpoint_in(store).read())
    # said once
    (record,) = caplog.records
    assert repr(store.shown) in record.getMessage()
    assert "No space left on device" in record.getMessage()
    assert "free some space" in record.getMessage()

    disk.full = False
    assert checkpoint.write(saved(5.0, epoch=5))
    assert epochs(checkpoint) == [2, 5]
    # and said again if it happens again
    disk.full = True
    with caplog.at_level(logging.WARNING):
        assert not checkpoint.write(saved(6.0, epoch=6))
    assert len(caplog.records) == 2


def test_a_store_that_turns_read_only_costs_checkpoints_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = checkpoint_in(store)
    checkpoint.write(saved(1.0, epoch=1))

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        for layer in (LocalFiles, Remote):
            for change in ("write", "remove", "remove_folder"):
                patch.setattr(layer, change, refused)
        with caplog.at_level(logging.WARNING):
            assert not checkpoint.write(saved(2.0, epoch=2))
            # who goes on may have another number of workers
            assert same(saved(1.0, epoch=1), checkpoint_in(store, workers=2).read())
            # a fit that has ended leaves them for another time
            checkpoint.remove()
    assert "Read-only file system" in caplog.text
    assert "make it writable" in caplog.text

    assert checkpoint.write(saved(3.0, epoch=3))
    assert epochs(checkpoint) == [1, 3]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("nobody may mount a file system here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_disk_that_is_really_full(
    small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, elsewhere: bool
) -> None:
    store = Store(small_disk)
    if elsewhere:
        disk = fs.SubTreeFileSystem(str(small_disk), fs.LocalFileSystem())
        store = Store("runs", filesystem=disk, cache=tmp_path / "cache")
    checkpoint = checkpoint_in(store)
    large = {"network": {"a": torch.ones(20_000)}}  # 80 kB
    for epoch in (1, 2):
        assert checkpoint.write(Saved(large, Progress(epoch=epoch)))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(60_000))
    before = sorted(small_disk.rglob("*"))
    assert not checkpoint.write(Saved(large, Progress(epoch=3)))

    assert "No space left on device" in caplog.text
    assert epochs(checkpoint) == [1, 2]
    # not even a part of what did not fit
    assert sorted(small_disk.rglob("*")) == before
    filler.unlink()
    assert checkpoint.write(Saved(large, Progress(epoch=4)))
    found = checkpoint_in(store).read()
    assert found is not None
    assert found.progress.epoch == 4


def test_a_disk_that_is_really_read_only(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = checkpoint_in(Store(small_disk))
    checkpoint.write(saved(1.0, epoch=1))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert not checkpoint.write(saved(2.0, epoch=2))
    checkpoint.remove()

    assert "Read-only file system" in caplog.text
    assert same(saved(1.0, epoch=1), checkpoint_in(Store(small_disk), workers=2).read())
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert checkpoint.write(saved(3.0, epoch=3))
    assert epochs(checkpoint) == [1, 3]


def test_a_store_that_cannot_be_read_is_no_reason_to_begin_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoint_in(store)
    checkpoint.write(saved())

    def away(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    for layer in (LocalFiles, Remote):
        monkeypatch.setattr(layer, "read", away)
    with pytest.raises(StoreError, match=r"cannot be read .*Input/output error.*begin anew"):
        checkpoint.read()


# Other numbers of workers


def fit_of(checkpoint: Checkpoint) -> dict[str, str]:
    found: dict[str, str] = json.loads(checkpoint.store.files.read(f"{checkpoint.folder}/fit.json"))
    return found


def test_a_fit_with_another_number_of_workers_goes_on_from_it_and_leaves_it(store: Store) -> None:
    one, two = checkpoint_in(store), checkpoint_in(store, workers=2)
    one.write(saved())

    assert fit_of(one) == {"stage": "student", "key": store.key("student", INPUTS)}
    assert same(saved(), two.read())
    # from then on each has its own
    two.write(saved(epoch=9))
    assert fit_of(two)["key"] == store.key("student", INPUTS | {"workers": 2})
    assert same(saved(), one.read())
    assert same(saved(epoch=9), two.read())
    two.remove()
    assert same(saved(), one.read())
    one.remove()
    assert two.read() is None


def test_a_fit_that_is_under_way_is_let_alone(local: Store) -> None:
    """Whoever went on from it would have other numbers by how far it happens to be."""
    one, two = checkpoint_in(local), checkpoint_in(local, workers=2)
    one.write(saved())

    with locked(local.lock(local.key("student", INPUTS)), purpose="a fit"):
        assert two.read() is None
        assert same(saved(), one.read())
    assert same(saved(), two.read())


def test_a_state_of_which_nobody_says_what_it_is_for_is_let_alone(local: Store) -> None:
    one, two = checkpoint_in(local), checkpoint_in(local, workers=2)
    one.write(saved())
    local.files.remove(f"{one.folder}/fit.json")

    assert two.read() is None
    assert same(saved(), one.read())


def test_other_inputs_are_another_fit(local: Store) -> None:
    checkpoint_in(local).write(saved())
    other = Checkpoint(local, "student", INPUTS | {"seed": 1}, minutes=0.0)
    teacher = Checkpoint(local, "teacher", INPUTS, minutes=0.0)

    assert other.read() is None
    assert teacher.read() is None


def test_it_is_told_how_many_workers_trained_from_when_on() -> None:
    progress = Progress()
    progress.go_on_with(2)
    progress.epoch = 4
    progress.go_on_with(2)

    assert progress.workers == [[1, 2]]
    assert progress.facts() == {}

    progress.go_on_with(1)

    assert progress.facts() == {
        "workers": [[1, 2], [5, 1]],
        "notes": ["trained by changing numbers of workers: from epoch 1 on 2, from epoch 5 on 1"],
    }


def _rank(rank: int, folder: Path, results: Any) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2
    )
    # the second one sees another disk
    store = Store(folder / f"disk{rank}")
    found = []
    for seed in (0, 1):
        checkpoint = Checkpoint(store, "student", {"seed": seed, "workers": 2}, minutes=0.0)
        state = checkpoint.read(Ranks.current())
        found.append(None if state is None else same(saved(7.0), state))
    results.put((rank, found))
    torch.distributed.destroy_process_group()


def test_the_first_worker_tells_the_others(tmp_path: Path) -> None:
    inputs = {"seed": 0, "workers": 1}
    Checkpoint(Store(tmp_path / "disk0"), "student", inputs, minutes=0.0).write(saved(7.0))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_rank, args=(rank, tmp_path, results)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    told = dict(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)

    assert told == {0: [True, None], 1: [True, None]}
    assert [worker.exitcode for worker in workers] == [0, 0]


# The end


def test_removing_what_is_not_there_is_no_mistake(store: Store) -> None:
    checkpoint = checkpoint_in(store)
    checkpoint.remove()
    checkpoint.write(saved())
    checkpoint.remove()
    checkpoint.remove()

    assert files(checkpoint) == []
    assert checkpoint.read() is None
