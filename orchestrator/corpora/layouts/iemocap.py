"""IEMOCAP (Busso et al. 2008) as distributed: five sessions of two actors each."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.layouts.folders import corpus_root, is_folder
from orchestrator.corpora.layouts.iemocap_labels import CODES, LABEL_SETS, SAID
from orchestrator.corpora.layouts.iemocap_turns import Turn, read_transcript, read_turns
from orchestrator.corpora.listing import About, Documented, Listing, Problem, text_of, votes_text
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import IemocapCorpus

_BY_SESSION: Final = {
    "neutral": (384, 362, 320, 258, 384),
    "anger": (229, 137, 240, 327, 170),
    "sadness": (194, 197, 305, 143, 245),
    "happiness": (135, 117, 135, 65, 143),
    "excitement": (143, 210, 151, 238, 299),
}
"""Turns of each emotion in sessions 1 to 5; of the other emotions only totals are documented."""

SESSIONS: Final = ("1", "2", "3", "4", "5")

ABOUT: Final = About(
    summary=(
        "IEMOCAP: American English, 5 sessions of two actors (10 speakers), improvised and "
        "scripted dialogues, 10039 turns"
    ),
    licence="by release form, for research",
    obtain=(
        "requested with a release form from the Signal Analysis and Interpretation Laboratory, "
        "University of Southern California: https://sail.usc.edu/iemocap"
    ),
    documented=Documented(
        utterances=10039,
        counts={
            "emotion": {
                "neutral": 1708,
                "anger": 1103,
                "sadness": 1084,
                "happiness": 595,
                "excitement": 1041,
                "frustration": 1849,
                "fear": 40,
                "surprise": 107,
                "disgust": 2,
                "other": 3,
                "no majority": 2507,
            }
        },
        crossed={
            ("session", "emotion"): {
                (session, emotion): count
                for emotion, counts in _BY_SESSION.items()
                for session, count in zip(SESSIONS, counts, strict=True)
            }
        },
    ),
)

_TEXT_COLUMNS: Final = (
    "id",
    "path",
    "speaker",
    "gender",
    "session",
    "dialogue",
    "emotion",
    "votes",
    "text",
    "transcript",
    "style",
)
_NUMBER_COLUMNS: Final = ("valence", "arousal", "dominance", "stated")
_NAMED: Final = 3


@dataclass
class _Found:
    """What reading the sessions has found so far."""

    rows: dict[str, dict[str, str | float]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    not_used: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)


def list_iemocap(section: IemocapCorpus) -> Listing:
    """The turns that ``ROOT/Session*/dialog/EmoEvaluation/*.txt`` evaluate.

    The speaker is who talks in the turn, not who wore the markers in the dialogue. ``votes`` are
    those of the outside evaluators: one who chose several emotions gives each an equal share. A
    map can also read ``style`` (``improvised`` or ``scripted``). Ratings are the evaluators' mean
    on scales from 1 to 5: ``valence``, ``arousal`` (activation) and ``dominance``.

    Hidden files and the folders inside ``EmoEvaluation`` are no part of the corpus.

    Raises:
        CorpusError: the root is missing, holds no session with evaluations, or cannot be read.
    """
    root = _root(section)
    present = [name for name in SESSIONS if is_folder(root / f"Session{name}", title=section.title)]
    found = _Found()
    read = []
    try:
        for session in present:
            if _read_session(root, session=session, subset=section.subset, found=found):
                read.append(session)
    except OSError as error:
        raise CorpusError(
            f"corpus {section.title!r}: {error.filename} cannot be read ({error.strerror}); "
            "change its permissions"
        ) from error
    if not read:
        raise CorpusError(
            f"corpus {section.title!r}: {root} holds no evaluation; the unpacked corpus has files "
            "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and so on"
        )
    absent = [name for name in SESSIONS if name not in read]
    if absent:
        found.remarks.insert(0, f"{root}: no evaluations of session {', '.join(absent)}")
    own = section.labels is None and "emotion" not in section.columns
    said = [SAID[section.label_set]] if own else []
    if section.subset != "all":
        said.append(f"{section.subset} only")
    table = pd.DataFrame(list(found.rows.values()), columns=[*_TEXT_COLUMNS, *_NUMBER_COLUMNS])
    types = dict.fromkeys(_TEXT_COLUMNS, "str") | dict.fromkeys(_NUMBER_COLUMNS, "float64")
    return Listing(
        table=table.astype(types),
        source=FileSource(),
        place=str(root),
        emotions=tuple(sorted(CODES.values())),
        labels=dict(LABEL_SETS[section.label_set]) if own else None,
        said=tuple(said),
        not_used=dict(sorted(found.not_used.items())),
        problems=tuple(found.problems),
        remarks=tuple(found.remarks),
    )


def _root(section: IemocapCorpus) -> Path:
    """The folder that holds ``Session1`` and so on: the root, or the one folder of the archive."""
    hint = "the folder of the unpacked IEMOCAP, the one that holds 'Session1'"
    given = corpus_root(section.root, title=section.title, hint=hint)
    for root in (given, given / "IEMOCAP_full_release"):
        if any(is_folder(root / f"Session{name}", title=section.title) for name in SESSIONS):
            return root
    raise CorpusError(
        f"corpus {section.title!r}: root {section.root!r} holds none of the folders Session1 to "
        "Session5; give the folder of the unpacked IEMOCAP (IEMOCAP_full_release)"
    )


def _read_session(root: Path, *, session: str, subset: str, found: _Found) -> bool:
    """Add a session to ``found``; whether it has any evaluation."""
    folder = root / f"Session{session}"
    wavs, transcriptions = folder / "sentences" / "wav", folder / "dialog" / "transcriptions"
    named: set[str] = set()
    without: list[str] = []
    unspoken: list[str] = []
    backwards: list[str] = []
    spoken: dict[str, dict[str, str]] = {}
    for file in _visible(folder / "dialog" / "EmoEvaluation", suffix=".txt"):
        turns, strange = read_turns(file)
        named |= {f"{turn.dialogue}/{turn.name}.wav" for turn in turns}
        for number, line in strange:
            style = _style_of(file.stem)
            if style and subset not in ("all", style):
                found.not_used[style] += 1
            else:
                text = f"{file}, line {number}: {line!r} is not [START - END] TURN CODE [V, A, D]"
                found.problems.append(Problem(kind="strange row", text=text))
        for turn in turns:
            if subset not in ("all", turn.style):
                found.not_used[turn.style] += 1
                continue
            problem = _problem(turn, session=session, file=file, known=found.rows)
            if problem is not None:
                found.problems.append(problem)
                continue
            if turn.dialogue not in spoken:
                transcript = transcriptions / f"{turn.dialogue}.txt"
                there = transcript.is_file()
                spoken[turn.dialogue] = read_transcript(transcript) if there else {}
                without += [] if there else [turn.dialogue]
            words = spoken[turn.dialogue].get(turn.name, "")
            if not words and turn.dialogue not in without:
                unspoken.append(turn.name)
            if not turn.stated > 0:
                backwards.append(turn.name)
            found.rows[turn.name] = _row(turn, wavs=wavs, words=words)
    _remark(found, f"{transcriptions}: no transcript of", without, "dialogues")
    _remark(found, f"{transcriptions}: no words of", unspoken, "turns")
    _remark(found, f"{folder}: an end that is not after the start, in", backwards, "turns")
    if named:
        extra = [one for one in _wavs(wavs) if one not in named]
        _remark(found, f"{wavs}: no evaluation of", extra, "audio files")
    return bool(named)


def _problem(
    turn: Turn, *, session: str, file: Path, known: dict[str, dict[str, str | float]]
) -> Problem | None:
    """Why a turn cannot be listed, if it cannot."""
    where = f"{file}, line {turn.line}: turn {turn.name!r}"
    if turn.session != session:
        text = f"{where} is named for session {turn.session}, not {session}"
        return Problem(kind="strange row", text=text)
    if turn.name in known:
        return Problem(kind="duplicate row", text=f"{where} is evaluated a second time")
    if turn.code not in CODES:
        text = f"{where} has the code {turn.code!r}, which is none of IEMOCAP ({', '.join(CODES)})"
        return Problem(kind="unknown label", text=text, id=turn.name)
    return None


def _row(turn: Turn, *, wavs: Path, words: str) -> dict[str, str | float]:
    return {
        "id": turn.name,
        "path": str(wavs / turn.dialogue / f"{turn.name}.wav"),
        "speaker": f"Ses0{turn.session}{turn.talker}",
        "gender": {"F": "female", "M": "male"}[turn.talker],
        "session": turn.session,
        "dialogue": turn.dialogue,
        "emotion": CODES[turn.code],
        "votes": votes_text(turn.votes),
        "text": text_of(words),
        "transcript": words,
        "style": turn.style,
        "valence": turn.ratings[0],
        "arousal": turn.ratings[1],
        "dominance": turn.ratings[2],
        "stated": turn.stated if turn.stated > 0 else float("nan"),
    }


def _style_of(stem: str) -> str:
    """``improvised`` or ``scripted``, "" if the name of a file tells neither."""
    told = re.match(r"Ses\d\d[FM]_(impro|script)", stem)
    return {"impro": "improvised", "script": "scripted"}[told[1]] if told else ""


def _remark(found: _Found, text: str, names: list[str], what: str) -> None:
    """``TEXT 12 WHAT (a, b, c, ...)``, if there are any."""
    if names:
        more = ", ..." if len(names) > _NAMED else ""
        found.remarks.append(f"{text} {len(names)} {what} ({', '.join(names[:_NAMED])}{more})")


def _visible(folder: Path, *, suffix: str) -> list[Path]:
    """The files of a folder with this suffix, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() == suffix and not file.name.startswith(".") and file.is_file()
    )


def _wavs(folder: Path) -> list[str]:
    """``DIALOGUE/TURN.wav`` of every audio file below a folder, sorted."""
    if not folder.is_dir():
        return []
    return [
        f"{dialogue.name}/{file.name}"
        for dialogue in sorted(folder.iterdir())
        if not dialogue.name.startswith(".")
        for file in _visible(dialogue, suffix=".wav")
    ]
