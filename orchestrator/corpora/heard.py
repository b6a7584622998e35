"""The memory of what was heard, so that thousands of files are not decoded at every command."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import soundfile

from orchestrator.corpora.audio import CHECKS_VERSION, Heard, Progress, examine_in_order
from orchestrator.corpora.listing import AudioSource, Problem

FILE: Final = "heard.jsonl"
"""Name of the memory in the folder that the caller gives; one JSON document a line."""

FORGOTTEN: Final = ("missing", "unreadable")
"""Problems that are never remembered: a copy, a permission or a decoder may come at any time
without a change to the file."""


@dataclass(frozen=True)
class _State:
    """What a file was like when it was examined; another state is another file."""

    size: int
    modified: int
    source: str


_Known = dict[str, tuple[_State, Heard | Problem]]
"""By absolute path."""


def examine_remembered(
    paths: Sequence[str],
    *,
    source: AudioSource,
    memory: Path | None = None,
    progress: Progress | None = None,
) -> list[Heard | Problem]:
    """``audio.examine`` every path, in order, but those whose file is as it was the last time.

    A file counts as unchanged while path, size, time of modification, the kind of its source, the
    version of the checks and those of the decoders stay as they were. What was heard before an
    interruption is remembered too.

    Args:
        paths: of the source; those that are no files are examined every time.
        source: reads them.
        memory: folder of the memory, made if missing; None remembers nothing. A memory that
            cannot be read or written costs time, never a result.
        progress: told how many are done, the remembered ones first.
    """
    states = [_state(path, source) for path in paths]
    known = {} if memory is None else _load(memory / FILE)
    found: list[Heard | Problem | None] = [None] * len(paths)
    new: list[int] = []
    for place, (path, state) in enumerate(zip(paths, states, strict=True)):
        before = known.get(os.path.abspath(path))
        if state is not None and before is not None and before[0] == state:
            found[place] = before[1]
        else:
            new.append(place)
    fresh: _Known = {}
    done = len(paths) - len(new)
    if progress is not None and paths:
        progress(done, len(paths))
    try:
        with closing(examine_in_order([paths[place] for place in new], source=source)) as each:
            for place, one in zip(new, each, strict=True):
                found[place] = one
                state = states[place]
                if state is not None and not _forgotten(one):
                    fresh[os.path.abspath(paths[place])] = (state, one)
                done += 1
                if progress is not None:
                    progress(done, len(paths))
    finally:
        if memory is not None and fresh:
            # Read again: another command may have written in the meantime.
            _save(memory / FILE, _load(memory / FILE) | fresh)
    return [one for one in found if one is not None]


def _forgotten(one: Heard | Problem) -> bool:
    return isinstance(one, Problem) and one.kind in FORGOTTEN


def _state(path: str, source: AudioSource) -> _State | None:
    """What the file at ``path`` is like now; None if it is none."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    kind = f"{type(source).__module__}.{type(source).__qualname__}"
    return _State(size=stat.st_size, modified=stat.st_mtime_ns, source=kind)


def _header() -> dict[str, Any]:
    """The first line; a memory with another one is not used."""
    decoders = {"libsndfile": soundfile.__libsndfile_version__}
    with suppress(PackageNotFoundError):
        decoders["av"] = version("av")
    return {"file": "understudy heard", "checks": CHECKS_VERSION, **decoders}


def _load(file: Path) -> _Known:
    """What is remembered; nothing if the file is missing, damaged, or of other checks."""
    try:
        with file.open(encoding="utf-8") as lines:
            if json.loads(next(lines, "null")) != _header():
                return {}
            return dict(_read(line) for line in lines)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _read(line: str) -> tuple[str, tuple[_State, Heard | Problem]]:
    """One line of the memory; raises where it is not what ``_write`` wrote."""
    held = json.loads(line)
    state = _State(
        size=int(held["size"]), modified=int(held["modified"]), source=str(held["source"])
    )
    problems = tuple(
        Problem(kind=str(one["kind"]), text=str(one["text"])) for one in held["problems"]
    )
    if "content" not in held:
        (fatal,) = problems
        return str(held["path"]), (state, fatal)
    heard = Heard(duration=float(held["duration"]), content=str(held["content"]), problems=problems)
    return str(held["path"]), (state, heard)


def _lines(known: Mapping[str, tuple[_State, Heard | Problem]]) -> Iterator[str]:
    yield json.dumps(_header())
    for path, (state, one) in known.items():
        problems = (one,) if isinstance(one, Problem) else one.problems
        held: dict[str, Any] = {
            "path": path,
            "size": state.size,
            "modified": state.modified,
            "source": state.source,
            "problems": [{"kind": problem.kind, "text": problem.text} for problem in problems],
        }
        if isinstance(one, Heard):
            held |= {"duration": one.duration, "content": one.content}
        yield json.dumps(held)


def _save(file: Path, known: _Known) -> None:
    """Write the memory whole or not at all."""
    partial = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=file.parent, prefix=f".{FILE}.", delete=False
        ) as stream:
            partial = stream.name
            stream.writelines(f"{line}\n" for line in _lines(known))
        os.replace(partial, file)
    except OSError:
        # It is a memory only: without it the files are heard again.
        if partial:
            with suppress(OSError):
                os.unlink(partial)
