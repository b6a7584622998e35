"""``understudy corpora fetch``: a corpus from its publishers' server into a folder."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.corpora.fetching.archives import ArchiveError, extract
from orchestrator.corpora.fetching.download import FetchError, Patience, Remote, Tell, download
from orchestrator.corpora.fetching.large_files import download_large, pointers_below
from orchestrator.corpora.fetching.record import RECORD, entry, read_record, sizes, verify
from orchestrator.corpora.fetching.sources import SOURCES, Source
from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.errors import CorpusError, nearest
from orchestrator.store.publication import locked

_LOCK: Final = "lock"
_OWN: Final = {
    "folder": "is your own data",
    "synthetic": "is built in",
    "table": "is your own data",
}


@dataclass(frozen=True)
class Fetched:
    """A corpus that is there.

    Attributes:
        name: the kind of corpus.
        root: its folder, for ``corpora check`` and the experiment file.
        files: how many files it has.
        size: their bytes.
        already: whether it had been fetched before, so that there was nothing to do.
        archives: folder with what was downloaded, where that was kept; "" if not.
        left: what is left to do, a command or a sentence each.
    """

    name: str
    root: str
    files: int
    size: int
    already: bool
    archives: str
    left: tuple[str, ...]


def fetch_corpus(
    name: str,
    folder: str | Path,
    *,
    mirror: str | None = None,
    keep: bool = False,
    progress: Tell | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Download a corpus and unpack it into ``folder/name``, which appears when it is complete.

    Called again, it goes on where it was interrupted, and does nothing if the corpus is there.
    What is needed on the way lies in ``folder/name.archives``.

    Args:
        name: a kind of corpus.
        folder: where corpora live; made if it is not there.
        mirror: URL that takes the place of scheme and host of every URL, for a copy elsewhere.
        keep: whether to keep the archive (in ``folder/name.archives``) once it is unpacked.
        progress: told bytes done, bytes in all (None if unknown) and of which file.
        patience: how long a server that does not answer is tried.

    Raises:
        CorpusError: the corpus is not one that may be downloaded freely, a file is not there or
            not what was published, an archive is damaged or unsafe, the disk is full, or something
            else is in the way.
        FetchError: a server fails, or another command is fetching the same to the same place.
    """
    source = _source(name)
    if mirror is not None:
        source = source.at(mirror)
    base = Path(folder).expanduser().absolute()
    root, work = base / name, base / f"{name}.archives"
    try:
        record = read_record(root, name)
        already = record is not None
        if record is None or _unfinished(work):
            work.mkdir(parents=True, exist_ok=True)
            with locked(work / _LOCK, purpose=f"fetching {name}", wait=False):
                # Another command may have ended between the first look and the lock.
                record = read_record(root, name)
                already = record is not None
                if record is None:
                    _refuse_strangers(root, name)
                    record, top = _gather(name, source, work, progress, patience or Patience())
                    _put_together(top, work)
                    os.replace(top, root)
                else:
                    verify(record, root, name)
                _tidy(work, keep=keep)
        else:
            verify(record, root, name)
    except BlockingIOError as error:
        raise FetchError(
            f"corpus {name!r} is being fetched into {root} by another command; wait until that one "
            "has ended"
        ) from error
    except OSError as error:
        raise CorpusError(
            f"corpus {name!r}: {error.filename or base} cannot be used "
            f"({error.strerror or error}); mend that, or give another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # only an empty folder goes
            work.rmdir()
    steps = (source.next_step, f"understudy corpora check {name} {shlex.quote(str(root))}")
    return Fetched(
        name=name,
        root=str(root),
        files=len(record["tree"]),
        size=sum(record["tree"].values()),
        already=already,
        archives=str(work) if work.exists() else "",
        left=tuple(step for step in steps if step),
    )


def _source(name: str) -> Source:
    """Where a corpus is to be had.

    Raises:
        CorpusError: it is not to be had without asking, or there is none of that name.
    """
    if name in SOURCES:
        return SOURCES[name]
    if name not in KINDS:
        said = nearest(name, KINDS.keys() - _OWN.keys())
        raise CorpusError(f"there is no kind of corpus {name!r}; {said}")
    can = f"(fetch can: {', '.join(sorted(SOURCES))})"
    if name in _OWN:
        raise CorpusError(f"corpus {name!r} {_OWN[name]}: there is nothing to fetch {can}")
    raise CorpusError(
        f"corpus {name!r} is given only to those who ask for it: {KINDS[name].about.obtain}. Then: "
        f"understudy corpora check {name} ROOT {can}"
    )


def _refuse_strangers(root: Path, name: str) -> None:
    """Raise if something else is where the corpus should go."""
    if not root.exists() and not root.is_symlink():
        return
    if root.is_symlink() or not root.is_dir() or any(root.iterdir()):
        raise CorpusError(
            f"{root} is already there, and not from this command (it holds no {RECORD}); if it is "
            f"the corpus, use understudy corpora check {name} {root}, else give another folder"
        )
    root.rmdir()


def _gather(
    name: str, source: Source, work: Path, progress: Tell | None, patience: Patience
) -> tuple[dict[str, Any], Path]:
    """Everything downloaded and unpacked, though not yet in one tree: the record, and the root.

    Each step is there as a whole or not at all, and what is there is not done again.
    """
    archive, others = work / source.archive.name, work / "others"
    found = _top(work / "unpacked", source)
    record = None if found is None else read_record(found, name)
    if found is not None and record is not None:
        return record, found
    done = download(source.archive, archive, patience=patience, tell=progress)
    files = [entry(source.archive, done, archive)]
    top = found or _unpack(archive, work / "unpacked", source, progress)
    tree = sizes(top)
    others.mkdir(exist_ok=True)
    names = {path.rpartition("/")[2] for path in tree}
    for other in source.others:
        if other.name not in names:
            target = others / other.name
            done = download(other, target, patience=patience, tell=progress)
            files.append(entry(other, done, target))
    if source.large_files:
        base = source.large_files
        came = download_large(
            pointers_below(top), others, base=base, patience=patience, tell=progress
        )
        files += [
            entry(Remote(f"{base}/{path}"), came[path], others / path) for path in sorted(came)
        ]
    tree |= sizes(others)
    record = {"corpus": name, "files": files, "tree": dict(sorted(tree.items()))}
    draft = work / f"{RECORD}.partial"
    draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(draft, top / RECORD)
    return record, top


def _unpack(archive: Path, unpacked: Path, source: Source, progress: Tell | None) -> Path:
    """The corpus's root among the archive's content; an archive that is none is removed."""
    if unpacked.exists():
        shutil.rmtree(unpacked)
    try:
        extract(
            archive,
            unpacked,
            # Of this name there is only ours, or an archive could say that it is complete.
            leave=lambda path: not {RECORD, *source.leave}.isdisjoint(path.parts),
            nested=lambda path: path.name in source.nested,
            tell=progress,
        )
        top = _top(unpacked, source)
        if top is None:
            within = ", ".join(sorted(path.name for path in unpacked.iterdir())[:5]) or "nothing"
            raise ArchiveError(
                f"{source.archive.url} holds no folder {source.root_holds!r} but {within}: it is "
                "not the corpus as distributed"
            )
    except ArchiveError as error:
        shutil.rmtree(unpacked, ignore_errors=True)
        archive.unlink()
        raise ArchiveError(
            f"{error}; the archive was removed, and the same command downloads it again"
        ) from error
    return top


def _top(unpacked: Path, source: Source) -> Path | None:
    """The corpus's root: what was unpacked, or a folder in it; None if neither looks so."""
    if not unpacked.exists():
        return None
    folders = [unpacked, *sorted(path for path in unpacked.iterdir() if path.is_dir())]
    return next((one for one in folders if (one / source.root_holds).is_dir()), None)


def _put_together(top: Path, work: Path) -> None:
    """What did not come in the archive, to its place in the tree."""
    others = work / "others"
    for path in sizes(others):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(others / path, top / path)


def _unfinished(work: Path) -> bool:
    """Whether a command is at work, or ended before it had tidied up."""
    return (work / "others").exists() or (work / _LOCK).exists()


def _tidy(work: Path, *, keep: bool) -> None:
    """Only archives stay, if they are to be kept; ``others`` goes last, since it tells of this."""
    shutil.rmtree(work / "unpacked", ignore_errors=True)
    for path in sorted(work.iterdir()):
        if path.is_file() and path.name != _LOCK and not keep:
            path.unlink()
    shutil.rmtree(work / "others", ignore_errors=True)
