"""Which artifacts an experiment refers to, so that pruning leaves them.

Noted as empty files ``references/EXPERIMENT/STAGE/KEY`` of the store: whoever notes the same thing
at once on several machines writes the same file, and nothing is ever merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, unquote

from orchestrator.store.publication import Files

REFERENCES = "references"
_BEGUN = f"{REFERENCES}/begun"
"""Says that every command on this store notes what it refers to."""
_BEFORE = "before"
"""Says, in an experiment's folder, that it ran before references were noted."""


def begin(files: Files) -> None:
    """Once in a store's life: whoever has run on it by now is one of before.

    Raises:
        OSError: the store cannot be written.
    """
    if files.exists(_BEGUN):
        return
    for name in experiments_in(entry.name for entry in files.entries()):
        files.write(f"{_folder(name)}/{_BEFORE}", b"")
    files.write(_BEGUN, b"")


def _folder(experiment: str) -> str:
    # a variant may have any name
    return f"{REFERENCES}/{quote(experiment, safe='@')}"


class References:
    """What one experiment refers to.

    Args:
        files: of the store.
        experiment: as its results are named: its name, with ``@VARIANT`` and so on.
    """

    def __init__(self, files: Files, experiment: str) -> None:
        self._files = files
        self._folder = _folder(experiment)
        self._noted: set[tuple[str, str]] = set()

    def note(self, stage: str, key: str) -> None:
        """Note an artifact, there or not; once in the life of this object.

        Raises:
            OSError: the store cannot be written.
        """
        if (stage, key) in self._noted:
            return
        name = f"{self._folder}/{stage}/{key}"
        if not self._files.exists(name):
            self._files.write(name, b"")
        self._noted.add((stage, key))

    def complete(self) -> None:
        """Everything that the experiment needs has now been noted, also if it ran before.

        Raises:
            OSError: the store cannot be written.
        """
        if self._files.exists(f"{self._folder}/{_BEFORE}"):
            self._files.remove(f"{self._folder}/{_BEFORE}")

    def forget(self) -> None:
        """Refer to nothing any more.

        Raises:
            OSError: the store cannot be written.
        """
        self._noted.clear()
        for entry in self._files.entries(self._folder):
            self._files.remove(entry.name)


class Referrers:
    """Who refers to what, as the names of a store's files tell.

    Args:
        names: of all files of the store.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = tuple(names)
        self.of: dict[tuple[str, str], list[str]] = {}
        """By stage and key, the experiments, sorted."""
        before: set[str] = set()
        noted: set[str] = set()
        for name in sorted(names):
            top, *rest = name.split("/")
            if top != REFERENCES or len(rest) < 2:
                continue
            experiment = unquote(rest[0])
            noted.add(experiment)
            if rest[1:] == [_BEFORE]:
                before.add(experiment)
            elif len(rest) == 3:
                self.of.setdefault((rest[1], rest[2]), []).append(experiment)
        ran = set(experiments_in(names))
        self.unknown: tuple[str, ...] = tuple(sorted(before if _BEGUN in names else ran | before))
        """Experiments that refer to nobody knows what."""
        self.experiments: tuple[str, ...] = tuple(sorted(noted | ran))
        """All that have left something."""


def experiments_in(names: Iterable[str]) -> list[str]:
    """The experiments that have results, a study, or a journal and neither, by names of files.

    >>> experiments_in(["results/a@x/rows.csv", "journal/a/sweep/k/1.jsonl", "journal/b/sweep/k/1"])
    ['a@x', 'b']
    """
    found: set[str] = set()
    journals: set[str] = set()
    for name in names:
        top, _, rest = name.partition("/")
        if top == "results" and "/" in rest:
            found.add(rest.rpartition("/")[0])
        elif top == "studies" and rest.endswith(".study.db"):
            found.add(rest.removesuffix(".study.db"))
        elif top == "journal" and "/" in rest:
            journals.add(rest.partition("/")[0])
    # journals are named by the experiment alone, whatever its variant
    known = {name.partition("@")[0].removesuffix(".some-folds") for name in found}
    return sorted(found | (journals - known))
