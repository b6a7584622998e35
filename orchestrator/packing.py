"""Flat arrays on disk, grown an utterance at a time, and the shards of a corpus that fill them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from orchestrator.canonical import JSON

if TYPE_CHECKING:
    from orchestrator.corpora import Corpus

_SYNCED_BYTES = 1 << 21

IDS, OFFSETS, FRAMES = "ids.json", "offsets.npy", "frames.npy"


@dataclass(frozen=True)
class Handle:
    """Where something made of a whole corpus is, small enough to send anywhere."""

    keys: tuple[str, ...]
    """Of the store, one a shard."""
    identity: str
    """Hash of all that was done to every utterance, but of no utterance: what the key of something
    fitted needs, so that a row added to the corpus leaves what was fitted to other rows alone."""

    prefixes: tuple[str, ...] = ()
    """What stands before the ids of each shard, where several corpora are read as one; default:
    nothing."""

    @classmethod
    def joined(cls, handles: Sequence[Self], *, prefixes: Sequence[str]) -> Self:
        """One handle for several corpora, whose shards stay as they are.

        Args:
            handles: one a corpus, all made in the same way.
            prefixes: what stands before the ids of each corpus.
        """
        return dataclasses.replace(
            handles[0],
            keys=tuple(key for handle in handles for key in handle.keys),
            prefixes=tuple(
                before
                for handle, before in zip(handles, prefixes, strict=True)
                for _ in handle.keys
            ),
        )

    def shards(self) -> Iterator[tuple[str, str]]:
        """Key and prefix of each shard."""
        return zip(self.keys, self.prefixes or ("",) * len(self.keys), strict=True)


def shards_of(corpus: Corpus) -> tuple[Corpus, ...]:
    """The corpus in at most 16 parts, by the first hexadecimal digit of each row's ``content``.

    So which part an utterance is in depends on nothing but its own sound, and a row that is added
    changes one part.
    """
    digits = corpus.table["content"].str[0]
    return tuple(
        dataclasses.replace(corpus, table=corpus.table[digits == digit])
        for digit in sorted(set(digits))
    )


def utterance_inputs(shard: Corpus) -> dict[str, JSON]:
    """What a store key needs of a part: the ids and contents of its utterances, sorted."""
    rows = sorted(zip(shard.table["id"], shard.table["content"], strict=True))
    return {"utterances": [[str(name), str(content)] for name, content in rows]}


class ArrayWriter:
    """A ``.npy`` file whose first axis grows; use as a context manager.

    Args:
        path: of the new file.
        shape: of one item, ``(bins,)`` or ``(layers, width)``.
        dtype: of the file; what is appended is converted.
    """

    def __init__(self, path: Path, *, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._file: BinaryIO = path.open("wb")
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._count = self._unsynced = 0
        # The disk takes what was written while more is computed, so that nobody waits for it all
        # when the file is sealed.
        self._disk = ThreadPoolExecutor(max_workers=1)
        self._syncs: list[Future[None]] = []
        self._header()

    def append(self, items: NDArray[Any]) -> int:
        """Add ``items`` ``(n, *shape)`` and return how many the file now holds."""
        if items.shape[1:] != self._shape:
            msg = f"items of shape {items.shape[1:]} do not fit an array of {self._shape}"
            raise ValueError(msg)
        self._file.write(np.ascontiguousarray(items, dtype=self._dtype).data)
        self._count += len(items)
        self._unsynced += items.nbytes
        if self._unsynced >= _SYNCED_BYTES:
            self._file.flush()
            self._syncs.append(self._disk.submit(os.fsync, self._file.fileno()))
            self._unsynced = 0
        return self._count

    def _header(self) -> None:
        # numpy pads its header so that the first axis can grow without moving the data
        self._file.seek(0)
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._count, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._header()
        self._disk.shutdown()
        self._file.close()
        if kind is None:
            for sync in self._syncs:
                sync.result()


def write_index(folder: Path, ids: list[str], offsets: list[int]) -> None:
    """Say whose frames lie where: utterance i is ``frames[offsets[i]:offsets[i + 1]]``."""
    (folder / IDS).write_text(json.dumps(ids))
    np.save(folder / OFFSETS, np.asarray(offsets, dtype=np.int64))


def read_index(folder: Path, *, prefix: str = "") -> tuple[list[str], NDArray[np.int64]]:
    """Ids ``(n,)`` after ``prefix``, and offsets ``(n + 1,)``, as they were written."""
    ids = [prefix + name for name in json.loads((folder / IDS).read_text())]
    return ids, np.load(folder / OFFSETS, allow_pickle=False)


def open_array(path: Path) -> NDArray[Any]:
    """An array as a read-only memory map, shared by the processes of a node."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def merged(parts: Mapping[str, JSON], *others: Mapping[str, JSON]) -> dict[str, JSON]:
    """Store inputs from several places; a key that two of them give is a mistake."""
    result = dict(parts)
    for other in others:
        if shared := result.keys() & other.keys():
            msg = f"two parts of the inputs give {sorted(shared)}"
            raise ValueError(msg)
        result |= other
    return result


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one torch thread inside, so that sums do not depend on the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
