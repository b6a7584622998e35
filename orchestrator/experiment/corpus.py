"""The ``corpora`` section: which speech, from where."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.experiment.protocol import CrossCorpus, ProtocolSection
from orchestrator.experiment.section import Section

Acceptable = Literal[
    "clipped", "dc-offset", "duplicate", "far-longer", "far-shorter", "silent", "wrong-length"
]
"""Kinds of problems that leave an utterance usable, if the user wants it."""

Role = Literal["labelled", "unlabelled", "transcribed"]
"""What a corpus is there for."""


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
    role: Role = "labelled"
    """``unlabelled``: its emotions, if it has any, are not read. No fold is made of it; students
    hear it where ``recipe.unlabelled`` says so. ``transcribed``: nor are they read, but its words
    are, and a speech recogniser learns them."""
    speakers_apart: bool = False
    """You declare that nobody who speaks in this unlabelled or transcribed corpus speaks in a
    labelled one."""
    protocol: ProtocolSection | None = None
    """How this corpus becomes folds, in evaluations and in sweeps; default: what the experiment
    says for all."""
    columns: dict[str, ColumnMap] = {}
    """Columns to make (or replace) by a map: ``session: {source: speaker, map: {"03": "1"}}``."""
    labels: dict[str, str] | None = None
    """From the corpus's emotion to the one to learn; those left out are not used, and counted."""
    problems: Literal["refuse", "set-aside"] = "refuse"
    """What to do about utterances that cannot be used: end there, or go on without them and keep
    the list of them in the results."""
    accept: tuple[Acceptable, ...] = ("clipped", "dc-offset")
    """Kinds of problems that are counted and named, while the utterance is used all the same."""

    @model_validator(mode="after")
    def _role_fits(self) -> Self:
        if self.role != "labelled":
            for key, given in (
                ("labels", self.labels),
                ("columns.emotion", self.columns.get("emotion")),
                ("protocol", self.protocol),
            ):
                if given is not None:
                    what = "no folds are made of it" if key == "protocol" else "no label is read"
                    raise ValueError(f"role is {self.role!r}, so {what}; remove {key}")
        elif self.speakers_apart:
            raise ValueError(
                "speakers_apart says something of an unlabelled or transcribed corpus, and this "
                "one is labelled; remove it, or set role: unlabelled"
            )
        if isinstance(self.protocol, CrossCorpus):
            raise ValueError(
                "protocol.kind is 'cross-corpus', which is about several corpora; give it as the "
                "experiment's protocol"
            )
        return self

    @property
    def title(self) -> str:
        """The name that results and the store's provenance carry."""
        return self.name or str(getattr(self, "kind"))  # noqa: B009 - each subclass has a kind


class EmodbCorpus(CorpusBase):
    """The Berlin Database of Emotional Speech as distributed: ``ROOT/wav/03a01Fa.wav``."""

    kind: Literal["emodb"]
    root: str


