"""The base of every section of an experiment file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen, strict-keyed part of an experiment file; unknown keys are errors.

    Floats accept what YAML reads as text (``5e-4``); bool and int do not mix.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
