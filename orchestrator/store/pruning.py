"""Removing from a store what nobody needs, and nothing that anybody does."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import InputError, nearest
from orchestrator.store.contents import (
    PRUNED,
    Contents,
    Leftover,
    StoredArtifact,
    StoredFit,
    read_contents,
)
from orchestrator.store.publication import LocalFiles, locked
from orchestrator.store.references import REFERENCES, References, Referrers
from orchestrator.store.store import BUILDING, Store
from orchestrator.store.use import lock_files, pruning

DAYS = 7.0
"""Default of how long states of a fit that nobody goes on with are kept."""
SETTLED = 3600.0
"""Seconds for which nothing is pruned that was written to: a machine that shares the store, but
whose locks are not seen here, may be about to use it."""
GIVEN_UP = 86400.0
"""Seconds after which an upload that did not end is taken for dead: it may take long."""


@dataclass(frozen=True)
class Pruning:
    """What pruning removes, or has removed, and why something stays."""

    artifacts: tuple[StoredArtifact, ...]
    fits: tuple[StoredFit, ...]
    leftovers: tuple[Leftover, ...]
    copies: tuple[StoredArtifact, ...]
    """On this machine, of artifacts that the store has or had elsewhere."""
    young: tuple[StoredArtifact, ...]
    """Artifacts that nobody refers to, but which are too new to be sure."""
    unsure: tuple[StoredArtifact, ...]
    """Artifacts that nobody is known to refer to, but which those of ``unknown`` may need."""
    unknown: tuple[str, ...]
    """Experiments that ran before references were noted; while there are any, no artifact goes."""

    @property
    def size(self) -> int:
        """Bytes that are freed."""
        groups = (self.artifacts, self.fits, self.leftovers, self.copies)
        return sum(one.size for group in groups for one in group)

    @property
    def nothing(self) -> bool:
        """Whether nothing at all goes."""
        return not (self.artifacts or self.fits or self.leftovers or self.copies)


def to_prune(
    contents: Contents,
    *,
    drop: Sequence[str] = (),
    days: float = DAYS,
    copies: bool = False,
    now: float | None = None,
) -> Pruning:
    """What pruning would remove; looks at nothing but ``contents``.

    Args:
        contents: of the store.
        drop: experiments whose references count no more.
        days: states of fits that were not touched for so long go.
        copies: all copies on this machine of what lies in a store elsewhere go, too.
        now: seconds since 1970; default: the time.

    Raises:
        InputError: the store knows no experiment of a name in ``drop``.
    """
    now = time.time() if now is None else now
    for name in drop:
        if name not in contents.experiments:
            raise InputError(
                f"--drop {name!r}: no such experiment has left anything in this store; "
                + (nearest(name, contents.experiments) if contents.experiments else "none has")
            )
    unknown = tuple(name for name in contents.referrers.unknown if name not in drop)
    unused = [one for one in contents.artifacts if set(one.users) <= set(drop)]
    settled = tuple(one for one in unused if now - one.made >= SETTLED)
    gone = () if unknown else settled
    kept = {(one.stage, one.key) for one in contents.artifacts}
    kept -= {(one.stage, one.key) for one in gone}
    return Pruning(
        artifacts=gone,
        fits=tuple(fit for fit in contents.fits if _is_done_with(fit, now=now, days=days)),
        leftovers=tuple(left for left in contents.leftovers if _is_dead(left, now=now)),
        copies=tuple(one for one in contents.copies if copies or (one.stage, one.key) not in kept),
        young=tuple(one for one in unused if now - one.made < SETTLED),
        unsure=settled if unknown else (),
        unknown=unknown,
    )


def _is_done_with(fit: StoredFit, *, now: float, days: float) -> bool:
    return fit.holder is None and (fit.sealed or now - fit.touched >= 86400 * days)


def _is_dead(left: Leftover, *, now: float) -> bool:
    if left.holder is not None:
        return False
    own = left.kind == "damaged" or left.name.startswith(f"{BUILDING}/{PRUNED}")
    settled = GIVEN_UP if left.kind == "upload" else SETTLED
    return own or now - left.touched >= settled


def prune(
    store: Store, *, drop: Sequence[str] = (), days: float = DAYS, copies: bool = False
) -> Pruning:
    """Remove what nobody needs, while no command of this machine uses the store.

    Whoever kills it leaves a whole store: artifacts get another name before they go.

    Args:
        store: stays usable; a command that begins meanwhile waits.
        drop: experiments that are forgotten first; their result files stay.
        days: states of fits that were not touched for so long go.
        copies: all copies on this machine of what lies in a store elsewhere go, too.

    Returns:
        What has been removed.

    Raises:
        StoreError: a command uses the store, or it cannot be read or written.
        InputError: the store knows no experiment of a name in ``drop``.
    """
    with pruning(store):
        found = to_prune(read_contents(store), drop=drop, days=days, copies=copies)
        with store.writing():
            for name in drop:
                References(store.files, name).forget()
            for path in lock_files(store):
                # takes the file away when it is let go; whoever holds it keeps it
                with contextlib.suppress(BlockingIOError), locked(path, purpose="", wait=False):
                    pass
            fits = tuple(fit for fit in found.fits if _remove_fit(store, fit))
            for left in found.leftovers:
                _remove_leftover(store, left)
            if store.remote:
                artifacts = _remove_there(store, found.artifacts)
                _remove_here(store, found.copies)
            else:
                artifacts = _remove_here(store, found.artifacts, unless_referred_to=True)
    return replace(found, artifacts=artifacts, fits=fits)


def _remove_fit(store: Store, fit: StoredFit) -> bool:
    try:
        with locked(store.lock(fit.key), purpose="pruning", wait=False):
            store.files.remove_folder(fit.folder)
    except BlockingIOError:
        return False  # it has been taken up again
    return True


def _remove_leftover(store: Store, left: Leftover) -> None:
    if left.here:
        LocalFiles(store.folder).remove_folder(left.name)
    for name in left.files:
        store.files.remove(name)


def _remove_here(
    store: Store, artifacts: Sequence[StoredArtifact], *, unless_referred_to: bool = False
) -> tuple[StoredArtifact, ...]:
    """Remove artifacts from this machine's disk: first out of sight, then away."""
    hidden: dict[StoredArtifact, tuple[Path, Path]] = {}
    aside = store.folder / BUILDING
    aside.mkdir(parents=True, exist_ok=True)
    for one in artifacts:
        folder = store.artifact_folder(one.stage, one.key)
        away = aside / f"{PRUNED}{one.key}-{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):
            folder.rename(away)
            hidden[one] = folder, away
    # who noted it after the contents were read may have seen it: it comes back
    again = _referred_to(store) if unless_referred_to else set()
    for one, (folder, away) in list(hidden.items()):
        if (one.stage, one.key) in again:
            away.rename(folder)
            del hidden[one]
        else:
            shutil.rmtree(away)
    return tuple(hidden)


def _remove_there(store: Store, artifacts: Sequence[StoredArtifact]) -> tuple[StoredArtifact, ...]:
    """Remove artifacts from a store elsewhere: first what says that they are whole."""
    hidden: dict[StoredArtifact, bytes] = {}
    for one in artifacts:
        assert one.manifest is not None
        hidden[one] = store.files.read(one.manifest)
        store.files.remove(one.manifest)
    again = _referred_to(store)
    for one, manifest in list(hidden.items()):
        assert one.manifest is not None
        if (one.stage, one.key) in again:
            store.files.write(one.manifest, manifest)
            del hidden[one]
            continue
        for entry in one.files:
            # its manifest may be a new one, by who has just made it anew
            if entry.name != one.manifest:
                store.files.remove(entry.name)
    return tuple(hidden)


def _referred_to(store: Store) -> set[tuple[str, str]]:
    return set(Referrers(store.files.list(REFERENCES)).of)
