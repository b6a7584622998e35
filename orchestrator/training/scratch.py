"""What grows with a corpus and is computed beside a fit: on disk rather than in memory."""

from __future__ import annotations

import tempfile
import warnings
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.errors import TrainingError


class Scratch:
    """Float32 arrays of utterances, put by in any order and had back in the utterances' own.

    They lie in a file without a name in the folder for temporary files (``TMPDIR``), which goes
    when nobody reads it any longer, however the process ends.
    """

    def __init__(self) -> None:
        self._file = _new_file()
        self._spans: dict[int, tuple[int, int]] = {}
        self._count = 0
        self._shape: tuple[int, ...] = ()

    def put(self, row: int, array: Tensor) -> None:
        """Put by the ``(items, *shape)`` of utterance ``row``, all of one shape."""
        values = np.ascontiguousarray(array.detach().float().cpu().numpy())
        _write(self._file, values)
        self._shape = values.shape[1:]
        self._spans[row] = (self._count, self._count + len(values))
        self._count += len(values)

    def in_order(self) -> tuple[NDArray[np.float32], list[int]]:
        """All items ``(total, *shape)``, mapped, those of row 0 first; and how many each has."""
        spans = [self._spans[row] for row in range(len(self._spans))]
        lengths = [end - begin for begin, end in spans]
        found = self._mapped(self._file)
        if spans != sorted(spans):
            ordered = _new_file()
            for begin, end in spans:
                _write(ordered, found[begin:end])
            found = self._mapped(ordered)
        return found, lengths

    def _mapped(self, file: IO[bytes]) -> NDArray[np.float32]:
        if not self._count:
            return np.zeros((0, *self._shape), dtype=np.float32)
        try:
            file.flush()
        except OSError as error:
            raise _no_room(error) from error
        shape = (self._count, *self._shape)
        # the map keeps the file that has no name
        return np.asarray(np.memmap(file, dtype=np.float32, mode="r", shape=shape))


def mapped_tensor(array: NDArray[np.float32]) -> Tensor:
    """A tensor over a read-only map. Nobody may write to it: that ends the process."""
    with warnings.catch_warnings():
        # that it must not be written to is said here
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _new_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(buffering=1 << 20)
    except OSError as error:
        raise _no_room(error) from error


def _write(file: IO[bytes], values: NDArray[np.float32]) -> None:
    try:
        # by writing, not through the map, so that a full disk is an error and not a signal
        file.write(values.data)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> TrainingError:
    return TrainingError(
        f"what the teacher says cannot be put by in {tempfile.gettempdir()}: {error.strerror}; "
        "make room there, or let TMPDIR name another folder"
    )
