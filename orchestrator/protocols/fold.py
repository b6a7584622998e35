"""A fold, and the columns of a corpus that protocols look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

ROLES: Final = ("train", "held", "validation", "test")


@dataclass(frozen=True)
class Fold:
    """Disjoint sets of utterance ids, each sorted. It holds no labels: the test set is sealed."""

    name: str
    """Such as ``session=1``, ``speaker=03`` or ``fold=1``."""
    train: tuple[str, ...]
    validation: tuple[str, ...]
    """Picks epochs and configurations."""
    test: tuple[str, ...]
    held: tuple[str, ...] = ()
    """Cut from train for meta-learning, where the protocol asks for it."""
    dropped: tuple[str, ...] = ()
    """In no role (``text_disjoint``): training utterances whose text the test set says too, and
    where test sets are cut by texts, what those who are tested say in the other parts."""

    def role(self, name: str) -> tuple[str, ...]:
        """The ids of one of ``ROLES``."""
        ids: tuple[str, ...] = getattr(self, name)
        return ids


@dataclass(frozen=True)
class Rows:
    """Columns of a corpus's table, each from utterance id to its value, ids sorted.

    Columns that the table lacks are "" throughout.
    """

    speaker: dict[str, str]
    session: dict[str, str]
    emotion: dict[str, str]
    gender: dict[str, str]
    dialogue: dict[str, str]
    split: dict[str, str]
    text: dict[str, str]
    corpus: dict[str, str]
    content: dict[str, str]
    """Hash of what is heard."""

    @classmethod
    def of(cls, table: pd.DataFrame) -> Rows:
        """The rows of ``table``, in whatever order they stand."""
        ids = [str(name) for name in table["id"]]
        order = sorted(range(len(ids)), key=ids.__getitem__)

        def column(name: str) -> dict[str, str]:
            if name not in table:
                return dict.fromkeys((ids[place] for place in order), "")
            values = table[name].tolist()
            return {ids[place]: str(values[place]) for place in order}

        return cls(**{name: column(name) for name in cls.__dataclass_fields__})

    @property
    def classes(self) -> set[str]:
        """The emotions that occur."""
        return set(self.emotion.values())

    def column(self, name: str) -> dict[str, str]:
        """A column by its name."""
        values: dict[str, str] = getattr(self, name)
        return values


def counted(count: int, noun: str) -> str:
    """``1 speaker``, ``2 speakers``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
