"""Single values changed by dotted key: ``key=value`` of a command line, variants, search trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import ExperimentError
from orchestrator.experiment.reading import copied, joined, parse_yaml, shown


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """``["recipe.training.lr=5e-4"]`` as ``{"recipe.training.lr": "5e-4"}``.

    Values are YAML: ``seeds=[0, 1]``, ``recipe.teacher=null``. Of two for one key the last counts.

    Raises:
        ExperimentError: an override without ``=`` or key, or whose value is not YAML.
    """
    overrides: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            raise ExperimentError(
                f"the override {text!r} is not key=value, such as recipe.training.epochs=20"
            )
        try:
            overrides[key] = parse_yaml(value)
        except ExperimentError as error:
            raise ExperimentError(
                f"the value of the override {text!r} is not YAML ({error}); "
                "quote it for the shell and for YAML: 'key=\"value\"'"
            ) from None
    return overrides


def apply_overrides(data: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Set each dotted key of ``overrides`` in ``data``, in place; numbers index lists.

    Sections on the way are made where they are missing. A new ``kind`` starts its section afresh,
    since the other keys belonged to the old kind; so kinds are set before everything else, those of
    outer sections first.

    Raises:
        ExperimentError: a key leads into a plain value, or beyond the end of a list.
    """
    for key, value in sorted(overrides.items(), key=lambda item: _turn(item[0])):
        parent, last = _parent(data, key)
        value = copied(value)
        if isinstance(parent, list):
            parent[_index(parent, last, key)] = value
        elif last == "kind" and parent.get("kind", value) != value:
            parent.clear()
            parent["kind"] = value
        else:
            parent[last] = value


def _turn(key: str) -> int:
    """When a key is set: kinds by their depth, then all others as they came."""
    *outer, last = key.split(".")
    return len(outer) if last == "kind" else 1000


def _parent(data: dict[str, Any], key: str) -> tuple[dict[str, Any] | list[Any], str]:
    *way, last = key.split(".")
    node: Any = data
    walked = ""
    for part in way:
        if isinstance(node, list):
            index = _index(node, part, key)
            if node[index] is None:
                node[index] = {}
            node = node[index]
        else:
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
        walked = joined(walked, part)
        if not isinstance(node, dict | list):
            raise ExperimentError(
                f"the override {key} leads into {walked}, which is {shown(node)} and not a section"
            )
    return node, last


def _index(items: list[Any], part: str, key: str) -> int:
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    held = f"0 to {len(items) - 1}" if items else "none, for it is empty"
    raise ExperimentError(f"the override {key} asks a list for item {part!r}; it has {held}")
