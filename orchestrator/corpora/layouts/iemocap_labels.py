"""The emotions of IEMOCAP, and the label sets that the literature makes of them."""

from __future__ import annotations

from typing import Final

CODES: Final = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "excitement",
    "sad": "sadness",
    "fru": "frustration",
    "fea": "fear",
    "sur": "surprise",
    "neu": "neutral",
    "dis": "disgust",
    "oth": "other",
    "xxx": "no majority",
}
"""From the code in an evaluation file to the emotion."""

_HAPPY_MERGED: Final = {
    "anger": "anger",
    "happiness": "happiness",
    "excitement": "happiness",
    "sadness": "sadness",
    "neutral": "neutral",
}

LABEL_SETS: Final[dict[str, dict[str, str]]] = {
    "4": _HAPPY_MERGED,
    "4-happy-only": {word: word for word in ("anger", "happiness", "sadness", "neutral")},
    "4-excited-replaces": {word: word for word in ("anger", "excitement", "sadness", "neutral")},
    "5": _HAPPY_MERGED | {"frustration": "frustration"},
    "6": {word: word for word in (*_HAPPY_MERGED, "frustration")},
}
"""From a label set of the literature to its map from emotions to those learned."""

SAID: Final = {
    "4": "label set 4 (excitement counted as happiness)",
    "4-happy-only": "label set 4-happy-only (without excitement)",
    "4-excited-replaces": "label set 4-excited-replaces (excitement in place of happiness)",
    "5": "label set 5 (with frustration, excitement counted as happiness)",
    "6": "label set 6 (happiness and excitement apart)",
}
"""How the protocol string calls a label set."""
