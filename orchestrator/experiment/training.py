"""How a network is fitted: ``recipe.training`` and ``recipe.teacher.training``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.experiment.numbers import Count, Positive, Share
from orchestrator.experiment.section import Section


class Augment(Section):
    """What is done to a training utterance each time it is drawn; knowledge is of it unchanged."""

    frequency_masks: Annotated[int, Field(ge=0)] = 0
    frequency_width: Count = 8
    """Widest frequency mask in Mel bins (SpecAugment's F)."""
    time_masks: Annotated[int, Field(ge=0)] = 0
    time_width_seconds: Positive = 0.2
    """Widest time mask (SpecAugment's T)."""
    time_stretch: Share = 0.0
    """Largest relative change of tempo: 0.1 draws from 0.9 to 1.1."""
    frequency_warp: Share = 0.0
    """Largest relative warp of the Mel axis, after vocal tract length perturbation."""
    gain_db: Annotated[float, Field(ge=0.0)] = 0.0
    """Largest change of level: 6 draws from -6 to +6 dB."""
    tilt_db: Annotated[float, Field(ge=0.0)] = 0.0
    """Largest spectral tilt from the lowest to the highest Mel bin, the middle unchanged."""
    noise: Annotated[float, Field(ge=0.0)] = 0.0
    """Standard deviation of white noise added to the normalised features."""
    crop_seconds: Positive | None = None
    """Longer utterances are cut to a random stretch of this length; default: whole utterances."""


class Fitting(Section):
    """How any network is fitted, whatever it learns."""

    epochs: Count = 50
    batch_size: Count = 32
    lr: Positive = 5.0e-4
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    warmup_share: Share = 0.1
    """Share of the updates over which the rate rises to ``lr``; a cosine takes it to zero after."""
    gradient_clip: Positive | None = 1.0
    average_decay: Share = 0.0
    """Decay per update of the running average of the weights that is scored and kept; 0: none."""
    smoothing_epochs: Count = 3
    """Trailing epochs over which the epoch's validation score is averaged."""
    updates_per_epoch: Count | None = None
    """Updates in an epoch; default: as many as draw every training utterance once. Recipes with
    other numbers of utterances then have the same budget."""
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate goes on after the warm-up: to zero along a cosine or a line, or not at all."""
    patience: Count | None = None
    """Stop after so many epochs without a better one, as ``epoch_choice`` judges; default: train
    all epochs."""
    micro_batch: Count | None = None
    """Utterances that go through the network at once, gradients being summed over the batch; less
    memory, the same batch. Default: the whole batch."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """In which forward and backward passes compute (autocast; fp16 with a scaled loss); weights,
    optimiser and scores stay in float32."""
    compile: bool = False
    """Compile the network's training step with ``torch.compile``: long to start, then faster."""
    augment: Augment = Augment()

    LATER: ClassVar = frozenset({"lr_schedule", "patience", "micro_batch", "precision", "compile"})

    @field_validator("precision", mode="before")
    @classmethod
    def _as_it_is_called_here(cls, name: object) -> object:
        here = {"float16": "fp16", "half": "fp16", "bfloat16": "bf16", "fp32": "float32"}
        if isinstance(name, str) and name in here:
            raise ValueError(f"{name} is called {here[name]} here")
        return name

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.micro_batch is not None and self.micro_batch > self.batch_size:
            raise ValueError(
                f"micro_batch {self.micro_batch} is more than batch_size {self.batch_size}, which "
                "is a whole batch; lower it or leave it out"
            )
        if self.patience is not None and getattr(self, "epoch_choice", None) == "last":
            raise ValueError(
                f"patience is {self.patience} but epoch_choice is 'last', so no epoch is better "
                "than another; leave patience out or choose the epoch by validation"
            )
        return self


class Training(Fitting):
    """How a network is fitted to the emotions of a fold."""

    label_smoothing: Share = 0.0
    targets: Literal["majority", "votes"] = "majority"
    """What cross-entropy compares with: the label, or the shares of its votes, where the corpus
    has them (an utterance without votes keeps its label)."""
    class_weights: bool = True
    """Weigh cross-entropy by inverse class frequency in the training set (mean weight one)."""
    epoch_choice: Literal["validation-cross-entropy", "validation-macro-recall", "last"] = (
        "validation-cross-entropy"
    )
    batches: Literal["shuffled", "class-balanced"] = "shuffled"
    """How an epoch is dealt into batches: shuffled, or each with as equal numbers of the emotions
    as can be, so that supervised contrast finds pairs of every emotion."""


class HeadTraining(Training):
    """How layer mix and head over a frozen encoder are fitted; setting one key keeps the rest."""

    epochs: Count = 100
    lr: Positive = 3.0e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    warmup_share: Share = 0.0
    label_smoothing: Share = 0.1
