"""What lies in a store: artifacts and who refers to them, states of fits, leftovers, results."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.store.publication import INPUTS, MANIFEST, Entry, LocalFiles, holder, is_partial
from orchestrator.store.references import REFERENCES, Referrers
from orchestrator.store.store import ARTIFACTS, BUILDING, CHECKPOINTS, DAMAGED, FIT, LOCKS, Store
from orchestrator.store.use import running

PRUNED = "pruned-"
"""Beginning of what pruning has put under ``building/`` to remove it there."""
RESULTS, JOURNAL, STUDIES = "results", "journal", "studies"

_OWN = (ARTIFACTS, BUILDING, CHECKPOINTS, DAMAGED, LOCKS)
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact, or what is left of one."""

    stage: str
    key: str
    files: tuple[Entry, ...]
    users: tuple[str, ...]
    """Experiments that refer to it, sorted."""

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(entry.size for entry in self.files)

    @property
    def made(self) -> float:
        """When it was last written to, seconds since 1970."""
        return max(entry.touched for entry in self.files)

    @property
    def manifest(self) -> str | None:
        """Name of the file that says it is whole; None where it is missing."""
        return self._named(MANIFEST)

    @property
    def inputs(self) -> str | None:
        """Name of the file that says what it was made from; None where it is missing."""
        return self._named(INPUTS)

    def _named(self, name: str) -> str | None:
        own = (entry.name for entry in self.files if entry.name.endswith(f"/{self.key}/{name}"))
        return next(own, None)


@dataclass(frozen=True)
class StoredFit:
    """The states of a fit that has not ended, or whose end nobody cleared up after."""

    stage: str
    folder: str
    """Its name below the store."""
    key: str
    """Of the artifact that the fit makes."""
    size: int
    touched: float
    sealed: bool
    """Whether that artifact is there."""
    holder: str | None
    """Who is at it on this machine, in words."""


@dataclass(frozen=True)
class Leftover:
    """What somebody who died left, or what was damaged."""

    kind: str
    """``damaged``, ``building``, ``write`` (of one file) or ``upload``."""
    name: str
    """Of the file or folder, below the store or, if ``here``, below its folder on this machine."""
    size: int
    touched: float
    here: bool
    holder: str | None = None
    """Who is at it on this machine, in words."""
    files: tuple[str, ...] = ()
    """Names of its files."""


@dataclass(frozen=True)
class Contents:
    """All that lies in a store."""

    artifacts: tuple[StoredArtifact, ...]
    copies: tuple[StoredArtifact, ...]
    """Of artifacts of a store that is not local, on this machine."""
    fits: tuple[StoredFit, ...]
    leftovers: tuple[Leftover, ...]
    others: Mapping[str, tuple[Entry, ...]]
    """By kind (``results``, ``journal``, ``studies``, ``references``, ``other``), the rest."""
    referrers: Referrers
    running: tuple[str, ...]
    """Commands of this machine that use the store now, in words."""

    @property
    def experiments(self) -> tuple[str, ...]:
        """All that have left something."""
        return self.referrers.experiments


def read_contents(store: Store) -> Contents:
    """All that lies in a store; works while others use it.

    Raises:
        StoreError: it cannot be read.
    """
    with store.reading():
        there = store.files.entries()
        here = LocalFiles(store.folder).entries() if store.remote else there
        referrers = Referrers(entry.name for entry in there)
        artifacts = _artifacts(there, referrers)
        whole = {(one.stage, one.key) for one in artifacts if one.manifest}
        uploads = _uploads(store, artifacts) if store.remote else ()
        return Contents(
            artifacts=tuple(one for one in artifacts if one.manifest or not store.remote),
            copies=_artifacts(here, referrers) if store.remote else (),
            fits=tuple(_fits(store, there, whole)),
            leftovers=(*_leftovers(store, here, there), *uploads),
            others=_others(there, here),
            referrers=referrers,
            running=running(store),
        )


