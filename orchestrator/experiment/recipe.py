"""The ``recipe`` section: what is trained and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.experiment.section import Section

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


class Augment(Section):
    """What is done to a training utterance each time it is drawn; knowledge is of it unchanged."""

    frequency_masks: Annotated[int, Field(ge=0)] = 0
    frequency_width: Count = 8
    """Widest frequency mask in Mel bins (SpecAugment's F)."""
    time_masks: Annotated[int, Field(ge=0)] = 0
    time_width_seconds: Annotated[float, Field(gt=0.0)] = 0.2
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
    crop_seconds: Annotated[float, Field(gt=0.0)] | None = None
    """Longer utterances are cut to a random stretch of this length; default: whole utterances."""


class Training(Section):
    """How a network is fitted to a fold."""

    epochs: Count = 50
    batch_size: Count = 32
    lr: Annotated[float, Field(gt=0.0)] = 5.0e-4
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    warmup_share: Share = 0.1
    """Share of the updates over which the rate rises to ``lr``; a cosine takes it to zero after."""
    gradient_clip: Annotated[float, Field(gt=0.0)] | None = 1.0
    label_smoothing: Share = 0.0
    targets: Literal["majority", "votes"] = "majority"
    """What cross-entropy compares with: the label, or the shares of its votes, where the corpus
    has them (an utterance without votes keeps its label)."""
    class_weights: bool = True
    """Weigh cross-entropy by inverse class frequency in the training set (mean weight one)."""
    average_decay: Share = 0.0
    """Decay per update of the running average of the weights that is scored and kept; 0: none."""
    epoch_choice: Literal["validation-cross-entropy", "validation-macro-recall", "last"] = (
        "validation-cross-entropy"
    )
    smoothing_epochs: Count = 3
    """Trailing epochs over which the epoch's validation score is averaged."""
    augment: Augment = Augment()


class HeadTraining(Training):
    """How layer mix and head over a frozen encoder are fitted; setting one key keeps the rest."""

    epochs: Count = 100
    lr: Annotated[float, Field(gt=0.0)] = 3.0e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    warmup_share: Share = 0.0
    label_smoothing: Share = 0.1


class VerticalVit(Section):
    """The vertical-patch vision transformer of Kim & Lee 2024; the defaults are their student."""

    kind: Literal["vertical-vit"]
    dim: Count = 256
    depth: Count = 3
    heads: Count = 5
    head_dim: Count = 64
    mlp_dim: Count = 256
    patch_frames: Count = 1
    """Width of a patch in frames."""
    patch_bins: Count | None = None
    """Height of a patch in Mel bins; default: all of them, the vertical patch."""
    conv_stem: bool = False
    """Six 3x3 convolutions with instance norm before the patches (the paper's teacher)."""
    coordinates: bool = False
    """Concatenate the two coordinates of each pixel before the patches (the paper's teacher)."""
    dropout: Share = 0.0


class ConvTransformer(Section):
    """A small log-Mel student: strided 2-D convolutions, a transformer, attentive pooling."""

    kind: Literal["conv-transformer"]
    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 64, 96)
    """Widths of the convolution blocks; each halves the Mel axis, the first two halve time."""
    dim: Count = 144
    depth: Annotated[int, Field(ge=0)] = 2
    heads: Count = 4
    mlp_dim: Count = 288
    dropout: Share = 0.0

    @model_validator(mode="after")
    def _heads_share(self) -> ConvTransformer:
        if self.dim % self.heads:
            raise ValueError(f"heads {self.heads} does not divide dim {self.dim}")
        return self


StudentNet = Annotated[VerticalVit | ConvTransformer, Field(discriminator="kind")]


class VerticalVitTeacher(VerticalVit):
    """A vertical-patch ViT trained on the fold; ``training`` defaults to the recipe's own."""

    kind: Literal["vertical-vit"]
    training: Training | None = None


class PretrainedTeacher(Section):
    """A frozen ``transformers`` speech encoder; layer mix, pooling and head are fitted per fold."""

    kind: Literal["pretrained"]
    root: str
    """Folder of the encoder: config.json, weights, preprocessor_config.json."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Hidden states to mix, 0 being the input of the first block; default: all."""
    pooling: Literal["mean", "statistics"] = "mean"
    """Over time, of each layer: the mean, or the mean and the standard deviation."""
    frames: bool = True
    """Keep the layers' frames in the store (half precision): needed to match tokens."""
    training: HeadTraining = HeadTraining()
    """How the mix and the head are fitted; there is no augmentation."""

    @model_validator(mode="after")
    def _no_augmentation(self) -> PretrainedTeacher:
        if self.training.augment != Augment():
            raise ValueError(
                "augment has no effect on a frozen encoder, whose outputs are computed once; "
                "remove it from teacher.training"
            )
        return self


