"""Damage that Python's own reader of tars passes over in silence."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from orchestrator.corpora.fetching.archives import ArchiveError, extract

SOUND = bytes(range(256)) * 4  # 1,024 bytes: a header and two blocks a member
# Headers at 0 and 1536, their bodies behind them, the empty blocks from 3072 on.
MEMBERS = {"wav/a.wav": SOUND, "wav/b.wav": SOUND[::-1]}
END = 3072


def tar_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            file.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def is_nested(path: PurePosixPath) -> bool:
    return path.name == "train.tar.gz"


def packed(plain: bytes, kind: str) -> bytes:
    """Level 0 stores: a byte changed in there changes a byte of the content and nothing else."""
    if kind == "plain":
        return plain
    if kind == "nested":
        return packed(tar_bytes({"train.tar.gz": packed(plain, "gzip"), "x.csv": b"1"}), "gzip")
    return gzip.compress(plain, 0 if kind == "gzip" else 6)


def refused(folder: Path, content: bytes, message: str) -> None:
    (folder / "a").write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        extract(folder / "a", folder / "new", nested=is_nested)
    assert [path.name for path in folder.iterdir()] == ["a"]


KINDS = pytest.mark.parametrize("kind", ["plain", "gzip", "nested"])


@KINDS
@pytest.mark.parametrize("blocks", [0, 2])
def test_the_two_blocks_at_the_end_are_enough(tmp_path: Path, kind: str, blocks: int) -> None:
    plain = tar_bytes(MEMBERS)[:END] + bytes(1024 + 512 * blocks)
    (tmp_path / "a").write_bytes(packed(plain, kind))

    extract(tmp_path / "a", tmp_path / "new", nested=is_nested)

    for name, body in MEMBERS.items():
        assert (tmp_path / "new" / name).read_bytes() == body


@KINDS
@pytest.mark.parametrize("end", [512, 1024, 1536, 2048, 2560, END, END + 512])
def test_a_tar_cut_between_blocks_is_refused(tmp_path: Path, kind: str, end: int) -> None:
    refused(tmp_path, packed(tar_bytes(MEMBERS)[:end], kind), "damaged")


@KINDS
def test_a_header_that_makes_no_sense_is_not_the_end(tmp_path: Path, kind: str) -> None:
    plain = tar_bytes(MEMBERS)
    changed = plain[:1540] + b"?" + plain[1541:]
    refused(tmp_path, packed(changed, kind), "lacks the empty blocks that end a tar.*header")


@pytest.mark.parametrize("left", [-1, -4, -8, -12, -1000])
@pytest.mark.parametrize("level", [0, 9])
def test_a_gzip_cut_behind_the_last_member_is_refused(
    tmp_path: Path, left: int, level: int
) -> None:
    content = gzip.compress(tar_bytes(MEMBERS), level)
    cut = content[: max(left, -len(content) // 2)]
    refused(tmp_path, cut, "damaged")
    inner = tar_bytes({"train.tar.gz": cut})
    refused(tmp_path, gzip.compress(inner), "damaged")


def test_a_changed_byte_of_sound_is_noticed_by_the_checksum(tmp_path: Path) -> None:
    plain = tar_bytes(MEMBERS)
    content = gzip.compress(plain, 0)
    changed = content.replace(SOUND[:20], b"x" + SOUND[1:20], 1)
    assert changed != content

    refused(tmp_path, changed, "damaged.*CRC")
    refused(tmp_path, gzip.compress(tar_bytes({"train.tar.gz": changed})), "damaged.*CRC")


def test_a_changed_byte_behind_the_last_member_is_noticed(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(tar_bytes(MEMBERS), 0))
    content[-100] = 1

    refused(tmp_path, bytes(content), "damaged.*CRC")


@KINDS
def test_a_tar_without_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    refused(tmp_path, packed(tar_bytes({}), kind), "holds no file")


def test_a_zip_without_a_file_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.mkdir("wav")
    refused(tmp_path, buffer.getvalue(), "holds no file")


def test_a_damaged_lzma_zip_is_an_archive_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.wav", bytes((n * n * 7919) >> 5 & 255 for n in range(20_000)))
    content = bytearray(buffer.getvalue())
    at = 30 + len("a.wav") + 4  # behind the header and LZMA's version: its properties
    content[at] = 0xFF
    refused(tmp_path, bytes(content), "damaged")


@pytest.mark.parametrize("make", ["tar", "zip"])
def test_links_below_what_is_left_out_do_no_harm(tmp_path: Path, make: str) -> None:
    archive = tmp_path / "a"
    if make == "tar":
        with tarfile.open(archive, "w:gz") as file:
            info = tarfile.TarInfo("VideoFlash/a.flv")
            info.type, info.linkname = tarfile.SYMTYPE, "../../outside"
            file.addfile(info)
            file.addfile(tarfile.TarInfo("AudioWAV/a.wav"))
    else:
        with zipfile.ZipFile(archive, "w") as zipped:
            link = zipfile.ZipInfo("VideoFlash/a.flv")
            link.external_attr = 0o120777 << 16
            zipped.writestr(link, "../../outside")
            zipped.writestr("AudioWAV/a.wav", b"")

    extract(archive, tmp_path / "new", leave=lambda path: "VideoFlash" in path.parts)

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["AudioWAV"]


def test_an_archive_of_which_everything_is_left_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tar_bytes(MEMBERS))

    with pytest.raises(ArchiveError, match="holds no file to unpack"):
        extract(tmp_path / "a", tmp_path / "new", leave=lambda path: True)
