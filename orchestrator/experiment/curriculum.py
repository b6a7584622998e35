"""The ``recipe.curriculum`` section: which training utterances an epoch draws from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from orchestrator.experiment.numbers import Portion
from orchestrator.experiment.section import Section


class LinearPacing(Section):
    """The share of easiest utterances grows by the same amount each epoch."""

    kind: Literal["linear"]
    start: Portion = 0.3
    """Share of the training utterances that the first epoch draws from."""
    grow_share: Portion = 0.5
    """Share of the epochs after which all are drawn."""


class RootPacing(Section):
    """Fast at first, then slower: the power of the share grows evenly."""

    kind: Literal["root"]
    start: Portion = 0.3
    grow_share: Portion = 0.5
    power: Annotated[float, Field(ge=1.0)] = 2.0
    """1 is linear, 2 the square root."""


class GeometricPacing(Section):
    """Slow at first, then faster: the logarithm of the share grows evenly."""

    kind: Literal["geometric"]
    start: Portion = 0.3
    grow_share: Portion = 0.5


class ExponentialPacing(Section):
    """The share is multiplied after every so many epochs (Hacohen & Weinshall 2019)."""

    kind: Literal["exponential"]
    start: Portion = 0.1
    increase: Annotated[float, Field(gt=1.0)] = 1.9
    """Factor at each step."""
    step_share: Portion = 0.1
    """Share of the epochs between steps."""


class BabySteps(Section):
    """An equal part is added after every so many epochs, the first at once."""

    kind: Literal["baby-steps"]
    start: Portion = 0.1
    increase: Portion = 0.2
    """Share added at each step."""
    step_share: Portion = 0.1


class OneStep(Section):
    """The easiest, and from one epoch on all (Hacohen & Weinshall 2019, single step)."""

    kind: Literal["one-step"]
    start: Portion = 0.3
    step_share: Portion = 0.3
    """Share of the epochs before the step."""


Pacing = Annotated[
    LinearPacing | RootPacing | GeometricPacing | ExponentialPacing | BabySteps | OneStep,
    Field(discriminator="kind"),
]


class NoCurriculum(Section):
    """Every epoch draws every training utterance."""

    kind: Literal["none"] = "none"


class DataCurriculum(Section):
    """Epochs draw from the easiest training utterances first; the updates stay as many."""

    kind: Literal["data"]
    difficulty: Literal[
        "teacher-loss",
        "teacher-probability",
        "agreement",
        "own-loss",
        "cross-validated-loss",
        "random",
    ] = "teacher-loss"
    """The teacher's cross-entropy or its probability of the label; the share of listeners who chose
    the label (annotators' agreement, or human recognition); the student's own loss before each
    epoch (self-paced); the loss of such students trained on other speakers; or a random order, as a
    control."""
    knowledge: Literal["cross-fitted", "in-sample"] = "cross-fitted"
    """Whether the teacher's loss and probability are those of teachers that were not fitted to the
    utterance's speaker, or as a control of the fold's own, which remembers its mistakes."""
    order: Literal["easy-first", "hard-first"] = "easy-first"
    """``hard-first`` is the anti-curriculum, a control."""
    balanced: bool = True
    """Take the easiest of every emotion in proportion, so that the easy ones are not all of one."""
    pacing: Pacing = LinearPacing(kind="linear")

    @field_validator("pacing", mode="before")
    @classmethod
    def _linear(cls, pacing: Any) -> Any:
        """Parameters alone are of the default pacing."""
        if isinstance(pacing, dict) and "kind" not in pacing:
            return {"kind": "linear", **pacing}
        return pacing

    @model_validator(mode="after")
    def _asks_the_teacher(self) -> DataCurriculum:
        teachers = ("teacher-loss", "teacher-probability")
        if self.knowledge != "cross-fitted" and self.difficulty not in teachers:
            raise ValueError(
                f"curriculum.knowledge is {self.knowledge!r} but difficulty is "
                f"{self.difficulty!r}, which asks no teacher; leave knowledge out, or use "
                "teacher-loss"
            )
        return self


Curriculum = Annotated[NoCurriculum | DataCurriculum, Field(discriminator="kind")]
