"""From the text of an experiment file to plain data: strict YAML and environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import ExperimentError, nearest

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
"""``${NAME}`` or ``${NAME:-default}``."""


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key stands once and is text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                written = getattr(key_node, "value", "?")
                raise ExperimentError(
                    f"line {line}: the key {written!r} is not text to YAML; put it in quotes"
                )
            if key_node.value in seen:
                raise ExperimentError(
                    f"line {line}: the key {key_node.value!r} stands twice in one section (first "
                    f"on line {seen[key_node.value]}); keep one"
                )
            seen[key_node.value] = line
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str) -> Any:
    """Plain data from YAML; nothing but text, numbers, truth values, null, lists and mappings.

    Aliases come out as copies, so that changing one place never changes another.

    Raises:
        ExperimentError: the text is not YAML, a key stands twice or is not text, or an alias
            contains itself; the message begins with the line.
    """
    try:
        return copied(yaml.load(text, Loader=_StrictLoader))
    except yaml.YAMLError as error:
        raise ExperimentError(_explain(error, text)) from None
    except RecursionError:
        raise ExperimentError("an alias (*name) contains itself; write the value out") from None


def read_file(path: Path) -> dict[str, Any]:
    """The mapping that an experiment file holds, with ``${VAR}`` as written.

    Raises:
        ExperimentError: the file is missing, unreadable, not UTF-8, not YAML, or not a mapping.
    """
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        others = [str(other) for other in sorted(path.parent.glob("*.yaml"))]
        mend = f"; {nearest(str(path), others)}" if others else ""
        raise ExperimentError(f"experiment file {path} {what}{mend}")
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except ExperimentError as error:
        raise ExperimentError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise ExperimentError(
            f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise ExperimentError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"holds {shown(data)}"
        raise ExperimentError(
            f"{path} {what}, not a mapping of keys such as name, corpora and recipe; "
            "`understudy experiments list` names files to start from"
        )
    return data


def substitute(data: Any, environment: Mapping[str, str], *, source: str) -> Any:
    """``data`` with ``${VAR}`` and ``${VAR:-default}`` replaced in every text, at any depth.

    An empty variable counts as missing: an empty path would silently mean the current folder.

    Raises:
        ExperimentError: a variable without default is missing, or a ``${`` is no variable;
            the message names ``source``, key and variable.
    """

    def replace(text: str, key: str) -> str:
        def value(match: re.Match[str]) -> str:
            name, default = match.groups()
            found = environment.get(name) or default
            if found is None:
                state = "empty" if name in environment else "not set"
                raise ExperimentError(
                    f"{source}: {key} needs the environment variable {name}, which is {state}; "
                    f"`export {name}=...` or give the value as `{key}=...`"
                )
            return found

        if "${" in VARIABLE.sub("", text):
            raise ExperimentError(
                f"{source}: {key} is {shown(text)}, in which '${{' begins no variable; "
                "write ${NAME} or ${NAME:-default}"
            )
        return VARIABLE.sub(value, text)

    def walk(node: Any, key: str) -> Any:
        if isinstance(node, dict):
            return {name: walk(value, joined(key, name)) for name, value in node.items()}
        if isinstance(node, list):
            return [walk(value, joined(key, index)) for index, value in enumerate(node)]
        return replace(node, key) if isinstance(node, str) else node

    return walk(data, "")


def variables(data: Any) -> frozenset[str]:
    """The names of the environment variables that ``data`` asks for, at any depth."""
    return frozenset(match.group(1) for text in _texts(data) for match in VARIABLE.finditer(text))


def copied(node: Any) -> Any:
    """Plain data anew; what was shared is so no more."""
    if isinstance(node, dict):
        return {key: copied(value) for key, value in node.items()}
    if isinstance(node, list):
        return [copied(value) for value in node]
    return node


def joined(key: str, part: str | int) -> str:
    """A dotted key, one step deeper."""
    return f"{key}.{part}" if key else str(part)


def shown(value: Any, *, width: int = 70) -> str:
    """A value as an error message quotes it: Python's notation, cut at ``width`` characters."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _texts(value)


def _explain(error: yaml.YAMLError, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"not YAML: {' '.join(str(error).split())}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    problem = getattr(error, "problem", None) or "it ends too early"
    unquoted = re.sub(r"\"[^\"]*\"|'[^']*'", "", line)
    mend = ""
    if "${" in unquoted:
        mend = (
            "; inside braces or brackets YAML takes the { of ${...} for its own: "
            'quote it, as in "${NAME}"'
        )
    elif "\t" in line:
        mend = "; YAML allows no tab as indentation, use spaces"
    return f"line {mark.line + 1}, column {mark.column + 1}: not YAML: {problem}{mend}"
