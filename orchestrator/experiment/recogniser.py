"""The file of a speech recogniser: trained on some speakers of a corpus, tested on others."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from orchestrator.experiment.corpus import CorpusSection
from orchestrator.experiment.experiment import Resources, Seeds, Tracking
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.protocol import LeaveOneSpeakerOut, SpeakerFolds
from orchestrator.experiment.section import Section
from orchestrator.experiment.sources import Recogniser


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
    protocol: Annotated[LeaveOneSpeakerOut | SpeakerFolds, Field(discriminator="kind")]
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
        for key in ("held_speakers", "text_disjoint"):
            if getattr(self.protocol, key):
                raise ValueError(
                    f"protocol.{key} is {getattr(self.protocol, key)!r}, which is about emotions; "
                    "leave it out"
                )
        for key in ("teacher_workers", "student_workers"):
            if getattr(self.resources, key) > 1:
                raise ValueError(
                    f"resources.{key} is {getattr(self.resources, key)}, but there is no teacher "
                    "and no student here, and one worker fits a recogniser; leave it out"
                )
        return self
