"""The base of every section of an experiment file."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails


class Section(BaseModel):
    """A frozen, strict-keyed part of an experiment file; unknown keys are errors.

    Floats accept what YAML reads as text (``5e-4``), but must be finite; bool and int do not mix.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Options that came after results had been stored: at their defaults they are no part of a
    store key, so that those results last."""

    @model_validator(mode="before")
    @classmethod
    def _bools_are_no_numbers(cls, data: Any) -> Any:
        """Refuse ``lr: true`` and ``class_weights: 1``, which pydantic would convert in silence."""
        if not isinstance(data, dict):
            return data
        faults = [
            InitErrorDetails(
                type="value_error", loc=(name,), input=data[name], ctx={"error": ValueError(said)}
            )
            for name, field in cls.model_fields.items()
            if name in data and (said := _mixed(data[name], field.annotation))
        ]
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return data


def _mixed(value: Any, wanted: Any) -> str:
    if wanted is bool and isinstance(value, int | float) and not isinstance(value, bool):
        return "it should be true or false"
    if _has_bool(value) and not _allows_bool(wanted):
        return "true and false do not fit here"
    return ""


def _has_bool(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_bool(item) for item in value)
    return isinstance(value, bool)


def _allows_bool(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_allows_bool(part) for part in get_args(annotation))
