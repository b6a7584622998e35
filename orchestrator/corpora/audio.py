"""Audio files: decoding to mono, resampling, and the checks that each utterance has to pass."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from orchestrator.corpora.listing import AudioSource, Problem
from orchestrator.corpora.wav import Layout, as_fractions, is_riff, layout_of, plain_numbers
from orchestrator.errors import CorpusError

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST_SECONDS: Final = 0.1
"""Shorter audio holds no syllable, and less than the widest analysis window."""
SILENT_PEAK: Final = 1e-4
"""Peak around the mean below which audio counts as silent: three steps of 16 bits, -80 dBFS."""
CLIPPED_LEVEL: Final = 0.99
"""Samples at least this loud, of a full scale of 1, may be cut off by the recording's range."""
CLIPPED_RUN: Final = 3
"""Fewer samples in a row at that level are a loud peak: files are often scaled to just reach it."""
CLIPPED_SHARE: Final = 1e-3
"""Clipped: such runs hold this share of the samples. EmoDB, scaled to full range, has 0.00005 in
its worst file."""
OFFSET_LEVEL: Final = 5e-3
"""A mean of at least this, of a full scale of 1, may be a DC offset: 164 steps of 16 bits."""
OFFSET_SHARE: Final = 0.1
"""DC offset: the mean is also this share of the root mean square, so it is not the speech's own
imbalance, which stays below 0.05 in EmoDB."""

CHECKS_VERSION: Final = 3
"""Raised whenever ``examine`` may find something else in the same file; see ``heard``."""

_SUMMED: Final = 1 << 15
_READ_WHOLE: Final = 1 << 26
_HEADER: Final = 1 << 16
# Files that a thread examines at a time: handing over single files costs more than the shortest.
_BLOCK: Final = 16


Samples = NDArray[Any]
"""16-bit numbers (int16), or fractions of full scale (float32)."""


