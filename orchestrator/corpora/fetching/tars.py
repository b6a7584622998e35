"""Reading a tar to its very end, where damage shows that Python's own reader passes over."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from typing import IO, Final, cast

_CHUNK: Final = 1 << 20
_EMPTY: Final = bytes(tarfile.BLOCKSIZE)


@contextlib.contextmanager
def whole_tar(file: IO[bytes], *, name: str) -> Iterator[tarfile.TarFile]:
    """A tar, plain or packed with gzip, bzip2 or xz, whose end is checked once it was read.

    ``tarfile`` takes a cut between two members, or a header that makes no sense, for the end of the
    archive, and does not read on to the checksum of what is packed. Here the two empty blocks that
    end a tar must be there, and everything behind them is read.

    Args:
        file: the archive, at its beginning; it can seek back there.
        name: what errors call it.

    Yields:
        The archive, to be gone through member by member, to its last one and never backwards.

    Raises:
        tarfile.TarError: it is no tar, or is damaged.
        EOFError, OSError, lzma.LZMAError, zlib.error: what packs it is damaged.
    """
    begins = file.read(24)
    file.seek(0)
    with _unpacked(file, begins) as source:
        stream = _Forward(source)
        try:
            tar = tarfile.TarFile(fileobj=cast(IO[bytes], stream), mode="r")
        except tarfile.TarError as error:
            raise tarfile.ReadError(
                f"{name} is neither zip nor tar: it begins with {begins!r}"
            ) from error
        with tar:
            yield tar
        # The first of the two is what made the reader stop.
        if stream.last != _EMPTY or stream.read(len(_EMPTY)) != _EMPTY:
            raise tarfile.ReadError(
                f"{name} lacks the empty blocks that end a tar: it was cut, or a header changed"
            )
        while stream.read(_CHUNK):
            pass


def _unpacked(file: IO[bytes], begins: bytes) -> contextlib.AbstractContextManager[IO[bytes]]:
    """The stream within a packed one, or the plain stream itself."""
    if begins.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb"))
    if begins.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(file))
    if begins.startswith(b"\xfd7zXZ\0"):
        return cast(IO[bytes], lzma.LZMAFile(file))
    return contextlib.nullcontext(file)


class _Forward:
    """What ``tarfile`` reads: it never goes back, and ``last`` is what it gave last."""

    def __init__(self, source: IO[bytes]) -> None:
        self.last = b""
        self._source = source
        self._at = 0

    def read(self, size: int) -> bytes:
        self.last = self._source.read(size)
        self._at += len(self.last)
        return self.last

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        if position < self._at:
            raise tarfile.StreamError("its members do not follow one another")
        # Short of the position at the end of the source, where the next read gives nothing.
        while self._at < position and self.read(min(position - self._at, _CHUNK)):
            pass
        return self._at