def _as_text(value: Any) -> Any:
    """YAML reads ``label_set: 4`` as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class IemocapCorpus(CorpusBase):
    """IEMOCAP as distributed: ``ROOT/Session1/dialog`` and ``ROOT/Session1/sentences``."""

    kind: Literal["iemocap"]
    root: str
    label_set: Annotated[
        Literal["4", "4-happy-only", "4-excited-replaces", "5", "6"], BeforeValidator(_as_text)
    ] = "4"
    """Which emotions are learned; ``4`` counts excitement as happiness. ``labels`` replaces it."""
    subset: Literal["all", "improvised", "scripted"] = "all"
    """Which dialogues are used."""

    @model_validator(mode="after")
    def _one_map(self) -> IemocapCorpus:
        # not model_fields_set: a resolved experiment has every key
        if (
            self.labels is not None
            and self.label_set != type(self).model_fields["label_set"].default
        ):
            raise ValueError(
                f"label_set {self.label_set!r} and labels both say which emotions are learned; "
                "keep one of them"
            )
        return self


class MeldCorpus(CorpusBase):
    """MELD as distributed: three CSV files and folders of clips, as mp4 or as extracted wav."""

    kind: Literal["meld"]
    root: str


class SaveeCorpus(CorpusBase):
    """SAVEE: ``ROOT/AudioData/DC/a01.wav`` as distributed, or flat ``ROOT/DC_a01.wav``."""

    kind: Literal["savee"]
    root: str


class CremaDCorpus(CorpusBase):
    """CREMA-D as distributed: ``ROOT/AudioWAV/1001_DFA_ANG_XX.wav``."""

    kind: Literal["crema-d"]
    root: str


class RavdessCorpus(CorpusBase):
    """RAVDESS, speech: ``ROOT/Actor_01/03-01-05-01-02-01-12.wav``."""

    kind: Literal["ravdess"]
    root: str


class FsddCorpus(CorpusBase):
    """The Free Spoken Digit Dataset, for speech recognition: ``ROOT/recordings/7_jackson_32.wav``.

    ``ROOT`` may also be the folder ``recordings`` itself.
    """

    kind: Literal["fsdd"]
    root: str
    role: Role = "transcribed"

    @model_validator(mode="after")
    def _no_emotions(self) -> FsddCorpus:
        if self.role == "labelled":
            raise ValueError(
                "role is 'labelled', but spoken digits have no emotions; leave role out "
                "(transcribed), or use role: unlabelled"
            )
        return self


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
    """Default: the column ``session`` if the file has one, else no session. So with the other
    columns that may be missing: each has the name of what it holds."""
    id_column: str | None = None
    """Default: the column ``id`` if the file has one, else the audio path."""
    gender_column: str | None = None
    """Values: ``female`` or ``male``, or their first letters."""
    dialogue_column: str | None = None
    split_column: str | None = None
    """The official split: ``train``, ``validation`` (or ``dev``, ``val``) and ``test``."""
    text_column: str | None = None
    """What is said, as an id or as words: equal values are the same text."""
    transcript_column: str | None = None
    """What is said, in words; where there is no column of texts, words make the texts too."""
    agreement_column: str | None = None
    """Share of listeners who chose the label, in [0, 1]."""
    votes_columns: dict[str, str] = {}
    """From an emotion to the column that holds the number of votes for it."""


class FolderCorpus(CorpusBase):
    """Any folder of audio files, for speech without labels."""

    kind: Literal["folder"]
    root: str
    role: Role = "unlabelled"
    pattern: str = "**/*"
    """Which files below ``root``: ``*`` is part of a name, ``**`` any number of folders. Of these,
    what is no audio by its ending is not read."""

    @model_validator(mode="after")
    def _nothing_but_audio(self) -> FolderCorpus:
        if self.role == "labelled":
            raise ValueError(
                "role is 'labelled', but a folder of audio files has no labels; use role: "
                "unlabelled, or kind: table with a file that says speaker and emotion of each"
            )
        if self.role == "transcribed":
            raise ValueError(
                "role is 'transcribed', but nothing says which words are said in a folder of audio "
                "files; use role: unlabelled, or kind: table with a file that says speaker and "
                "transcript of each"
            )
        way = PurePosixPath(self.pattern)
        strange = any(part == ".." or ("**" in part and part != "**") for part in way.parts)
        if not way.parts or way.is_absolute() or strange:
            raise ValueError(
                f"pattern {self.pattern!r} does not lead to files below root; give one such as "
                "'**/*.wav'"
            )
        return self


class SyntheticCorpus(CorpusBase):
    """The built-in speech-like corpus: nothing to download, seeded, sessions of two speakers."""

    kind: Literal["synthetic"]
    sessions: Annotated[int, Field(ge=2)] = 4
    utterances_per_emotion: Annotated[int, Field(ge=1)] = 6
    """Utterances of each emotion by each speaker."""
    difficulty: Annotated[float, Field(ge=0.0)] = 1.0
    """Scale of speaker and utterance variation against the emotions' effect; 0 makes it trivial."""
    seed: int = 0


CorpusSection = Annotated[
    CremaDCorpus
    | EmodbCorpus
    | FolderCorpus
    | FsddCorpus
    | IemocapCorpus
    | MeldCorpus
    | RavdessCorpus
    | SaveeCorpus
    | SyntheticCorpus
    | TableCorpus,
    Field(discriminator="kind"),
]