TeacherNet = Annotated[VerticalVitTeacher | PretrainedTeacher, Field(discriminator="kind")]


class Objectives(Section):
    """Weights of the terms of the student's loss; 0 leaves a term out."""

    cross_entropy: Weight = 1.0
    distillation: Weight = 0.0
    """Temperature-scaled KL to the teacher's logits (Hinton et al. 2015), times T squared."""
    feature_map: Weight = 0.0
    """L1 distance to the teacher's features (Kim & Lee 2024), see ``feature_map.match``."""


class FeatureMap(Section):
    """What the feature-map objective compares."""

    match: Literal["pooled", "tokens"] = "pooled"
    """``pooled``: one vector an utterance (a ViT's CLS after the last norm; an encoder's mixed mean
    over time); ``tokens``: every time step, the teacher's interpolated to the student's."""


class FixedTemperature(Section):
    """One temperature for teacher and student throughout."""

    kind: Literal["fixed"] = "fixed"
    value: Annotated[float, Field(gt=0.0)] = 4.0


class JointSchedule(Section):
    """All objectives from the first update to the last."""

    kind: Literal["joint"] = "joint"


class MatchingFirstSchedule(Section):
    """Kim & Lee 2024, figure of the overall process: feature maps alone, then all objectives."""

    kind: Literal["matching-first"]
    matching_epochs: Count = 50
    """Epochs of feature-map matching before the ``training.epochs`` of all objectives."""


Schedule = Annotated[JointSchedule | MatchingFirstSchedule, Field(discriminator="kind")]


class NoCurriculum(Section):
    """Every epoch draws every training utterance."""

    kind: Literal["none"] = "none"


class NoMeta(Section):
    """No hyper-parameter of the loss is learned."""

    kind: Literal["none"] = "none"


class Recipe(Section):
    """What is trained and how: one point of a search space."""

    teacher: TeacherNet | None = None
    student: StudentNet
    knowledge: Literal["in-sample", "cross-fitted"] = "in-sample"
    """Whether the teacher's logits on training utterances come from the fold's own teacher or from
    teachers of inner speaker folds that did not train on them."""
    objectives: Objectives = Objectives()
    feature_map: FeatureMap = FeatureMap()
    temperature: FixedTemperature = FixedTemperature()
    schedule: Schedule = JointSchedule()
    curriculum: NoCurriculum = NoCurriculum()
    meta: NoMeta = NoMeta()
    training: Training = Training()

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        wants = self.objectives
        if wants.cross_entropy == wants.distillation == wants.feature_map == 0:
            raise ValueError("objectives: every weight is 0, so there is nothing to learn")
        if wants.cross_entropy == wants.distillation == 0:
            raise ValueError(
                "objectives: feature_map alone never trains the student's head; "
                "give cross_entropy or distillation a weight"
            )
        if self.teacher is None and (wants.distillation or wants.feature_map):
            named = "distillation" if wants.distillation else "feature_map"
            raise ValueError(
                f"objectives.{named} is {getattr(wants, named)} but there is no teacher; "
                "add recipe.teacher or set the weight to 0"
            )
        if self.schedule.kind == "matching-first" and not wants.feature_map:
            raise ValueError(
                "schedule.kind is 'matching-first' but objectives.feature_map is 0; "
                "give it a weight or use the joint schedule"
            )
        if (
            isinstance(self.teacher, PretrainedTeacher)
            and wants.feature_map
            and self.feature_map.match == "tokens"
            and not self.teacher.frames
        ):
            raise ValueError(
                "feature_map.match is 'tokens' but teacher.frames is false; set it to true"
            )
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether any objective listens to the teacher."""
        return bool(self.objectives.distillation or self.objectives.feature_map)

    @property
    def matching_epochs(self) -> int:
        """Epochs of feature-map matching alone, before ``training.epochs``."""
        return getattr(self.schedule, "matching_epochs", 0)

    def alone(self) -> Recipe:
        """The same student with cross-entropy only and as many updates: the honest baseline."""
        total = self.training.epochs + self.matching_epochs
        return Recipe(
            student=self.student,
            training=self.training.model_copy(update={"epochs": total}),
        )
