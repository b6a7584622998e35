"""Folders laid out as MELD is distributed, for tests."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

FILES = {
    "train": "train_sent_emo.csv",
    "validation": "dev_sent_emo.csv",
    "test": "test_sent_emo.csv",
}
CLIPS = {
    "train": "train_splits",
    "validation": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
HEADER = (
    "Sr No.",
    "Utterance",
    "Speaker",
    "Emotion",
    "Sentiment",
    "Dialogue_ID",
    "Utterance_ID",
    "Season",
    "Episode",
    "StartTime",
    "EndTime",
)
EMOTIONS = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
COUNTS = {
    "train": (4710, 1743, 1205, 1109, 683, 271, 268),
    "validation": (470, 163, 150, 153, 111, 22, 40),
    "test": (1256, 402, 281, 345, 208, 68, 50),
}
"""Documented rows of each split, in the order of ``EMOTIONS``."""
SENTIMENTS = dict(
    zip(
        EMOTIONS,
        ("neutral", "positive", "negative", "negative", "negative", "negative", "negative"),
        strict=True,
    )
)
SPEAKERS = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross", "Mrs. Green")


@dataclass(frozen=True)
class Row:
    """A row of one of the CSV files."""

    dialogue: int
    utterance: int
    words: str = "Hey."
    speaker: str = "Phoebe"
    emotion: str = "neutral"
    start: str = "00:16:16,059"
    end: str = "00:16:17,309"

    @property
    def stem(self) -> str:
        return f"dia{self.dialogue}_utt{self.utterance}"

    def cells(self, number: int) -> list[str]:
        sentiment = SENTIMENTS.get(self.emotion, "neutral")
        place = [str(self.dialogue), str(self.utterance), "8", "21"]
        told = [self.words, self.speaker, self.emotion, sentiment]
        return [str(number), *told, *place, self.start, self.end]


def write_rows(
    folder: Path, split: str, rows: Iterable[Row], *, encoding: str = "utf-8", end: str = "\r\n"
) -> Path:
    """Write the CSV of a split (our word for it) in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILES[split]
    with file.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream, lineterminator=end)
        writer.writerow(HEADER)
        writer.writerows(row.cells(number) for number, row in enumerate(rows, start=1))
    return file


def write_noise(path: Path, *, seed: int, seconds: float = 0.15, rate: int = 16000) -> Path:
    """A WAV of noise that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0.0, 0.1, round(seconds * rate)).clip(-0.9, 0.9)
    soundfile.write(path, noise, rate, subtype="PCM_16")
    return path


def write_clip(
    path: Path,
    *,
    hz: tuple[float, ...] = (440.0,),
    seconds: float = 0.5,
    rate: int = 44100,
    picture: bool = True,
    sound: bool = True,
    options: Mapping[str, str] | None = None,
) -> Path:
    """An MP4 with AAC audio, a tone (or 0 for none) for each channel, and a small picture."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4", options=dict(options or {})) as container:
        # Both streams before the first packet: the header is written with it.
        video = container.add_stream("mpeg4", rate=25) if picture else None
        audio = container.add_stream("aac", rate=rate) if sound else None
        if audio is not None:
            audio.layout = {1: "mono", 2: "stereo"}[len(hz)]
        if video is not None:
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
            for number in range(round(seconds * 25)):
                pixels = np.full((32, 32, 3), 5 * number % 256, dtype=np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(video.encode(None))
        if audio is not None:
            time = np.arange(round(seconds * rate)) / rate
            waves = np.array([0.5 * np.sin(2 * np.pi * one * time) for one in hz], dtype="float32")
            for start in range(0, waves.shape[1], 1024):
                piece = np.ascontiguousarray(waves[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=audio.layout.name)
                frame.sample_rate, frame.pts = rate, start
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def full_meld(root: Path, *, audio: bool = False) -> Path:
    """All 13708 rows with the documented emotions of each split, dialogues of ten utterances.

    Args:
        audio: also write a WAV of 0.15 s of noise for each, unlike every other.
    """
    seed = 0
    for split, counts in COUNTS.items():
        emotions = [
            emotion for emotion, count in zip(EMOTIONS, counts, strict=True) for _ in range(count)
        ]
        rows = [
            Row(
                dialogue=number // 10,
                utterance=number % 10,
                words=f"Line {number} of {split}, as it is.",
                speaker=SPEAKERS[number % len(SPEAKERS)],
                emotion=emotion,
                end="00:16:16,209",
            )
            for number, emotion in enumerate(emotions)
        ]
        write_rows(root, split, rows)
        for row in rows if audio else ():
            seed += 1
            write_noise(root / CLIPS[split] / f"{row.stem}.wav", seed=seed)
    return root


def small_meld(root: Path, *, seconds: float = 0.3) -> Path:
    """Three splits without faults: two dialogues of two utterances each, as WAV, four speakers.

    Args:
        seconds: of every clip, as the CSV files say too.
    """
    end = f"00:16:{16.059 + seconds:06.3f}".replace(".", ",")
    told = (("Chandler", "joy"), ("Monica", "anger"), ("Ross", "neutral"), ("Mike", "sadness"))
    seed = 0
    for split in FILES:
        rows = [
            Row(place // 2, place % 2, f"{split} words {place}", speaker, emotion, end=end)
            for place, (speaker, emotion) in enumerate(told)
        ]
        write_rows(root, split, rows)
        for row in rows:
            seed += 1
            write_noise(root / CLIPS[split] / f"{row.stem}.wav", seed=seed, seconds=seconds)
    return root


def faulty_meld(root: Path, *, seconds: float = 0.3) -> Path:
    """``small_meld`` with the faults that real copies have.

    In train, CSV in cp1252: row 4 names a clip that is not there (dia1_utt1). In validation: row 5
    is row 1's utterance again, row 6 has an emotion that MELD does not know (dia5_utt0), and the
    sound of row 2 (dia0_utt1) is text. In test: two clips no row names.
    """
    small_meld(root, seconds=seconds)
    for split, encoding in (("train", "cp1252"), ("validation", "utf-8")):
        file = root / FILES[split]
        text = file.read_text(encoding="utf-8").replace("words 0", "words, you’re told")
        file.write_bytes(_quoted(text, f"{split} words, you’re told").encode(encoding))
    (root / CLIPS["train"] / "dia1_utt1.wav").unlink()
    (root / CLIPS["validation"] / "dia0_utt1.wav").write_text("no sound\n" * 20)
    with (root / FILES["validation"]).open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\r\n")
        writer.writerow(Row(0, 0, "again").cells(5))
        writer.writerow(Row(5, 0, emotion="bored").cells(6))
    for number in (0, 1):
        name = f"final_videos_testdia{number}_utt0.mp4"
        (root / CLIPS["test"] / name).write_bytes(b"a leftover")
    return root


def _quoted(text: str, cell: str) -> str:
    return text.replace(cell, f'"{cell}"')
