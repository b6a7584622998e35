"""The ``recipe.teacher`` section."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from orchestrator.experiment.networks import VerticalVit
from orchestrator.experiment.numbers import Count, Positive, Share
from orchestrator.experiment.section import Section
from orchestrator.experiment.training import Augment, HeadTraining, Training


class VerticalVitTeacher(VerticalVit):
    """A vertical-patch ViT trained on the fold; ``training`` defaults to the recipe's own."""

    kind: Literal["vertical-vit"]
    training: Training | None = None


class Frozen(Section):
    """The encoder stays as it was published and runs once over the corpus."""

    kind: Literal["frozen"] = "frozen"


class FineTuning(Section):
    """What every way of fine-tuning has."""

    lr: Positive = 1.0e-4
    """Learning rate of the encoder's own weights; ``teacher.training.lr`` is that of mix, pooling
    and head. Both rise and fall together."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third
    more time, the same numbers."""


class TopLayers(FineTuning):
    """The last transformer layers are trained; the others run once over the corpus."""

    kind: Literal["top-n"]
    layers: Count = 2
    """How many of the last layers."""


class FullModel(FineTuning):
    """All transformer layers are trained, but not the strided convolutions in front of them."""

    kind: Literal["full"]
    lr: Positive = 2.0e-5


class Lora(FineTuning):
    """Low-rank additions to the attention's four projections are trained (Hu et al. 2022)."""

    kind: Literal["lora"]
    rank: Count = 8
    alpha: Positive = 16.0
    """The addition is scaled by ``alpha / rank``."""
    dropout: Share = 0.0
    """Of the addition's input."""


EncoderMode = Annotated[Frozen | TopLayers | FullModel | Lora, Field(discriminator="kind")]


class PretrainedTeacher(Section):
    """A ``transformers`` speech encoder; layer mix, pooling and head are fitted per fold, and as
    much of the encoder as ``mode`` says.
    """

    place: ClassVar[str] = "recipe.teacher"
    """Where the experiment file names the encoder, for messages."""

    kind: Literal["pretrained"]
    root: str
    """Folder of the encoder: config.json, weights, preprocessor_config.json; or the name of a
    model on the Hugging Face hub, ``openai/whisper-base``."""
    revision: str | None = None
    """Of a model on the hub: branch, tag or commit; default: its main branch."""
    mode: EncoderMode = Frozen()
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Hidden states to mix, 0 being the input of the first block; default: all, and with
    ``top-n`` those from the input of the first trained layer on."""
    pooling: Literal["mean", "statistics", "attentive"] = "mean"
    """Over time, of each layer: the mean, the mean and the standard deviation, or of the mixed
    frames a mean with learned weights."""
    frames: bool = True
    """Keep the layers' frames in the store (half precision): needed to match tokens, and for
    attentive pooling."""
    training: HeadTraining = HeadTraining()
    """How the teacher is fitted; there is no augmentation."""

    @property
    def hears_waveforms(self) -> bool:
        """Whether the whole encoder runs in every fold, so that nothing of it is stored."""
        return self.mode.kind in ("full", "lora")

    @model_validator(mode="after")
    def _consistent(self) -> PretrainedTeacher:
        if self.training.augment != Augment():
            raise ValueError(
                "augment has no effect on a pretrained encoder, which hears every utterance as it "
                "is; remove it from teacher.training"
            )
        if self.mode.kind == "frozen" and self.pooling == "attentive" and not self.frames:
            raise ValueError(
                "pooling is 'attentive' but frames is false, and weights over time need frames; "
                "set frames to true"
            )
        return self


TeacherNet = Annotated[VerticalVitTeacher | PretrainedTeacher, Field(discriminator="kind")]
