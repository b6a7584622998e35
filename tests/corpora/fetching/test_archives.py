from __future__ import annotations

import errno
import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from orchestrator.corpora.fetching import archives
from orchestrator.corpora.fetching.archives import ArchiveError, extract
from orchestrator.errors import CorpusError


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in members.items():
            file.writestr(zipfile.ZipInfo(name), body, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, members: dict[str, bytes], mode: Any = "w:gz") -> Path:
    path.write_bytes(tar_bytes(members, mode))
    return path


def tar_bytes(members: dict[str, bytes], mode: Any = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            file.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def tar_of(path: Path, info: tarfile.TarInfo) -> Path:
    """A sound file and one strange member."""
    with tarfile.open(path, "w:gz") as file:
        first = tarfile.TarInfo("wav/a.wav")
        first.size = 3
        file.addfile(first, io.BytesIO(b"abc"))
        file.addfile(info)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def refused(archive: Path, message: str) -> None:
    """Nothing of the archive stays, inside the folder or out."""
    before = {path: path.stat().st_size for path in archive.parent.rglob("*")}
    with pytest.raises(ArchiveError, match=message) as failed:
        extract(archive, archive.parent / "new")
    assert str(archive) in str(failed.value)
    assert {path: path.stat().st_size for path in archive.parent.rglob("*")} == before


MEMBERS = {"wav/a.wav": b"sound" * 1000, "wav/deep/b.wav": b"", "read me.txt": "ü".encode()}


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_files_come_out_as_they_went_in(tmp_path: Path, mode: str) -> None:
    archive = tmp_path / "corpus"  # the content tells what it is, not the name
    if mode == "zip":
        make_zip(archive, MEMBERS)
    else:
        make_tar(archive, MEMBERS, mode)

    assert extract(archive, tmp_path / "new") == 3
    assert tree(tmp_path / "new") == MEMBERS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "new"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "wav/../../evil.txt",
        "/tmp/evil.txt",
        "C:/evil.txt",
        "c:evil.txt",
        "..\\evil.txt",
        "wav\\..\\..\\evil.txt",
        "\\evil.txt",
    ],
)
def test_a_path_out_of_the_folder_is_refused(
    tmp_path: Path, make: Callable[..., Path], name: str
) -> None:
    refused(make(tmp_path / "a", {"wav/a.wav": b"abc", name: b"evil"}), "leads out of the folder")


def test_a_path_out_of_the_folder_is_refused_in_a_nested_archive(tmp_path: Path) -> None:
    inner = tar_bytes({"../../evil.txt": b"evil"})
    archive = make_tar(tmp_path / "a", {"top/train.tar.gz": inner})

    with pytest.raises(ArchiveError, match="leads out of the folder"):
        extract(archive, tmp_path / "new", nested=lambda path: path.name == "train.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "../../outside"),
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "a.wav"),
        (tarfile.LNKTYPE, "../outside"),
        (tarfile.LNKTYPE, "wav/a.wav"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes, target: str) -> None:
    info = tarfile.TarInfo("wav/b.wav")
    info.type, info.linkname = kind, target
    refused(tar_of(tmp_path / "a.tar.gz", info), "'wav/b.wav' is a link or a device")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("wav/b.wav")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "../../outside")
    refused(tmp_path / "a.zip", "'wav/b.wav' is a link or a device")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_bomb_is_refused(tmp_path: Path, make: Callable[..., Path]) -> None:
    archive = make(tmp_path / "bomb", {"a.wav": bytes(4_000_000), "b.wav": bytes(4_000_000)})
    assert archive.stat().st_size * 100 < 8_000_000
    refused(archive, "unpacks to more than 1,048,576, at 'a.wav'")


def test_a_bomb_within_an_archive_is_refused(tmp_path: Path) -> None:
    inner = tar_bytes({"a.wav": bytes(4_000_000)})
    archive = make_tar(tmp_path / "a", {"train.tar.gz": inner})

    with pytest.raises(ArchiveError, match="unpacks to more than"):
        extract(archive, tmp_path / "new", nested=lambda path: True)


