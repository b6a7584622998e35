"""Which store somebody means: a folder, a URI, or that of an experiment file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.reading import read_file, substitute
from orchestrator.store.store import Store

USUAL = str(Experiment.model_fields["store"].default)
"""Where an experiment's store is unless its file says otherwise."""
_SIGNS = ("artifacts", "results", "journal", "studies", "references", "checkpoints")
"""Folders of which a store has at least one."""


def find_store(named: str | None, *, environment: Mapping[str, str] | None = None) -> Store:
    """The store that ``named`` says.

    Args:
        named: a folder, a URI, or an experiment file, of which only ``store`` is read, so that no
            corpus has to be there; default: the usual folder, if it is there.
        environment: for ``${VAR}`` in the file; default ``os.environ``.

    Raises:
        InputError: there is no store.
        StoreError: the URI cannot be opened.
    """
    if named is None and not Path(USUAL).is_dir():
        raise InputError(
            f"which store? There is no {USUAL} here; give its folder, its URI, or an experiment "
            "file that names it"
        )
    place, source = named or USUAL, ""
    if Path(place).suffix in (".yaml", ".yml"):
        file = Path(place).expanduser()
        told = {"store": read_file(file).get("store", USUAL)}
        names = os.environ if environment is None else environment
        place, source = str(substitute(told, names, source=str(file))["store"]), f" of {file}"
    store = Store(place)
    if store.remote:
        return store
    if not store.folder.is_dir():
        what = "is a file" if store.folder.exists() else "does not exist"
        mend = "nothing has run on it yet, or from another folder" if source else "check its path"
        raise InputError(f"the store {store.folder}{source} {what}; {mend}")
    if not any((store.folder / sign).is_dir() for sign in _SIGNS):
        raise InputError(
            f"{store.folder} is no store: it holds none of the folders {', '.join(_SIGNS)}; give "
            "the folder that an experiment names as its store"
        )
    return store
