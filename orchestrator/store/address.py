"""What a store's address means: a folder of this machine, or a filesystem that pyarrow opens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from orchestrator.errors import StoreError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

    from orchestrator.store.remote import Remote


def local_folder(uri: str) -> Path | None:
    """The folder that a path or ``file://`` URI names, None for any other URI."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", uri):
        return None
    return Path(uri).expanduser().resolve()


def without_credentials(uri: str) -> str:
    """A URI without the user and password it may carry, for messages.

    >>> without_credentials("s3://key:secret@bucket/folder")
    's3://bucket/folder'
    """
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


def open_remote(uri: str, filesystem: FileSystem | None, *, shown: str) -> Remote:
    """The files that a URI names, or a path inside ``filesystem``.

    Args:
        shown: what messages call it.

    Raises:
        StoreError: it names no filesystem that can be opened.
    """
    from pyarrow import fs

    from orchestrator.store.remote import Remote

    if filesystem is not None:
        return Remote(filesystem, uri)
    try:
        return Remote(*fs.FileSystem.from_uri(uri))
    except (ValueError, OSError, NotImplementedError) as error:
        reason = str(error).replace(uri, shown)
        msg = (
            f"store: {shown!r} cannot be opened ({reason}); "
            "give a folder or a URI such as s3://bucket/folder"
        )
        # the cause would repeat the URI with its credentials
        raise StoreError(msg) from None
