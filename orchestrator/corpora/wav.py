"""WAV files of plain 16-bit samples, read from their bytes.

Nearly all speech corpora are such files, and taking the samples from the bytes costs a third of
what a general decoder does; every other file is the general decoder's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PCM: Final = 1
# What writers to a pipe, which cannot know the length, leave in its place: all bits set, the
# largest signed number, or (SoX) that rounded down to whole blocks.
_UNKNOWN_SIZES: Final = (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000)
# What full scale is divided by to reach 1; a power of two, so that nothing is rounded.
_SCALE: Final = np.float32(1 / 32768)


@dataclass(frozen=True)
class Layout:
    """Where the samples of a RIFF file lie.

    Attributes:
        start: first byte of the samples.
        promised: bytes of audio that the header promises, or None where it cannot know.
        present: bytes that are there.
        plain: channels and rate in Hz of 16-bit linear samples; None for any other coding.
    """

    start: int
    promised: int | None
    present: int
    plain: tuple[int, int] | None

    @property
    def cut(self) -> bool:
        """Whether audio is missing at the end."""
        return self.promised is not None and self.present < self.promised


def is_riff(head: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of a WAV file."""
    return head[:4] == b"RIFF" and head[8:12] == b"WAVE"


def layout_of(data: bytes | memoryview) -> Layout | None:
    """Where the samples lie in the bytes of a RIFF file; None if it has no data chunk."""
    position, plain = 12, None
    while position + 8 <= len(data):
        name = bytes(data[position : position + 4])
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        body = position + 8
        if name == b"fmt " and length >= 16 and body + 16 <= len(data):
            coding, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", data, body)
            if (coding, bits, block) == (_PCM, 16, 2 * channels) and channels and rate:
                plain = (channels, rate)
        elif name == b"data":
            promised = None if length in _UNKNOWN_SIZES else length
            return Layout(body, promised, len(data) - body, plain)
        # Chunks are padded to even lengths.
        position = body + length + length % 2
    return None


def plain_numbers(data: bytes, layout: Layout) -> tuple[NDArray[np.int16], int] | None:
    """Samples ``(samples, channels)`` and rate in Hz of 16-bit audio; None for any other coding."""
    if layout.plain is None:
        return None
    channels, rate = layout.plain
    there = layout.present if layout.promised is None else min(layout.promised, layout.present)
    count = there // (2 * channels) * channels
    numbers = np.frombuffer(data, "<i2", count=count, offset=layout.start)
    return numbers.reshape(-1, channels), rate


def as_fractions(numbers: NDArray[np.int16]) -> NDArray[np.float32]:
    """16-bit numbers as fractions of full scale, as libsndfile gives them, bit for bit."""
    return np.multiply(numbers, _SCALE, dtype=np.float32)
