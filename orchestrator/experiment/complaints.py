"""From pydantic's validation errors to one paragraph: key, value, expectation, nearest name."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import nearest
from orchestrator.experiment.reading import joined, shown
from orchestrator.experiment.section import Section

SHOWN = 3
"""Faults told in full; the rest are counted."""


def paragraph(error: ValidationError, root: type[Section], *, source: Callable[[str], str]) -> str:
    """The faults of ``error`` in words.

    Args:
        error: from validating ``root``.
        root: the model of the whole file.
        source: from a dotted key to what set it (the file, a variant, an override).
    """
    faults = []
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "too_short" and any(_inside(other, detail) for other in details):
            continue  # pydantic counts only the items that are right
        key, section = _locate(detail["loc"], root)
        faults.append(f"{source(key)}: {_fault(detail, key, section, root)}")
    more = [f"and {len(faults) - SHOWN} more like these"] if len(faults) > SHOWN else []
    return "; ".join([*faults[:SHOWN], *more])


def _fault(
    detail: ErrorDetails, key: str, section: type[Section] | None, root: type[Section]
) -> str:
    value = shown(detail["input"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r} (value {value}); {_suggest(key, section, root)}"
        case "missing":
            return f"{key!r} is missing and has no default; add it"
        case "union_tag_not_found":
            return f"{key!r} has no 'kind'; give one of {_kinds_at(key, root)}"
        case "union_tag_invalid":
            kinds = _quoted(str(context["expected_tags"]))
            return (
                f"{joined(key, 'kind')!r} is {context['tag']!r}; {nearest(context['tag'], kinds)}"
            )
        case "literal_error":
            known = _quoted(str(context["expected"]))
            return f"{key!r} is {value}; {nearest(str(detail['input']), known)}"
        case "value_error":
            said = str(context["error"])
            plain = not isinstance(detail["input"], dict | Section)
            about = f"{key!r} is {value}: " if plain else f"{key!r}: " if key else ""
            return f"{about}{said}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{key!r} is {value}; it should be a section with keys of its own"
        case "too_short":
            return f"{key!r} is {value}; it should have at least {context['min_length']} item(s)"
        case "too_long":
            return f"{key!r} is {value}; it should have at most {context['max_length']} item(s)"
        case "tuple_type":
            return f"{key!r} is {value}; it should be a list in brackets, such as [0, 1]"
        case "string_type":
            return f"{key!r} is {value}; it should be text, so put it in quotes"
    said = detail["msg"].replace("Input should", "it should", 1)
    return f"{key!r} is {value}; {said[:1].lower()}{said[1:]}"


def _kinds_at(key: str, root: type[Section]) -> str:
    """The kinds that the section at ``key`` can have, quoted and joined."""
    annotation: Any = root
    for part in key.split("."):
        annotation = _step(annotation, part)
    return ", ".join(repr(kind) for kind in _kinds(annotation))


def _inside(detail: ErrorDetails, around: ErrorDetails) -> bool:
    depth = len(around["loc"])
    return len(detail["loc"]) > depth and detail["loc"][:depth] == around["loc"]


def _locate(loc: Sequence[str | int], root: type[Section]) -> tuple[str, type[Section] | None]:
    """The dotted key of an error, without pydantic's union tags, and the section around it."""
    key = ""
    annotation: Any = root
    section: type[Section] | None = root
    for part in loc:
        kinds = _kinds(annotation)
        if part in kinds:
            annotation = kinds[str(part)]
            continue
        if part == "[key]":
            continue
        choices = _choices(annotation)
        section = choices[0] if len(choices) == 1 and _is_section(choices[0]) else None
        annotation = _step(annotation, part)
        key = joined(key, part)
    return key, section


def _step(annotation: Any, part: str | int) -> Any:
    """The annotation one key or index deeper; Any where there is none."""
    for choice in _choices(annotation):
        if _is_section(choice):
            if part in choice.model_fields:
                return choice.model_fields[str(part)].annotation
        elif get_origin(choice) in (tuple, list):
            return get_args(choice)[0]
        elif get_origin(choice) is dict:
            return get_args(choice)[1]
    return Any


def _choices(annotation: Any) -> list[Any]:
    """What a value may be, through Annotated and unions, without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _choices(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [leaf for part in get_args(annotation) for leaf in _choices(part)]
    return [] if annotation is type(None) else [annotation]


def _kinds(annotation: Any) -> dict[str, type[Section]]:
    """The sections of a union by their ``kind``; empty when there is no choice."""
    sections = [choice for choice in _choices(annotation) if _is_section(choice)]
    if len(sections) < 2:
        return {}
    return {
        str(kind): section
        for section in sections
        for kind in get_args(section.model_fields["kind"].annotation)
    }


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _suggest(key: str, section: type[Section] | None, root: type[Section]) -> str:
    """The nearest key of the right section, or the places where a key of that name belongs."""
    name = key.rpartition(".")[2]
    known = list(section.model_fields) if section else []
    guess = nearest(name, known)
    if not guess.startswith("did you mean"):
        homes = sorted({path for path in _keys(root, "") if path.endswith(f".{name}")}, key=_depth)
        if re.sub(r"\.\d+\.", ".0.", key) in homes:
            return f"another kind has it, this one has {', '.join(sorted(known))}"
        if homes:
            return f"it belongs in {' or '.join(homes[:SHOWN])}"
    return guess


def _depth(key: str) -> tuple[int, str]:
    """The keys that a hand comes across first go first."""
    return key.count("."), key


def _keys(annotation: Any, key: str) -> Iterator[str]:
    """Every dotted key that some file could have; lists are walked at index 0."""
    for choice in _choices(annotation):
        if _is_section(choice):
            for name, field in choice.model_fields.items():
                yield joined(key, name)
                yield from _keys(field.annotation, joined(key, name))
        elif get_origin(choice) is tuple:
            yield from _keys(get_args(choice)[0], joined(key, 0))


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)
