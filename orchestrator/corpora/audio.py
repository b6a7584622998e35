"""Audio files: decoding to mono, resampling, and the checks that each utterance has to pass."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from orchestrator.corpora.listing import AudioSource, Problem
from orchestrator.errors import CorpusError

SHORTEST_SECONDS: Final = 0.1
"""Shorter audio holds no syllable, and less than the widest analysis window."""
SILENT_PEAK: Final = 1e-4
"""Peak around the mean below which audio counts as silent: three steps of 16 bits, -80 dBFS."""

_UNKNOWN_SIZE: Final = 0xFFFFFFFF


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
        file = Path(path)
        if not file.is_file():
            raise AudioError(f"{path} does not exist", kind="missing")
        try:
            size = file.stat().st_size
            if size == 0:
                raise AudioError(f"{path} is empty (0 bytes)", kind="zero-length")
            _refuse_cut_wav(file, size=size)
            with soundfile.SoundFile(path) as opened:
                promised, rate = opened.frames, opened.samplerate
                samples = opened.read(dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            if isinstance(error, AudioError):
                raise
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            raise AudioError(
                f"{path} is no readable audio ({reason})", kind="unreadable"
            ) from error
        if len(samples) < promised:
            raise AudioError(
                f"{path} is cut short: {len(samples)} of {promised} samples can be read",
                kind="cut short",
            )
        if samples.shape[1] == 1:
            return np.ascontiguousarray(samples[:, 0]), rate
        return samples.mean(axis=1, dtype=np.float32), rate


def _refuse_cut_wav(file: Path, *, size: int) -> None:
    """Raise if a RIFF file's data chunk is cut off, which libsndfile would not mention."""
    with file.open("rb") as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        position = 12
        while len(chunk := stream.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                present = size - position - 8
                # Writers to a pipe cannot know the length and leave this mark.
                if length != _UNKNOWN_SIZE and present < length:
                    raise AudioError(
                        f"{file} is cut short: its header promises {length} bytes of audio, "
                        f"{present} are there",
                        kind="cut short",
                    )
                return
            # Chunks are padded to even lengths.
            position += 8 + length + length % 2
            stream.seek(position)


def resample(audio: NDArray[np.float32], *, rate: int, to: int) -> NDArray[np.float32]:
    """Audio ``(samples,)`` at ``rate`` Hz as ``(samples * to / rate,)`` at ``to`` Hz.

    Windowed-sinc interpolation by ``torchaudio.functional.resample`` with its defaults.
    """
    if rate == to:
        return audio
    # Imported here: most corpora need no resampling, and the import takes seconds.
    import torch
    import torchaudio.functional

    changed = torchaudio.functional.resample(torch.from_numpy(audio), rate, to)
    result: NDArray[np.float32] = changed.numpy()
    return result


@dataclass(frozen=True)
class Heard:
    """What listening to one utterance tells.

    Attributes:
        duration: seconds.
        content: 32 hex digits over samples and rate, so the same sound has the same content
            whatever its file is called.
    """

    duration: float
    content: str


def examine(path: str, *, source: AudioSource) -> Heard | Problem:
    """Decode one utterance and check it: readable, whole, long enough, finite, not silent."""
    try:
        audio, rate = source.read(path)
    except AudioError as error:
        return Problem(kind=error.kind, text=str(error))
    seconds = len(audio) / rate
    if len(audio) == 0:
        return Problem(kind="zero-length", text=f"{path} holds no samples (zero-length audio)")
    if seconds < SHORTEST_SECONDS:
        return Problem(
            kind="too short",
            text=f"{path} lasts {seconds:.3f} s, less than {SHORTEST_SECONDS} s",
        )
    if not np.isfinite(audio).all():
        return Problem(kind="not finite", text=f"{path} holds samples that are not finite numbers")
    if float(np.abs(audio - audio.mean()).max()) < SILENT_PEAK:
        return Problem(kind="silent", text=f"{path} is silent for all of its {seconds:.2f} s")
    digest = hashlib.sha256(f"{rate}:".encode())
    digest.update(audio.astype("<f4", copy=False).tobytes())
    return Heard(duration=seconds, content=digest.hexdigest()[:32])


def examine_all(paths: Sequence[str], *, source: AudioSource) -> list[Heard | Problem]:
    """``examine`` every path, in order; decoding and hashing run in threads."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda path: examine(path, source=source), paths))
