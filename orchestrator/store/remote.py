"""How the store writes to a filesystem that is not a local disk: any that pyarrow opens."""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path
from typing import Any

from pyarrow import fs

from orchestrator.store.publication import INPUTS, MANIFEST, Entry, fault, is_partial

_ATOMIC = {"s3", "gcs", "abfs"}
"""Object stores: an object appears whole when its stream is closed, and has no cheap rename."""


class Remote:
    """Files under ``root`` of ``filesystem``, and artifacts as folders whose manifest comes last.

    An upload goes to a folder of its own, which the manifest names, so that two uploads of one
    artifact never mix their files, whoever writes the manifest last.
    """

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if self._root else name

    def exists(self, name: str) -> bool:
        """Whether ``name`` is a file."""
        info = self._filesystem.get_file_info(self._path(name))
        return bool(info.type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """All bytes of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._filesystem.open_input_file(self._path(name)) as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that readers see the old bytes or all the new ones."""
        path = self._path(name)
        self._filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        if _kind(self._filesystem) in _ATOMIC:
            with self._filesystem.open_output_stream(path) as stream:
                stream.write(data)
            return
        partial = f"{path}.partial-{secrets.token_hex(8)}"
        try:
            with self._filesystem.open_output_stream(partial) as stream:
                stream.write(data)
            self._filesystem.move(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                self._filesystem.delete_file(partial)
            raise

    def list(self, prefix: str) -> tuple[str, ...]:
        """Names of the files under the folder ``prefix``, at any depth, sorted."""
        names = (entry.name for entry in self.entries(prefix))
        return tuple(name for name in names if not is_partial(name.rpartition("/")[2]))

    def entries(self, prefix: str = "") -> tuple[Entry, ...]:
        """Every file under the folder ``prefix``, at any depth, sorted by name."""
        base = self._path(prefix) if prefix else self._root
        selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
        cut = len(self._root) + 1 if self._root else 0
        found = (
            Entry(info.path[cut:], info.size or 0, (info.mtime_ns or 0) / 1e9)
            for info in self._filesystem.get_file_info(selector)
            if info.type == fs.FileType.File
        )
        return tuple(sorted(found, key=lambda entry: entry.name))

    def remove(self, name: str) -> None:
        """Throw a file away; that there is none is no mistake."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(self._path(name))

    def remove_folder(self, name: str) -> None:
        """Throw a folder away with all that is in it, writes that never finished among them."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_dir(self._path(name))

    def upload(self, folder: Path, name: str) -> None:
        """Publish the sealed local ``folder`` as the artifact ``name``."""
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        token = secrets.token_hex(8)
        for file in manifest["files"]:
            path = self._path(f"{name}/{token}/{file}")
            self._filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            fs.copy_files(str(folder / file), path, fs.LocalFileSystem(), self._filesystem)
        self.write(f"{name}/{INPUTS}", (folder / INPUTS).read_bytes())
        manifest["folder"] = token
        self.write(f"{name}/{MANIFEST}", json.dumps(manifest, sort_keys=True, indent=1).encode())

    def download(self, name: str, folder: Path) -> str | None:
        """Fetch the artifact ``name`` into the new ``folder``.

        Returns:
            None when it is there and whole, its bytes compared with the manifest; else what is
            wrong, ``"absent"`` when nothing was ever published.
        """
        try:
            manifest = json.loads(self.read(f"{name}/{MANIFEST}"))
            token, files = str(manifest["folder"]), dict(manifest["files"])
        except FileNotFoundError:
            return "absent"
        except (ValueError, KeyError, TypeError):
            return f"{MANIFEST} is unreadable"
        for file in files:
            target = folder / file
            if not target.resolve().is_relative_to(folder.resolve()):
                return f"{MANIFEST} names {file!r}, which leaves the artifact's folder"
            if not self.exists(f"{name}/{token}/{file}"):
                return f"{file} is missing"
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.copy_files(
                self._path(f"{name}/{token}/{file}"),
                str(target),
                self._filesystem,
                fs.LocalFileSystem(),
            )
        (folder / MANIFEST).write_text(json.dumps({"files": files}, sort_keys=True, indent=1))
        return fault(folder, digests=True)


def _kind(filesystem: fs.FileSystem) -> str:
    while isinstance(filesystem, fs.SubTreeFileSystem):
        filesystem = filesystem.base_fs
    return str(filesystem.type_name)
