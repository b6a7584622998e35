"""IEMOCAP's evaluation files and transcripts, line by line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CATEGORIES: Final = {
    "anger": "anger",
    "happiness": "happiness",
    "excited": "excitement",
    "sadness": "sadness",
    "frustration": "frustration",
    "fear": "fear",
    "surprise": "surprise",
    "neutral": "neutral",
    "neutral state": "neutral",
    "disgust": "disgust",
    "other": "other",
}
"""From the words evaluators choose from, in lower case, to emotions; others count as ``other``."""

_NUMBER: Final = r"[-+]?(?:\d+(?:\.\d*)?|nan)"
_HEAD: Final = re.compile(
    rf"\[\s*(?P<start>{_NUMBER})\s*-\s*(?P<end>{_NUMBER})\s*\]\s*(?P<name>\S+)\s+(?P<code>\w+)\s*"
    rf"\[\s*(?P<v>{_NUMBER})\s*,\s*(?P<a>{_NUMBER})\s*,\s*(?P<d>{_NUMBER})\s*\]",
    re.IGNORECASE,
)
_NAME: Final = re.compile(
    r"(?P<dialogue>Ses0(?P<session>\d)[FM]_(?P<style>impro|script)\w*)_(?P<talker>[FM])\w*?\d+"
)
# A line that names a turn has to be its head, but for these: comments, votes and ratings.
_NAMES_A_TURN: Final = re.compile(r"(?!%|C-|A-).*Ses0\d[FM]_")
_VOTE: Final = re.compile(r"C-E\w*\s*:(?P<chosen>[^(]*)")
_SPOKEN: Final = re.compile(r"(?P<name>Ses\w+)\s*(?:\[[^\]]*\])?\s*:(?P<words>.*)")


@dataclass(frozen=True)
class Turn:
    """One turn as evaluated.

    Attributes:
        name: such as ``Ses01F_impro01_M003``.
        line: of the evaluation file, from 1.
        dialogue: the name's first part, ``Ses01F_impro01``.
        session: one digit, from the name.
        style: ``improvised`` or ``scripted``.
        talker: ``F`` or ``M``.
        code: of the majority's emotion, in lower case.
        ratings: valence, activation and dominance.
        stated: seconds from start to end.
        votes: by emotion, one in all from each outside evaluator who chose any.
    """

    name: str
    line: int
    dialogue: str
    session: str
    style: str
    talker: str
    code: str
    ratings: tuple[float, float, float]
    stated: float
    votes: Mapping[str, float]


def read_turns(file: Path) -> tuple[list[Turn], list[tuple[int, str]]]:
    """The turns of an evaluation file, and the numbers and text of lines that look like one only.

    Every line that begins with ``[`` or names a turn (but for comments, votes and ratings) has to
    be a turn's head; votes belong to the turn above them.

    Raises:
        OSError: the file cannot be read.
    """
    turns: list[Turn] = []
    strange: list[tuple[int, str]] = []
    votes: dict[str, float] = {}
    for number, raw in enumerate(_lines(file), start=1):
        line = raw.strip()
        if line.startswith("[") or _NAMES_A_TURN.match(line):
            # The votes of a turn that is not understood must not go to the one before it.
            votes = {}
            turn = _turn(line, number=number, votes=votes)
            if turn is None:
                strange.append((number, line))
            else:
                turns.append(turn)
        elif told := _VOTE.match(line):
            _vote(votes, told["chosen"])
    return turns, strange


def read_transcript(file: Path) -> dict[str, str]:
    """The words of each turn of a transcript; lines without a turn's name are left alone.

    Raises:
        OSError: the file cannot be read.
    """
    words: dict[str, str] = {}
    for line in _lines(file):
        told = _SPOKEN.match(line.strip())
        if told:
            words.setdefault(told["name"], told["words"].strip())
    return words


def _turn(line: str, *, number: int, votes: Mapping[str, float]) -> Turn | None:
    head = _HEAD.match(line)
    name = _NAME.fullmatch(head["name"]) if head else None
    if head is None or name is None:
        return None
    return Turn(
        name=head["name"],
        line=number,
        dialogue=name["dialogue"],
        session=name["session"],
        style={"impro": "improvised", "script": "scripted"}[name["style"]],
        talker=name["talker"],
        code=head["code"].lower(),
        ratings=(float(head["v"]), float(head["a"]), float(head["d"])),
        stated=float(head["end"]) - float(head["start"]),
        votes=votes,
    )


def _vote(votes: dict[str, float], chosen: str) -> None:
    """Deal one vote equally to what ``Neutral state; Frustration;`` names."""
    words = {word.strip().lower() for word in chosen.split(";")} - {""}
    for word in words:
        emotion = CATEGORIES.get(word, "other")
        votes[emotion] = votes.get(emotion, 0.0) + 1 / len(words)


def _lines(file: Path) -> list[str]:
    content = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    # Not str.splitlines, which also splits at characters that old code pages have for an ellipsis.
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
