"""Tables for the tests of protocols: made up, and random."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import pandas as pd
from hypothesis import strategies as st

from orchestrator.experiment.protocol import ProtocolSection
from orchestrator.protocols import Fold, make_folds

EMOTIONS = ("anger", "joy", "neutral")
COLUMNS = [
    "id",
    "speaker",
    "gender",
    "session",
    "dialogue",
    "split",
    "emotion",
    "text",
    "corpus",
    "content",
]


def full_table(
    speakers: int = 8, *, each: int = 2, texts: int = 4, corpora: int = 1
) -> pd.DataFrame:
    """Two speakers a session, of either gender; ``each`` utterances of every emotion and text."""
    rows = []
    for corpus in range(corpora):
        for speaker in range(speakers):
            for emotion in EMOTIONS:
                for text in range(texts):
                    for take in range(each):
                        who = f"c{corpus}s{speaker:02}"
                        name = f"{who}-{emotion}-{text}-{take}"
                        split = ("train", "train", "validation", "test")[speaker % 4]
                        rows.append(
                            (
                                name,
                                who,
                                "female" if speaker % 2 else "male",
                                f"c{corpus}p{speaker // 2}",
                                f"{who}-d{text}",
                                split,
                                emotion,
                                f"t{text}",
                                f"c{corpus}",
                                f"sound of {name}",
                            )
                        )
    return pd.DataFrame(rows, columns=COLUMNS)


@st.composite
def tables(draw: st.DrawFn, *, corpora: int = 1) -> pd.DataFrame:
    """Corpora of uneven speakers, some of whom lack emotions, with few texts among them."""
    rows = []
    for corpus in range(corpora):
        for speaker in range(draw(st.integers(4, 7))):
            gender = draw(st.sampled_from(["female", "male", ""]))
            for emotion in EMOTIONS:
                for take in range(draw(st.integers(0, 3))):
                    who = f"c{corpus}s{speaker}"
                    name = f"{who}{emotion[0]}{take}"
                    rows.append(
                        (
                            name,
                            who,
                            gender,
                            f"c{corpus}p{speaker // 2}",
                            f"{who}d{take}",
                            draw(st.sampled_from(["train", "train", "validation", "test"])),
                            emotion,
                            f"t{draw(st.integers(0, 5))}",
                            f"c{corpus}",
                            f"sound of {name}",
                        )
                    )
    return pd.DataFrame(rows, columns=COLUMNS)


def quiet(frame: pd.DataFrame, protocol: ProtocolSection, *, seed: int = 0) -> tuple[Fold, ...]:
    """``make_folds`` without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_folds(frame, protocol, seed=seed)


def column(frame: pd.DataFrame, name: str, ids: Iterable[str]) -> set[str]:
    """The values of a column among ``ids``."""
    return set(frame.set_index("id").loc[list(ids), name])
