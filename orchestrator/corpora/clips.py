"""Video clips as a source of audio: what MELD is distributed as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.corpora.audio import AudioError, FileSource
from orchestrator.errors import CorpusError

CONTAINERS: Final = {
    ".avi": "avi",
    ".flv": "flv",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".webm": "matroska",
}
"""From a suffix to the one container that such a file may be.

FFmpeg left to guess would also take a text file for a playlist and open what it names.
"""

_BOXED: Final = ("mov", "mp4")
_FIRST_BOXES: Final = (b"ftyp", b"free", b"mdat", b"moov", b"skip", b"wide")


@dataclass(frozen=True)
class ClipSource:
    """The sound of video clips (read by PyAV), and every other audio file as ``FileSource``."""

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        """Mono audio ``(samples,)`` of a clip, and its own rate in Hz; channels are averaged.

        Of several audio streams the first counts. An encoder's padding at the end (up to 1024
        samples of AAC) stays.

        Raises:
            AudioError: the file is missing, empty, cut short, no clip, or a clip without sound.
            CorpusError: it is a clip and PyAV is not installed.
        """
        file = Path(path)
        container = CONTAINERS.get(file.suffix.lower())
        if container is None:
            return FileSource().read(path)
        if not file.is_file():
            raise AudioError(f"{path} does not exist", kind="missing")
        try:
            if file.stat().st_size == 0:
                raise AudioError(f"{path} is empty (0 bytes)", kind="zero-length")
            if container in _BOXED:
                _refuse_cut_boxes(file)
        except OSError as error:
            raise AudioError(
                f"{path} cannot be read ({error.strerror})", kind="unreadable"
            ) from error
        return _decode(file, container=container)


def _decode(file: Path, *, container: str) -> tuple[NDArray[np.float32], int]:
    try:
        import av
    except ImportError as error:
        raise CorpusError(
            f"{file} is a video clip, and PyAV, which reads those, is not installed; "
            "pip install 'understudy[video]', or extract every clip beside itself first: "
            "ffmpeg -i dia0_utt0.mp4 dia0_utt0.wav"
        ) from error
    pieces: list[NDArray[np.float32]] = []
    # An absolute path: FFmpeg would take what stands before a colon for a protocol.
    try:
        with av.open(str(file.absolute()), format=container) as opened:
            if not opened.streams.audio:
                raise AudioError(f"{file} is a clip without sound", kind="unreadable")
            stream = opened.streams.audio[0]
            if stream.codec_context is None:
                raise AudioError(f"{file} has sound in an unknown coding", kind="unreadable")
            rate = int(stream.rate or 0)
            if rate <= 0:
                raise AudioError(f"{file} does not tell its sample rate", kind="unreadable")
            to_float = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in opened.decode(stream):
                pieces += [_averaged(piece.to_ndarray()) for piece in to_float.resample(frame)]
            if pieces:
                pieces += [_averaged(piece.to_ndarray()) for piece in to_float.resample(None)]
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        if pieces:
            seconds = sum(map(len, pieces)) / rate
            raise AudioError(
                f"{file} is cut short or damaged: its sound can be read for {seconds:.2f} s, "
                f"then no more ({reason})",
                kind="truncated",
            ) from error
        raise AudioError(f"{file} is no readable clip ({reason})", kind="unreadable") from error
    audio = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)
    return audio, rate


def _averaged(channels: NDArray[Any]) -> NDArray[np.float32]:
    """One channel ``(samples,)`` of several ``(channels, samples)``."""
    mono: NDArray[np.float32] = channels.mean(axis=0, dtype=np.float32)
    return mono


def _refuse_cut_boxes(file: Path) -> None:
    """Raise if the last box of an MP4 ends behind the file: some decoders would not mention it."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        position = 0
        while len(head := stream.read(16)) >= 8:
            length, name = int.from_bytes(head[:4], "big"), head[4:8]
            if position == 0 and name not in _FIRST_BOXES:
                return
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                # 0 means "to the end of the file"; less than a head is nonsense for the decoder.
                return
            position += length
            if position > size:
                raise AudioError(
                    f"{file} is cut short: its boxes promise {position} bytes, {size} are there",
                    kind="truncated",
                )
            stream.seek(position)
