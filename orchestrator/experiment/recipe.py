"""The ``recipe`` section: what is trained and how."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from orchestrator.experiment.curriculum import Curriculum, DataCurriculum, NoCurriculum
from orchestrator.experiment.meta import Bilevel, LearningToTeach, Meta, NoMeta
from orchestrator.experiment.networks import (
    ConvTransformer,
    InvertedTransformer,
    Satn,
    StudentNet,
    VerticalVit,
)
from orchestrator.experiment.objectives import (
    CurriculumTemperature,
    FeatureMap,
    FixedTemperature,
    JointSchedule,
    Objectives,
    Schedule,
    SupervisedContrastive,
    Temperature,
)
from orchestrator.experiment.section import Section
from orchestrator.experiment.source_fit import refuse_deaf, refuse_unlike
from orchestrator.experiment.sources import (
    AttentionTransfer,
    PretrainedSource,
    RecogniserSource,
    SourceNet,
)
from orchestrator.experiment.teachers import (
    FineTuning,
    PretrainedTeacher,
    TeacherNet,
    VerticalVitTeacher,
)
from orchestrator.experiment.training import Augment, HeadTraining, Training
from orchestrator.experiment.unlabelled import (
    NoUnlabelled,
    UnlabelledFirst,
    UnlabelledMixed,
    UnlabelledUse,
)

__all__ = [
    "AttentionTransfer",
    "Augment",
    "Bilevel",
    "ConvTransformer",
    "CurriculumTemperature",
    "DataCurriculum",
    "FeatureMap",
    "FixedTemperature",
    "HeadTraining",
    "InvertedTransformer",
    "LearningToTeach",
    "NoMeta",
    "Objectives",
    "PretrainedSource",
    "PretrainedTeacher",
    "Recipe",
    "RecogniserSource",
    "Satn",
    "Training",
    "UnlabelledFirst",
    "UnlabelledMixed",
    "VerticalVit",
    "VerticalVitTeacher",
]


class Recipe(Section):
    """What is trained and how: one point of a search space."""

    teacher: TeacherNet | None = None
    student: StudentNet
    source: SourceNet | None = None
    """A network that learned to attend by recognising speech; it has heard no emotion."""
    initialise: Literal["random", "source"] = "random"
    """What the student's convolutions and self-attention are before training: random, or the
    recogniser's of ``source``."""
    knowledge: Literal["in-sample", "cross-fitted"] = "in-sample"
    """Whether the teacher's logits on training utterances come from the fold's own teacher or from
    teachers of inner speaker folds that did not train on them."""
    objectives: Objectives = Objectives()
    feature_map: FeatureMap = FeatureMap()
    attention_transfer: AttentionTransfer = AttentionTransfer()
    supervised_contrastive: SupervisedContrastive = SupervisedContrastive()
    temperature: Temperature = FixedTemperature()
    schedule: Schedule = JointSchedule()
    curriculum: Curriculum = NoCurriculum()
    meta: Meta = NoMeta()
    unlabelled: UnlabelledUse = NoUnlabelled()
    training: Training = Training()

    @model_validator(mode="after")
    def _learns(self) -> Recipe:
        wants = self.objectives
        if not any(wants.model_dump().values()):
            raise ValueError("objectives: every weight is 0, so there is nothing to learn")
        if wants.cross_entropy == wants.distillation == 0:
            named = next(
                name
                for name in ("feature_map", "attention_transfer", "supervised_contrastive")
                if getattr(wants, name)
            )
            raise ValueError(
                f"objectives: {named} alone never trains the student's head; "
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
        if wants.supervised_contrastive and self.training.batch_size < 2:
            raise ValueError(
                f"objectives.supervised_contrastive is {wants.supervised_contrastive} but "
                "training.batch_size is 1, so no batch has two utterances to compare; raise it"
            )
        crop, heard = self.training.augment.crop_seconds, self.heard_seconds
        if crop is not None and heard is not None and crop > heard:
            what = "window" if isinstance(self.student, InvertedTransformer) else "segment"
            raise ValueError(
                f"training.augment.crop_seconds {crop} is longer than student.{what}_seconds "
                f"{heard}; leave it out to crop to the {what}"
            )
        return self

    @model_validator(mode="after")
    def _has_a_source(self) -> Recipe:
        """Raise where attention or first weights are wanted that the source cannot give."""
        weight = self.objectives.attention_transfer
        if self.source is None:
            for key, value, wanted in (
                ("objectives.attention_transfer", weight, bool(weight)),
                ("initialise", self.initialise, self.initialise == "source"),
            ):
                if wanted:
                    raise ValueError(
                        f"{key} is {value!r} but there is no source; add recipe.source, such as "
                        "{kind: recogniser}"
                    )
            return self
        if weight:
            if (
                self.attention_transfer.match == "similarity"
                and isinstance(self.unlabelled, UnlabelledMixed)
                and self.unlabelled.batch_size < 2
            ):
                raise ValueError(
                    "attention_transfer.match is 'similarity' but unlabelled.batch_size is 1, so "
                    "no batch has two utterances to compare; raise it"
                )
            refuse_deaf(
                self.student,
                self.source,
                self.attention_transfer,
                batch_size=self.training.batch_size,
            )
        if self.initialise == "source":
            refuse_unlike(self.student, self.source)
        return self

    @model_validator(mode="after")
    def _taught_by_something(self) -> Recipe:
        """Raise where curriculum, temperature, meta or unlabelled speech lack what they act on."""
        wants = self.objectives
        if isinstance(self.curriculum, DataCurriculum):
            asked = self.curriculum.difficulty
            if asked in ("teacher-loss", "teacher-probability") and self.teacher is None:
                raise ValueError(
                    f"curriculum.difficulty is {asked!r} but there is no teacher; add "
                    "recipe.teacher, or use own-loss, cross-validated-loss, agreement or random"
                )
        if isinstance(self.temperature, CurriculumTemperature) and not wants.distillation:
            raise ValueError(
                "temperature.kind is 'curriculum' but objectives.distillation is 0, so there is no "
                "temperature; give it a weight"
            )
        hotter = isinstance(self.temperature, CurriculumTemperature)
        if hotter and self.training.precision == "fp16":
            raise ValueError(
                "training.precision is 'fp16', whose loss is scaled, but temperature.kind is "
                "'curriculum', which learns from the gradient as it is; use bf16"
            )
        if isinstance(self.meta, Bilevel):
            self._bilevel(self.meta)
        if isinstance(self.meta, LearningToTeach):
            self._learning_to_teach()
        if self.unlabelled.kind != "none" and not (self.needs_teacher or wants.attention_transfer):
            raise ValueError(
                f"unlabelled.kind is {self.unlabelled.kind!r} but no objective does without labels;"
                " give objectives.distillation, feature_map or attention_transfer a weight"
            )
        return self

    def _bilevel(self, meta: Bilevel) -> None:
        wants = self.objectives
        if "temperatures" in meta.learn:
            if not wants.distillation:
                raise ValueError(
                    "meta.learn names temperatures but objectives.distillation is 0; give it a "
                    "weight, or learn weights only"
                )
            if not isinstance(self.temperature, FixedTemperature):
                raise ValueError(
                    f"meta.learn names temperatures but temperature.kind is "
                    f"{self.temperature.kind!r}; use kind: fixed, whose value is where they start"
                )
            low, high = meta.temperature_bounds
            if not low < self.temperature.value < high:
                raise ValueError(
                    f"temperature.value {self.temperature.value} is not between "
                    f"meta.temperature_bounds {[low, high]}, so learning cannot start there"
                )
        if "weights" in meta.learn and not self.learned_weights:
            raise ValueError(
                "meta.learn names weights but cross_entropy is the only objective with one, and "
                "the others are weighed against it; give another a weight"
            )

    def _learning_to_teach(self) -> None:
        if not self.objectives.distillation:
            raise ValueError(
                "meta.kind is 'learning-to-teach' but objectives.distillation is 0; "
                "give it a weight"
            )
        if self.knowledge != "in-sample":
            raise ValueError(
                f"meta.kind is 'learning-to-teach' but knowledge is {self.knowledge!r}; "
                "the teacher that is updated is the fold's own, so use in-sample"
            )
        mode = self.teacher.mode if isinstance(self.teacher, PretrainedTeacher) else None
        if isinstance(mode, FineTuning) and mode.gradient_checkpointing:
            raise ValueError(
                "meta.kind is 'learning-to-teach' but teacher.mode.gradient_checkpointing is true, "
                "which does not go with gradients through a step of the student; set it to false"
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether any objective listens to the teacher."""
        return bool(self.objectives.distillation or self.objectives.feature_map)

    @property
    def needs_source(self) -> bool:
        """Whether the student learns or begins from the source."""
        return bool(self.objectives.attention_transfer) or self.initialise == "source"

    @property
    def compares(self) -> bool:
        """Whether an objective compares the utterances of a batch with one another."""
        return bool(self.objectives.supervised_contrastive) or self.compares_unlabelled

    @property
    def compares_unlabelled(self) -> bool:
        """Whether one that needs no label does."""
        attends = bool(self.objectives.attention_transfer)
        return attends and self.attention_transfer.match == "similarity"

    @property
    def learns_from_another(self) -> bool:
        """Whether the student has anything from a teacher or a source."""
        return self.needs_teacher or self.needs_source

    @property
    def needs_held(self) -> bool:
        """Whether utterances of held speakers are used."""
        return self.meta.kind != "none" or self.meta.train_on_held

    @property
    def learned_weights(self) -> tuple[str, ...]:
        """Names of the objectives beside cross-entropy that have a weight, sorted."""
        weights = self.objectives.model_dump()
        return tuple(sorted(n for n, value in weights.items() if value and n != "cross_entropy"))

    @property
    def matching_epochs(self) -> int:
        """Epochs of feature-map matching alone, before ``training.epochs``."""
        return getattr(self.schedule, "matching_epochs", 0)

    @property
    def unlabelled_epochs(self) -> int:
        """Epochs on unlabelled speech alone, before all others."""
        return self.unlabelled.epochs if isinstance(self.unlabelled, UnlabelledFirst) else 0

    @property
    def student_augment(self) -> Augment:
        """What is done to the student's training utterances, which are cut to what the student
        hears at once.
        """
        augment = self.training.augment
        if self.heard_seconds is not None and augment.crop_seconds is None:
            return augment.model_copy(update={"crop_seconds": self.heard_seconds})
        return augment

    @property
    def heard_seconds(self) -> float | None:
        """How much of an utterance the student hears at once; None: all."""
        if isinstance(self.student, InvertedTransformer):
            return self.student.window_seconds
        return self.student.segment_seconds if isinstance(self.student, Satn) else None

    def alone(self) -> Recipe:
        """The same student with cross-entropy only and as many updates: the honest baseline."""
        total = self.training.epochs + self.matching_epochs + self.unlabelled_epochs
        return Recipe(
            student=self.student,
            # whoever the distilled student hears
            meta=NoMeta(train_on_held=getattr(self.meta, "train_on_held", False)),
            training=self.training.model_copy(update={"epochs": total}),
        )