def what(store: Store, artifact: StoredArtifact) -> str:
    """What an artifact was made from, in a few words, as its ``inputs.json`` says."""
    if artifact.inputs is None:
        return f"{INPUTS} is missing"
    try:
        told = json.loads(store.files.read(artifact.inputs))
        return _in_words(artifact.stage, dict(told["inputs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return f"{INPUTS} is unreadable"


def _in_words(stage: str, inputs: dict[str, Any]) -> str:
    """Kind, fold, seed and number of utterances, as far as there are any.

    >>> _in_words("student", {"student": {"kind": "satn"}, "fold": "speaker=03", "seed": 1,
    ...     "train": {"n": 300}})
    'satn, speaker=03, seed 1, 300 utterances'
    """
    section = inputs.get(stage)
    words = [section["kind"]] if isinstance(section, dict) and "kind" in section else []
    words += [str(inputs[name]) for name in ("kind", "fold") if name in inputs]
    if "seed" in inputs:
        words.append(f"seed {inputs['seed']}")
    words += [f"{of} {inputs[of][:12]}" for of in ("trained", "teacher") if _is_key(inputs, of)]
    heard = inputs.get("train", inputs.get("utterances"))
    n = heard.get("n") if isinstance(heard, dict) else len(heard) if heard else None
    return ", ".join([*words, *([f"{n} utterances"] if n is not None else [])])


def _is_key(inputs: Mapping[str, Any], name: str) -> bool:
    return isinstance(inputs.get(name), str) and _KEY.fullmatch(inputs[name]) is not None


def _grouped(
    entries: Iterable[Entry], group: Callable[[list[str]], str | None]
) -> dict[str, tuple[Entry, ...]]:
    """Files by what ``group`` says of their names' parts; those of which it says None left out."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        name = group(entry.name.split("/"))
        if name is not None:
            found.setdefault(name, []).append(entry)
    return {name: tuple(own) for name, own in found.items()}


def _artifacts(entries: Iterable[Entry], referrers: Referrers) -> tuple[StoredArtifact, ...]:
    def place(parts: list[str]) -> str | None:
        # on a local disk there is a folder of the key's first two digits between stage and key
        keys = [part for part in parts[2:4] if _KEY.fullmatch(part)]
        return f"{parts[1]}/{keys[0]}" if parts[0] == ARTIFACTS and keys else None

    found = []
    for name, files in sorted(_grouped(entries, place).items()):
        stage, key = name.split("/")
        users = tuple(referrers.of.get((stage, key), ()))
        found.append(StoredArtifact(stage, key, files, users))
    return tuple(found)


def _fits(
    store: Store, entries: Iterable[Entry], whole: set[tuple[str, str]]
) -> Iterable[StoredFit]:
    def place(parts: list[str]) -> str | None:
        return "/".join(parts[:3]) if parts[0] == CHECKPOINTS and len(parts) > 3 else None

    for folder, files in sorted(_grouped(entries, place).items()):
        stage, key = folder.split("/")[1:]
        # nobody may have said, or not to the end
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            key = str(json.loads(store.files.read(f"{folder}/{FIT}"))["key"])
        yield StoredFit(
            stage=stage,
            folder=folder,
            key=key,
            size=_size(files),
            touched=max(entry.touched for entry in files),
            sealed=(stage, key) in whole,
            holder=holder(store.lock(key)),
        )


def _leftovers(store: Store, here: Iterable[Entry], there: Iterable[Entry]) -> Iterable[Leftover]:
    def aside(parts: list[str]) -> str | None:
        return "/".join(parts[:2]) if parts[0] in (BUILDING, DAMAGED) and parts[1:] else None

    for name, files in sorted(_grouped(here, aside).items()):
        top, own = name.split("/")
        key = _KEY.match(own)
        lock = None
        if top == BUILDING and key is not None:
            fetched = own[64:].startswith("-fetch")
            lock = store.fetch_lock(key[0]) if fetched else store.lock(key[0])
        yield Leftover(
            kind=top,
            name=name,
            size=_size(files),
            touched=max(entry.touched for entry in files),
            here=True,
            holder=None if lock is None else holder(lock),
        )
    for entry in there:
        top, _, last = entry.name.partition("/")
        if top not in (ARTIFACTS, BUILDING, DAMAGED, CHECKPOINTS) and is_partial(last):
            yield Leftover(
                "write", entry.name, entry.size, entry.touched, False, None, (entry.name,)
            )


def _uploads(store: Store, artifacts: Iterable[StoredArtifact]) -> Iterable[Leftover]:
    """Uploads that no manifest names: under way, or given up."""
    for one in artifacts:
        base = f"{ARTIFACTS}/{one.stage}/{one.key}"

        def upload(parts: list[str]) -> str | None:
            return parts[3] if len(parts) > 4 else None

        tokens = _grouped(one.files, upload)
        if one.manifest is None:
            groups = {base: one.files}
        elif len(tokens) > 1:
            try:
                named = str(json.loads(store.files.read(one.manifest))["folder"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            groups = {f"{base}/{t}": files for t, files in tokens.items() if t != named}
        else:
            continue
        for name, files in groups.items():
            yield Leftover(
                kind="upload",
                name=name,
                size=_size(files),
                touched=max(entry.touched for entry in files),
                here=False,
                files=tuple(entry.name for entry in files),
            )


def _others(there: Iterable[Entry], here: Iterable[Entry]) -> dict[str, tuple[Entry, ...]]:
    known = (RESULTS, JOURNAL, STUDIES, REFERENCES)

    def kind(parts: list[str]) -> str | None:
        if parts[0] in _OWN or is_partial(parts[-1]):
            return None
        return parts[0] if parts[0] in known and parts[1:] else "other"

    entries = {entry.name: entry for entry in (*here, *there)}
    return _grouped(entries.values(), kind)


def _size(files: Iterable[Entry]) -> int:
    return sum(entry.size for entry in files)
