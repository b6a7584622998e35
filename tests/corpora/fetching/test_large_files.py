from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.corpora.fetching.download import Patience
from orchestrator.corpora.fetching.large_files import (
    Pointer,
    download_large,
    pointer_in,
    pointers_below,
)
from orchestrator.errors import CorpusError
from tests.corpora.file_server import FileServer, serving

HASTE = Patience(tries=2, first_pause=0.001, timeouts=(2.0, 2.0))
FIRST_LINE = b"version https://git-lfs.github.com/spec/v1\n"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as state:
        yield state


def pointer_to(body: bytes) -> Pointer:
    return Pointer(sha256=hashlib.sha256(body).hexdigest(), size=len(body))


def test_a_pointer_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(FIRST_LINE + b"oid sha256:" + b"0f" * 32 + b"\nsize 12345\n")

    assert pointer_in(file) == Pointer(sha256="0f" * 32, size=12345)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF....WAVE", b"version 2\n", FIRST_LINE + b"#" * 1000]
)
def test_other_files_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)

    assert pointer_in(tmp_path / "a.wav") is None


def test_a_pointer_without_a_hash_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(FIRST_LINE + b"oid md5:abc\nsize 3\n")

    with pytest.raises(CorpusError, match=r"a\.wav begins as a Git LFS pointer"):
        pointer_in(tmp_path / "a.wav")


def test_pointers_are_found_by_path(tmp_path: Path) -> None:
    (tmp_path / "AudioWAV").mkdir()
    text = FIRST_LINE + b"oid sha256:" + b"ab" * 32 + b"\nsize 7\n"
    (tmp_path / "AudioWAV" / "a.wav").write_bytes(text)
    (tmp_path / "table.csv").write_bytes(b"1,2\n")

    assert pointers_below(tmp_path) == {"AudioWAV/a.wav": Pointer("ab" * 32, 7)}


def test_files_come_under_their_paths_and_are_kept(server: FileServer, tmp_path: Path) -> None:
    bodies = {f"AudioWAV/{n} é.wav": bytes([n]) * (n + 1) for n in range(30)}
    server.files = {f"/media/AudioWAV/{n}%20%C3%A9.wav": bytes([n]) * (n + 1) for n in range(30)}
    pointers = {path: pointer_to(body) for path, body in bodies.items()}
    told: list[tuple[int, int | None]] = []

    for _ in range(2):
        came = download_large(
            pointers,
            tmp_path,
            base=f"{server.url}/media",
            patience=HASTE,
            tell=lambda done, total, name: told.append((done, total)),
        )
        assert {path: (tmp_path / path).read_bytes() for path in came} == bodies

    assert len(server.asked) == 30
    assert told[29] == (465, 465)  # 1 + 2 + ... + 30


def test_one_file_that_is_another_ends_it_and_the_rest_is_kept(
    server: FileServer, tmp_path: Path
) -> None:
    bodies = {f"{n}.wav": bytes([n]) * 10 for n in range(20)}
    server.files = {f"/{path}": body for path, body in bodies.items()}
    pointers = {path: pointer_to(body) for path, body in bodies.items()}
    server.files["/7.wav"] = b"x" * 10

    with pytest.raises(CorpusError, match=rf"7\.wav .*expected {pointers['7.wav'].sha256}"):
        download_large(pointers, tmp_path, base=server.url, patience=HASTE)
    assert not (tmp_path / "7.wav").exists()

    server.files["/7.wav"] = bodies["7.wav"]
    server.asked.clear()
    download_large(pointers, tmp_path, base=server.url, patience=HASTE)
    assert {path: (tmp_path / path).read_bytes() for path in bodies} == bodies
    assert "/7.wav" in server.paths
    assert len(server.asked) < 20
