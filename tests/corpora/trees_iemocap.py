"""Folders laid out as IEMOCAP is distributed, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

BY_SESSION = {
    "neu": (384, 362, 320, 258, 384),
    "ang": (229, 137, 240, 327, 170),
    "sad": (194, 197, 305, 143, 245),
    "hap": (135, 117, 135, 65, 143),
    "exc": (143, 210, 151, 238, 299),
    # Of the others only totals are documented: 1849, 40, 107, 2, 3 and 2507.
    "fru": (400, 350, 380, 419, 300),
    "fea": (10, 10, 10, 10, 0),
    "sur": (27, 20, 20, 20, 20),
    "dis": (1, 0, 0, 0, 1),
    "oth": (0, 1, 1, 1, 0),
    "xxx": (500, 500, 500, 500, 507),
}
"""Turns of each code in sessions 1 to 5, 10039 in all."""

CATEGORIES = {
    "neu": "Neutral state",
    "ang": "Anger",
    "sad": "Sadness",
    "hap": "Happiness",
    "exc": "Excited",
    "fru": "Frustration",
    "fea": "Fear",
    "sur": "Surprise",
    "dis": "Disgust",
    "oth": "Other",
}


@dataclass(frozen=True)
class Turn:
    """One turn: its talker and number, its code, and what was said of it.

    ``votes`` holds what stands between ``C-E2:`` and the comment, by evaluator; without, three
    evaluators chose the code.
    """

    name: str
    code: str = "neu"
    words: str = "Excuse me."
    votes: Mapping[str, str] = field(default_factory=dict)
    ratings: tuple[float, float, float] = (2.5, 2.5, 2.5)
    start: float = 6.0
    seconds: float = 0.15

    def lines(self) -> list[str]:
        ratings = ", ".join(f"{value:.4f}" for value in self.ratings)
        end = self.start + self.seconds
        return [
            f"[{self.start:.4f} - {end:.4f}]\t{self.name}\t{self.code}\t[{ratings}]",
            *(f"C-{who}:\t{chosen}\t()" for who, chosen in self._votes().items()),
            "C-F1:\tAnger; Disgust;\t(the actor; herself)",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "A-F1:\tval 3; act 2; dom  1;\t()",
            "",
        ]

    def _votes(self) -> Mapping[str, str]:
        if self.votes:
            return self.votes
        if self.code == "xxx":
            return {"E2": "Anger;", "E3": "Sadness;", "E4": "Neutral state;"}
        return dict.fromkeys(("E2", "E3", "E4"), f"{CATEGORIES[self.code]};")


def write_dialogue(
    root: Path,
    dialogue: str,
    turns: Sequence[Turn],
    *,
    audio: bool = False,
    transcript: bool = True,
    end: str = "\n",
    seed: int = 0,
) -> Path:
    """Write a dialogue; the name of its evaluation file is returned.

    Args:
        audio: also write a WAV of noise for each turn, as long as the turn; ``seed`` is of the
            first one, and the next has the next.
    """
    session = root / f"Session{dialogue[4]}"
    file = session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for turn in turns:
        lines += turn.lines()
    file.write_bytes((end.join(lines) + end).encode())
    if transcript:
        write_transcript(session / "dialog" / "transcriptions" / f"{dialogue}.txt", turns, end=end)
    for number, turn in enumerate(turns if audio else ()):
        wav = session / "sentences" / "wav" / dialogue / f"{turn.name}.wav"
        write_noise(wav, seed=seed + number, seconds=turn.seconds)
    return file


def write_transcript(file: Path, turns: Iterable[Turn], *, end: str = "\n") -> None:
    """Write a transcript, with a line of the kind that names no turn."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{turn.name} [{turn.start:08.4f}-{turn.start + turn.seconds:08.4f}]: {turn.words}"
        for turn in turns
    ]
    file.write_bytes(end.join([*lines, "M: What's that?", ""]).encode())


def write_noise(path: Path, *, seed: int, seconds: float = 0.15, rate: int = 16000) -> Path:
    """A WAV of noise that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0.0, 0.1, round(seconds * rate)).clip(-0.9, 0.9)
    soundfile.write(path, noise, rate, subtype="PCM_16")
    return path


def full_iemocap(root: Path, *, audio: bool = False) -> Path:
    """All 10039 turns, with the documented emotions of each session.

    Of each code and session, half the turns (rounded down) are improvised. Talkers take turns.
    Improvised words are told once; the scripts are the same in every session.

    Args:
        audio: also write a WAV of 0.15 s of noise for each, unlike every other.
    """
    seed = 0
    for place in range(5):
        improvised: list[str] = []
        scripted: list[str] = []
        for code, counts in BY_SESSION.items():
            half = counts[place] // 2
            improvised += [code] * half
            scripted += [code] * (counts[place] - half)
        for style, codes in (("impro", improvised), ("script", scripted)):
            # Strides, so that every dialogue has most emotions.
            for number in range(14):
                wearer = "FM"[number % 2]
                suffix = "" if style == "impro" else "_1"
                dialogue = f"Ses0{place + 1}{wearer}_{style}{number // 2 + 1:02d}{suffix}"
                session = f"session {place + 1}, " if style == "impro" else ""
                turns = [
                    Turn(
                        name=f"{dialogue}_{'FM'[line % 2]}{line // 2:03d}",
                        code=code,
                        words=f"Line {line} of {session}{style} {number}.",
                        start=6.0 + 2.0 * line,
                    )
                    for line, code in enumerate(codes[number::14])
                ]
                write_dialogue(root, dialogue, turns, audio=audio, seed=seed)
                seed += len(turns)
    return root


def small_iemocap(root: Path, *, sessions: int = 2, seconds: float = 0.3) -> Path:
    """A copy with audio: in each session both talkers say each of five emotions, twice.

    One dialogue is improvised, one scripted (the same words in every session): 20 turns a session.
    """
    seed = 0
    for session in range(1, sessions + 1):
        for dialogue in (f"Ses0{session}F_impro01", f"Ses0{session}M_script01_1"):
            told = f"session {session}" if "impro" in dialogue else "the script"
            turns = [
                Turn(
                    name=f"{dialogue}_{talker}{number:03d}",
                    code=code,
                    words=f"I am {talker}, this is {code} in {told}.",
                    seconds=seconds,
                    start=6.0 + number,
                )
                for number, code in enumerate(("neu", "ang", "sad", "hap", "exc"))
                for talker in "FM"
            ]
            write_dialogue(root, dialogue, turns, audio=True, seed=seed)
            seed += len(turns)
    return root