class AudioError(CorpusError):
    """An audio file cannot be used; ``kind`` says in a few words why."""

    def __init__(self, text: str, *, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class FileSource:
    """Audio files that libsndfile reads: WAV, FLAC, Ogg, MP3 and others."""

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        """Mono audio ``(samples,)`` of a file, and its rate in Hz; channels are averaged.

        Raises:
            AudioError: the file is missing, empty, cut short, or no audio.
        """
        samples, rate = self.samples(path)
        return fractions(samples), rate

    def rate(self, path: str) -> int:
        """The rate of a file in Hz, from its header alone where that can be read.

        Raises:
            AudioError: as :meth:`read`.
        """
        try:
            return int(soundfile.info(path).samplerate)
        except (soundfile.LibsndfileError, OSError, RuntimeError):
            # Listening to it tells what is wrong, in our words.
            return self.read(path)[1]

    def samples(self, path: str) -> tuple[Samples, int]:
        """Mono audio as the file holds it, where that is 16-bit numbers; else as :meth:`read`.

        Raises:
            AudioError: as :meth:`read`.
        """
        try:
            with open(path, "rb", buffering=0) as stream:
                size = os.fstat(stream.fileno()).st_size
                if size == 0:
                    raise AudioError(f"{path} is empty (0 bytes)", kind="zero-length")
                # Longer files (an hour of speech) are left to the decoder, which reads in blocks.
                head = stream.read(size if size <= _READ_WHOLE else _HEADER)
                layout = layout_of(head) if is_riff(head) else None
                if layout is None and is_riff(head) and size > len(head):
                    # Pictures and the like may stand before the samples.
                    layout = layout_of(head + stream.read(_READ_WHOLE))
            if layout is not None:
                if size > _READ_WHOLE:
                    layout = replace(layout, present=size - layout.start)
                _refuse_cut(layout, path=path)
                if size <= _READ_WHOLE and (found := plain_numbers(head, layout)) is not None:
                    return _mono(found[0]), found[1]
            with soundfile.SoundFile(path) as opened:
                promised, rate = opened.frames, opened.samplerate
                kind = "int16" if opened.subtype == "PCM_16" else "float32"
                samples = opened.read(dtype=kind, always_2d=True)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise AudioError(f"{path} does not exist", kind="missing") from error
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            raise AudioError(
                f"{path} is no readable audio ({reason})", kind="unreadable"
            ) from error
        if len(samples) < promised:
            raise AudioError(
                f"{path} is cut short: {len(samples)} of {promised} samples can be read",
                kind="truncated",
            )
        return _mono(samples), rate


def rate_of(source: AudioSource, path: str) -> int:
    """The rate in Hz of the audio of a path; it is decoded only if the source cannot tell else.

    Raises:
        CorpusError: the source cannot read it.
    """
    tell: Callable[[str], int] | None = getattr(source, "rate", None)
    return source.read(path)[1] if tell is None else tell(path)


def _mono(samples: Samples) -> Samples:
    """One channel ``(samples,)`` as it is, or the mean of several ``(samples, channels)``."""
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    mean: NDArray[np.float32] = fractions(samples).mean(axis=1, dtype=np.float32)
    return mean


def fractions(samples: Samples) -> NDArray[np.float32]:
    """Samples as fractions of full scale, whichever way they are held."""
    return as_fractions(samples) if samples.dtype == np.int16 else samples.astype("f4", copy=False)


def _refuse_cut(layout: Layout, *, path: str) -> None:
    """Raise if a WAV file's samples are cut off, which libsndfile would not mention."""
    if layout.cut:
        raise AudioError(
            f"{path} is cut short: its header promises {layout.promised} bytes of audio, "
            f"{layout.present} are there",
            kind="truncated",
        )


def resample(audio: NDArray[np.float32], *, rate: int, to: int) -> NDArray[np.float32]:
    """Audio ``(samples,)`` at ``rate`` Hz as ``(samples * to / rate,)`` at ``to`` Hz.

    Windowed-sinc interpolation by ``torchaudio.functional.resample`` with its defaults.
    """
    if rate == to:
        return audio
    import torch

    changed = _resampler(rate, to)(torch.from_numpy(audio))
    result: NDArray[np.float32] = changed.numpy()
    return result


@lru_cache(maxsize=8)
def _resampler(rate: int, to: int) -> Callable[[Tensor], Tensor]:
    """Keeps its filter, which takes longer to make than an utterance to resample."""
    # Imported here: most corpora need no resampling, and the import takes seconds.
    import torch
    import torchaudio.transforms

    # The precision in which functional.resample computes the filter for such audio.
    made: Callable[[Tensor], Tensor] = torchaudio.transforms.Resample(rate, to, dtype=torch.float32)
    return made


@dataclass(frozen=True)
class Heard:
    """What listening to one utterance tells.

    Attributes:
        duration: seconds.
        content: 32 hex digits over samples and rate, so the same sound has the same content
            whatever its file is called or coded in: audio that 16-bit numbers hold exactly is
            hashed as these, all else as fractions of full scale.
        problems: what is wrong with audio that can be decoded: ``silent``, ``clipped``,
            ``dc-offset``.
    """

    duration: float
    content: str
    problems: tuple[Problem, ...] = ()


Progress = Callable[[int, int], None]
"""Told how many of how many utterances have been examined."""


def examine(path: str, *, source: AudioSource) -> Heard | Problem:
    """Decode one utterance and check it: readable, whole, long enough, finite; then how it sounds.

    Returns:
        What was heard; or the problem that leaves nothing to use: ``missing``, ``zero-length``,
        ``unreadable``, ``truncated``, ``too-short``, ``not-finite``, or a kind of the source's own.
    """
    # Files of 16-bit numbers are judged and hashed as such, in half the time.
    listen: Callable[[str], tuple[Samples, int]] = getattr(source, "samples", source.read)
    try:
        audio, rate = listen(path)
    except AudioError as error:
        return Problem(kind=error.kind, text=str(error))
    seconds = len(audio) / rate
    if len(audio) == 0:
        return Problem(kind="zero-length", text=f"{path} holds no samples (zero-length audio)")
    if seconds < SHORTEST_SECONDS:
        return Problem(
            kind="too-short",
            text=f"{path} lasts {seconds:.3f} s, less than {SHORTEST_SECONDS} s",
        )
    full = 32768 if audio.dtype == np.int16 else 1
    lowest, highest = float(audio.min()) / full, float(audio.max()) / full
    if not np.isfinite([lowest, highest]).all():
        return Problem(kind="not-finite", text=f"{path} holds samples that are not finite numbers")
    found = _sound(audio, lowest=lowest, highest=highest)
    audio = _exact(audio)
    digest = hashlib.sha256(f"{rate}:".encode())
    digest.update(np.ascontiguousarray(audio, dtype=audio.dtype.newbyteorder("<")).data)
    return Heard(
        duration=seconds,
        content=digest.hexdigest()[:32],
        problems=tuple(Problem(kind=kind, text=f"{path} {text}") for kind, text in found),
    )


def _sound(audio: Samples, *, lowest: float, highest: float) -> Iterator[tuple[str, str]]:
    """Kind and sentence of each problem of how finite audio sounds.

    Args:
        audio: ``(samples,)``.
        lowest, highest: of them, as fractions of full scale.
    """
    mean = _mean(audio)
    if max(highest - mean, mean - lowest) < SILENT_PEAK:
        yield "silent", "is silent from beginning to end"
        return
    if max(highest, -lowest) >= CLIPPED_LEVEL:
        share = _clipped_share(fractions(audio))
        if share >= CLIPPED_SHARE:
            yield "clipped", f"is clipped: {share:.2%} of its samples are cut off at full scale"
    if abs(mean) >= OFFSET_LEVEL:
        # A view of the samples in double precision would cost twice the memory of a long file.
        heard = fractions(audio)
        power = float(np.dot(heard, heard)) / len(heard)
        if abs(mean) >= OFFSET_SHARE * power**0.5:
            yield (
                "dc-offset",
                f"has a DC offset: its mean is {mean:.4f} of full scale, "
                f"{abs(mean) / power**0.5:.0%} of its root mean square",
            )


def _mean(audio: Samples) -> float:
    """Mean as a fraction of full scale, exact for 16-bit numbers."""
    if audio.dtype != np.int16:
        return float(audio.mean(dtype=np.float64))
    # Sums of so many fit 32 bits, in which they take half the time of 64.
    whole = len(audio) // _SUMMED * _SUMMED
    sums = audio[:whole].reshape(-1, _SUMMED).sum(axis=1, dtype=np.int32)
    total = int(sums.sum(dtype=np.int64)) + int(audio[whole:].sum(dtype=np.int64))
    return total / len(audio) / 32768


def _exact(audio: Samples) -> Samples:
    """Fractions as 16-bit numbers, where these hold them exactly."""
    if audio.dtype == np.int16:
        return audio
    scaled = audio * np.float32(32768)
    if scaled.min() < -32768 or scaled.max() > 32767 or not np.array_equal(scaled, np.rint(scaled)):
        return audio
    return scaled.astype(np.int16)


def _clipped_share(audio: NDArray[np.float32]) -> float:
    """Share of samples in runs of ``CLIPPED_RUN`` or more at ``CLIPPED_LEVEL`` or beyond."""
    places = np.flatnonzero(np.abs(audio) >= CLIPPED_LEVEL)
    runs = np.diff(np.flatnonzero(np.diff(places, prepend=-2, append=len(audio) + 1) > 1))
    return float(runs[runs >= CLIPPED_RUN].sum()) / len(audio)


def examine_in_order(
    paths: Sequence[str], *, source: AudioSource
) -> Generator[Heard | Problem, None, None]:
    """``examine`` every path, in order; decoding and hashing run in threads.

    Each thread holds the audio of one utterance and lets go of it before the next. Close the
    iterator to end early: utterances that no thread has begun are then left alone.
    """
    workers = min(8, usable_cores())
    if workers == 1:
        yield from (examine(path, source=source) for path in paths)
        return
    blocks = [paths[place : place + _BLOCK] for place in range(0, len(paths), _BLOCK)]

    def examine_block(some: Sequence[str]) -> list[Heard | Problem]:
        return [examine(path, source=source) for path in some]

    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        for found in pool.map(examine_block, blocks):
            yield from found
    finally:
        pool.shutdown(cancel_futures=True)


def usable_cores() -> int:
    """Cores that this process may use, which containers and schedulers limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def examine_all(
    paths: Sequence[str], *, source: AudioSource, progress: Progress | None = None
) -> list[Heard | Problem]:
    """``examine`` every path, in order, telling ``progress`` after each."""
    found: list[Heard | Problem] = []
    with closing(examine_in_order(paths, source=source)) as each:
        for one in each:
            found.append(one)
            if progress is not None:
                progress(len(found), len(paths))
    return found
