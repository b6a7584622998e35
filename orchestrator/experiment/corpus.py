"""The ``corpora`` section: which speech, from where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.experiment.section import Section


class ColumnMap(Section):
    """A column made from another by a map, such as five sessions from ten speakers."""

    source: str
    """The existing column whose values are looked up."""
    map: dict[str, str]
    """From each value of ``source`` to the value of the new column; a missing value is an error."""


class CorpusBase(Section):
    """What every kind of corpus has."""

    name: str | None = None
    """How results call it; default: the kind."""
    columns: dict[str, ColumnMap] = {}
    """Columns to make (or replace) by a map: ``session: {source: speaker, map: {"03": "1"}}``."""
    labels: dict[str, str] | None = None
    """From the corpus's emotion to the one to learn; those left out are not used, and counted."""

    @property
    def title(self) -> str:
        """The name that results and the store's provenance carry."""
        return self.name or str(getattr(self, "kind"))  # noqa: B009 - each subclass has a kind


class EmodbCorpus(CorpusBase):
    """The Berlin Database of Emotional Speech as distributed: ``ROOT/wav/03a01Fa.wav``."""

    kind: Literal["emodb"]
    root: str


class TableCorpus(CorpusBase):
    """Any CSV or Parquet file with one row per utterance."""

    kind: Literal["table"]
    file: str
    """The CSV (``.csv``) or Parquet (``.parquet``) file."""
    root: str | None = None
    """Folder that relative audio paths start from; default: the folder of ``file``."""
    path_column: str = "path"
    speaker_column: str = "speaker"
    emotion_column: str = "emotion"
    session_column: str | None = None
    """Default: the column ``session`` if the file has one, else no session."""
    id_column: str | None = None
    """Default: the column ``id`` if the file has one, else the audio path."""


class SyntheticCorpus(CorpusBase):
    """The built-in speech-like corpus: nothing to download, seeded, sessions of two speakers."""

    kind: Literal["synthetic"]
    sessions: Annotated[int, Field(ge=2)] = 4
    utterances_per_emotion: Annotated[int, Field(ge=1)] = 6
    """Utterances of each emotion by each speaker."""
    difficulty: Annotated[float, Field(ge=0.0)] = 1.0
    """Scale of speaker and utterance variation against the emotions' effect; 0 makes it trivial."""
    seed: int = 0


CorpusSection = Annotated[EmodbCorpus | TableCorpus | SyntheticCorpus, Field(discriminator="kind")]
