"""The file of a speech recogniser: trained on some speakers of a corpus, tested on others."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from orchestrator.experiment.corpus import CorpusSection
from orchestrator.experiment.experiment import Resources, Tracking
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.search import Seeds
from orchestrator.experiment.section import Section
from orchestrator.experiment.sources import Recogniser, refuse_no_judge


class RecogniserSpeakerOut(Section):
    """Each speaker is tested once by a recogniser that never heard him."""

    kind: Literal["leave-one-speaker-out"]
    validation_speakers: Annotated[int, Field(ge=0)] = 1
    """Of the others, drawn by (seed, fold), who choose the epoch; 0 keeps the last one."""


class RecogniserSpeakerFolds(Section):
    """Speakers are dealt into ``folds`` groups, each tested once."""

    kind: Literal["speaker-folds"]
    folds: Annotated[int, Field(ge=2)] = 5
    validation_speakers: Annotated[int, Field(ge=0)] = 1
    """As above."""


class RecogniserEvaluate(Section):
    """The ``evaluate`` section of a recogniser's file."""

    seeds: Seeds = (0,)
    folds: tuple[str, ...] = ()
    """Names of the folds to test (``speaker=theo``), for a quick look; default: all."""


class RecogniserExperiment(Section):
    """A recogniser's file, validated: the source task of SATN by itself."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    corpora: Annotated[tuple[CorpusSection, ...], Field(min_length=1, max_length=1)]
    """One, with ``role: transcribed``."""
    protocol: Annotated[RecogniserSpeakerOut | RecogniserSpeakerFolds, Field(discriminator="kind")]
    features: LogMelFeatures = LogMelFeatures()
    recogniser: Recogniser
    evaluate: RecogniserEvaluate = RecogniserEvaluate()
    resources: Resources = Resources()
    store: str = "./understudy-store"
    tracking: Tracking = Tracking()
    variants: dict[str, dict[str, Any]] = {}
    """Named sets of overrides, applied by ``--variant``."""
    variant: str | None = None
    """The variant that was applied; set by ``--variant``, not by hand."""

    @model_validator(mode="after")
    def _possible(self) -> RecogniserExperiment:
        corpus = self.corpora[0]
        if corpus.role != "transcribed":
            raise ValueError(
                f"corpora.0.role is {corpus.role!r}, but a recogniser learns from transcripts; set "
                "role: transcribed"
            )
        if len(set(self.evaluate.seeds)) < len(self.evaluate.seeds):
            raise ValueError(
                f"evaluate.seeds {list(self.evaluate.seeds)}: each seed may stand once"
            )
        for key in ("teacher_workers", "student_workers"):
            if getattr(self.resources, key) > 1:
                raise ValueError(
                    f"resources.{key} is {getattr(self.resources, key)}, but there is no teacher "
                    "and no student here, and one worker fits a recogniser; leave it out"
                )
        refuse_no_judge(
            self.recogniser,
            speakers=self.protocol.validation_speakers,
            key="protocol.validation_speakers",
        )
        return self