def test_a_small_table_that_packs_well_is_no_bomb(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a", {"votes.csv": b"1,2,3\n" * 100_000})
    assert archive.stat().st_size * 100 < 600_000

    assert extract(archive, tmp_path / "new") == 1


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    refused(make_tar(tmp_path / "a", {f"{n}": b"" for n in range(4)}), "more than 3 files")


def test_the_room_is_looked_at_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a", {"a.wav": bytes(range(256)) * 40})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10_239))

    with pytest.raises(CorpusError, match=r"needs 10,240 bytes to unpack and .* has 10,239 free"):
        extract(archive, tmp_path / "new")


def test_a_full_disk_leaves_nothing_and_does_not_blame_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_zip(tmp_path / "a", MEMBERS)
    opened = Path.open

    def open_on_a_full_disk(path: Path, mode: str = "r", *args: Any, **more: Any) -> IO[Any]:
        if path.name == "b.wav":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return opened(path, mode, *args, **more)

    monkeypatch.setattr(Path, "open", open_on_a_full_disk)
    with pytest.raises(CorpusError, match="No space left on device") as failed:
        extract(archive, tmp_path / "new")
    assert not isinstance(failed.value, ArchiveError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_archive_cut_short_is_refused(tmp_path: Path, make: Callable[..., Path]) -> None:
    noise = bytes((n * n * 7919) >> 5 & 255 for n in range(100_000))
    archive = make(tmp_path / "a", {"a.wav": noise, "b.wav": noise[::-1]})
    archive.write_bytes(archive.read_bytes()[:-2000])
    refused(archive, "damaged|neither zip nor tar")


def test_a_changed_byte_in_a_zip_is_noticed(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.wav", b"0123456789" * 10)
    archive.write_bytes(archive.read_bytes().replace(b"90123", b"90x23", 1))
    refused(archive, "damaged")


def test_a_page_in_place_of_an_archive_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("<!DOCTYPE html><title>Please log in</title>")
    refused(tmp_path / "a.zip", "neither zip nor tar: it begins with b'<!DOCTYPE html>")


@pytest.mark.parametrize("content", [b"", b"abc"])
def test_an_empty_or_tiny_file_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", "neither zip nor tar")


def test_a_name_that_is_both_file_and_folder_is_an_error(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a", {"x": b"1", "x/y": b"2"})
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        extract(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_an_interruption_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "new.partial" / "wav").mkdir(parents=True)
    (tmp_path / "new.partial" / "wav" / "half.wav").write_bytes(b"ha")

    extract(make_zip(tmp_path / "a", MEMBERS), tmp_path / "new")

    assert tree(tmp_path / "new") == MEMBERS
    assert not (tmp_path / "new.partial").exists()


def test_an_interruption_leaves_no_folder_that_looks_whole(tmp_path: Path) -> None:
    def interrupt(done: int, total: int | None, name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(make_tar(tmp_path / "a", MEMBERS), tmp_path / "new", tell=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_what_is_not_meant_is_left(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a", MEMBERS)

    assert extract(archive, tmp_path / "new", leave=lambda path: "wav" in path.parts) == 1
    assert list(tree(tmp_path / "new")) == ["read me.txt"]


def test_archives_in_an_archive_are_unpacked_where_they_lie(tmp_path: Path) -> None:
    deepest = tar_bytes({"x": b"x"})
    inner = tar_bytes({"train_splits/a.mp4": b"clip", "train.tar.gz": deepest})
    archive = make_tar(tmp_path / "a", {"top/train.tar.gz": inner, "top/b.csv": b"table"})

    extract(archive, tmp_path / "new", nested=lambda path: path.name == "train.tar.gz")

    assert tree(tmp_path / "new") == {
        "top/train_splits/a.mp4": b"clip",
        "top/train.tar.gz": deepest,
        "top/b.csv": b"table",
    }


def test_unpacked_files_cannot_be_run(tmp_path: Path) -> None:
    info = tarfile.TarInfo("run.sh")
    info.mode = 0o4777
    extract(tar_of(tmp_path / "a.tar.gz", info), tmp_path / "new")

    assert (tmp_path / "new" / "run.sh").stat().st_mode & 0o7111 == 0
