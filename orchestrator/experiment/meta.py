"""The ``recipe.meta`` section: what is learned on the held speakers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.experiment.numbers import Count, Positive
from orchestrator.experiment.section import Section


class NoMeta(Section):
    """No hyper-parameter of the loss is learned."""

    kind: Literal["none"] = "none"
    train_on_held: bool = False
    """Train on the held speakers too: the control for what meta-learning gets from them."""


class Bilevel(Section):
    """Temperatures and weights of the loss are learned by what a step of the student with them does
    to the held speakers' cross-entropy (after Liu et al. 2022; the update equations are inferred).
    """

    kind: Literal["bilevel"]
    learn: Annotated[tuple[Literal["temperatures", "weights"], ...], Field(min_length=1)] = (
        "temperatures",
        "weights",
    )
    """The temperatures of teacher and student, one each; the weights of all objectives that have
    one, but cross-entropy's."""
    gradient: Literal["exact", "finite-difference"] = "exact"
    """Of the outer loss: through the student's step, or by two more passes (DARTS)."""
    lr: Positive = 0.02
    """Learning rate (Adam) of what is learned."""
    interval: Count = 4
    """Updates of the student between two of the outer loss."""
    inner_lr: Positive = 0.05
    """Learning rate of the student's virtual step (plain gradient descent)."""
    temperature_bounds: tuple[Positive, Positive] = (
        1.0,
        10.0,
    )
    """What is learned stays between them; ``recipe.temperature.value`` is where it starts."""
    weight_factor: Annotated[float, Field(gt=1.0)] = 10.0
    """A learned weight stays between its value in ``objectives`` over and times this."""

    @model_validator(mode="after")
    def _ordered(self) -> Bilevel:
        low, high = self.temperature_bounds
        if low >= high:
            raise ValueError(f"temperature_bounds {[low, high]}: the first must be the lower one")
        return self


class LearningToTeach(Section):
    """The teacher is updated by what a step of the student with its logits does to the held
    speakers' cross-entropy, before the student takes that step (MetaDistil, Zhou et al. 2022).
    """

    kind: Literal["learning-to-teach"]
    lr: Positive = 1.0e-4
    """Learning rate (Adam) of the teacher."""
    interval: Count = 4
    """Updates of the student between two of the teacher."""
    inner_lr: Positive = 0.05
    """Learning rate of the student's virtual step (plain gradient descent)."""


Meta = Annotated[NoMeta | Bilevel | LearningToTeach, Field(discriminator="kind")]
