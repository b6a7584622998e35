"""What the student learns from: objectives, temperature and their schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.experiment.numbers import Count, Positive, Weight
from orchestrator.experiment.section import Section


class Objectives(Section):
    """Weights of the terms of the student's loss; 0 leaves a term out."""

    cross_entropy: Weight = 1.0
    distillation: Weight = 0.0
    """Temperature-scaled KL to the teacher's logits (Hinton et al. 2015), times T squared."""
    feature_map: Weight = 0.0
    """L1 distance to the teacher's features (Kim & Lee 2024), see ``feature_map.match``."""
    attention_transfer: Weight = 0.0
    """Distance to the attention of ``recipe.source``, see ``attention_transfer.match``."""
    supervised_contrastive: Weight = 0.0
    """Pull utterances of one emotion together and others apart (Khosla et al. 2020)."""


class SupervisedContrastive(Section):
    """How the supervised contrastive objective compares utterances of a batch."""

    temperature: Positive = 0.1
    """Of the softmax over the batch's other utterances."""
    dim: Count = 64
    """Width of the projection head's output; the head is thrown away after training."""


class FeatureMap(Section):
    """What the feature-map objective compares."""

    match: Literal["pooled", "tokens"] = "pooled"
    """``pooled``: one vector an utterance (a ViT's CLS after the last norm; an encoder's mixed mean
    over time); ``tokens``: every time step, the teacher's interpolated to the student's."""


class FixedTemperature(Section):
    """One temperature for teacher and student throughout, or where learning it starts."""

    kind: Literal["fixed"] = "fixed"
    value: Positive = 4.0


class CurriculumTemperature(Section):
    """A temperature that is trained against the student, ever more strongly (CTKD, Li et al. 2023,
    sections 3.2 and 3.3): ``start + span * sigmoid(g)``, its gradient reversed.
    """

    kind: Literal["curriculum"]
    start: Positive = 1.0
    span: Positive = 20.0
    epochs: Count = 10
    """Over which the reversed gradient's factor goes from 0 to ``-strength`` on a cosine."""
    strength: Annotated[float, Field(ge=0.0)] = 1.0
    lr: Positive = 0.05
    """Of the temperature's own gradient descent (momentum 0.9): under AdamW, which trains the
    student, the size of a gradient means nothing, and so would the reversal's factor."""
    per_instance: bool = False
    """Each utterance has its own temperature, from both networks' logits, instead of one for all.
    """


Temperature = Annotated[FixedTemperature | CurriculumTemperature, Field(discriminator="kind")]


class JointSchedule(Section):
    """All objectives from the first update to the last."""

    kind: Literal["joint"] = "joint"


class MatchingFirstSchedule(Section):
    """Kim & Lee 2024, figure of the overall process: feature maps alone, then all objectives."""

    kind: Literal["matching-first"]
    matching_epochs: Count = 50
    """Epochs of feature-map matching before the ``training.epochs`` of all objectives."""


Schedule = Annotated[JointSchedule | MatchingFirstSchedule, Field(discriminator="kind")]
