from __future__ import annotations

import errno
import hashlib
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from orchestrator.corpora.fetching.download import (
    Downloaded,
    FetchError,
    Patience,
    Remote,
    download,
)
from orchestrator.errors import CorpusError
from tests.corpora.file_server import FileServer, serving

BODY = bytes(range(256)) * 4000  # 1,024,000 bytes
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
HASTE = Patience(tries=3, first_pause=0.001, longest_pause=0.01, timeouts=(2.0, 2.0))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as state:
        state.files["/a/speech.zip"] = BODY
        yield state


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "speech.zip"


def remote(server: FileServer, **more: Any) -> Remote:
    return Remote(f"{server.url}/a/speech.zip", **more)


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server: FileServer, target: Path) -> None:
    done = download(remote(server, size=1_024_000, md5=MD5, sha256=SHA256), target)

    assert target.read_bytes() == BODY
    assert done == Downloaded(size=1_024_000, sha256=SHA256)
    assert list(target.parent.iterdir()) == [target]


def test_an_empty_file_and_an_answer_without_length_come_too(
    server: FileServer, target: Path
) -> None:
    server.files["/empty.csv"] = b""
    assert download(Remote(f"{server.url}/empty.csv"), target.with_name("empty.csv")).size == 0
    server.lengths = False
    assert download(remote(server), target).sha256 == SHA256


def test_what_is_there_and_fits_is_not_asked_for_again(server: FileServer, target: Path) -> None:
    target.write_bytes(BODY)

    assert download(remote(server, md5=MD5), target).sha256 == SHA256
    assert server.asked == []


def test_what_is_there_and_does_not_fit_is_replaced(server: FileServer, target: Path) -> None:
    target.write_bytes(b"something else")
    (bystander := target.with_name("speech.zip.json")).write_text("{}")

    download(remote(server, md5=MD5), target)

    assert target.read_bytes() == BODY
    assert bystander.exists()


def test_a_dropped_connection_goes_on_from_where_it_was(server: FileServer, target: Path) -> None:
    server.drop_after, server.drops = 300_000, 2

    download(remote(server, sha256=SHA256), target, patience=HASTE)

    assert target.read_bytes() == BODY
    assert server.asked_ranges == [None, "bytes=300000-", "bytes=600000-"]
    assert server.asked[1][1]["If-Range"] == '"one"'
    assert server.sent == len(BODY)


def test_a_drop_without_a_stated_length_is_noticed(server: FileServer, target: Path) -> None:
    server.lengths, server.drop_after, server.drops = False, 300_000, 1

    download(remote(server), target, patience=HASTE)

    assert target.read_bytes() == BODY


def test_more_drops_than_tries_are_fine_while_bytes_come(server: FileServer, target: Path) -> None:
    server.drop_after = 100_000  # 10 drops and a rest, with 3 tries

    download(remote(server), target, patience=HASTE)

    assert target.read_bytes() == BODY
    assert len(server.asked) == 11


def test_a_later_call_goes_on_from_the_byte_that_the_error_names(
    server: FileServer, target: Path
) -> None:
    server.drop_after, server.drops = 300_000, 1

    with pytest.raises(FetchError, match="the same command goes on from byte 300,000"):
        download(remote(server), target, patience=Patience(tries=1))
    assert not target.exists()

    download(remote(server), target, patience=HASTE)
    assert target.read_bytes() == BODY
    assert server.asked_ranges == [None, "bytes=300000-"]


def test_a_server_in_trouble_for_long_is_given_up(server: FileServer, target: Path) -> None:
    server.errors = [503] * 9

    with pytest.raises(FetchError, match=r"503 .*3 times in a row; the same command starts again"):
        download(remote(server), target, patience=HASTE)
    assert len(server.asked) == 3


def test_a_server_that_ignores_range_starts_over(server: FileServer, target: Path) -> None:
    server.ranges, server.drop_after, server.drops = False, 300_000, 1

    download(remote(server), target, patience=HASTE)

    assert target.read_bytes() == BODY
    assert server.sent == 300_000 + len(BODY)


def test_a_server_that_ignores_range_and_always_drops_ends_in_an_error(
    server: FileServer, target: Path
) -> None:
    server.ranges, server.drop_after = False, 300_000

    with pytest.raises(FetchError, match="3 times in a row"):
        download(remote(server), target, patience=HASTE)


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_meanwhile_starts_over(
    server: FileServer, target: Path, heeds: bool
) -> None:
    server.drop_after, server.drops, server.heeds_if_range = 300_000, 1, heeds
    with pytest.raises(FetchError):
        download(remote(server), target, patience=Patience(tries=1))
    server.etag, server.files["/a/speech.zip"] = '"two"', BODY[::-1]

    download(remote(server), target, patience=HASTE)

    assert target.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_the_date_serves(
    server: FileServer, target: Path, etag: str | None
) -> None:
    server.etag, server.modified = etag, "Mon, 02 Mar 2020 10:00:00 GMT"
    server.drop_after, server.drops = 300_000, 1

    download(remote(server), target, patience=HASTE)

    assert server.asked[1][1]["If-Range"] == "Mon, 02 Mar 2020 10:00:00 GMT"
    assert server.sent == len(BODY)


def test_without_a_word_on_the_version_nothing_is_continued(
    server: FileServer, target: Path
) -> None:
    server.etag, server.drop_after, server.drops = None, 300_000, 1

    download(remote(server), target, patience=HASTE)

    assert server.asked_ranges == [None, None]
    assert target.read_bytes() == BODY


def test_a_part_of_another_address_is_not_continued(server: FileServer, target: Path) -> None:
    server.files["/b/speech.zip"] = BODY[::-1]
    server.drop_after, server.drops = 300_000, 1
    with pytest.raises(FetchError):
        download(remote(server), target, patience=Patience(tries=1))

    download(Remote(f"{server.url}/b/speech.zip"), target, patience=HASTE)

    assert target.read_bytes() == BODY[::-1]


def test_a_part_that_was_whole_already_is_only_checked(server: FileServer, target: Path) -> None:
    server.drop_after, server.drops = 300_000, 1
    with pytest.raises(FetchError):
        download(remote(server), target, patience=Patience(tries=1))
    part = target.with_name("speech.zip.part")
    part.write_bytes(BODY)
    server.sent = 0

    download(remote(server, sha256=SHA256), target, patience=HASTE)

    assert target.read_bytes() == BODY
    assert server.sent == 0


def test_a_part_longer_than_the_file_starts_over(server: FileServer, target: Path) -> None:
    server.drop_after, server.drops = 300_000, 1
    with pytest.raises(FetchError):
        download(remote(server), target, patience=Patience(tries=1))
    target.with_name("speech.zip.part").write_bytes(BODY + b"more")

    download(remote(server), target, patience=HASTE)

    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"md5": "0" * 32}, f"md5 {MD5}, expected {'0' * 32}"),
        ({"sha256": "1" * 64}, f"sha256 {SHA256}, expected {'1' * 64}"),
        ({"size": 7}, "1,024,000 bytes, expected 7"),
    ],
)
def test_another_file_than_the_published_one_is_refused_and_removed(
    server: FileServer, target: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(CorpusError, match=said) as failed:
        download(remote(server, **wrong), target, patience=HASTE)

    assert f"{server.url}/a/speech.zip" in str(failed.value)
    assert not target.exists()
    assert not target.with_name("speech.zip.part").exists()
    assert len(server.asked) == 1


def test_a_wrong_size_is_noticed_without_a_stated_length(server: FileServer, target: Path) -> None:
    server.lengths = False

    with pytest.raises(CorpusError, match="size in bytes 1024000, expected 7"):
        download(remote(server, size=7), target)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_names_the_address_and_the_mirror_option(
    server: FileServer, target: Path, status: int
) -> None:
    server.errors = [status]

    with pytest.raises(CorpusError, match=rf"/a/speech.zip .* {status} .*--mirror"):
        download(remote(server), target, patience=HASTE)
    assert len(server.asked) == 1


def test_a_server_in_trouble_is_asked_again(server: FileServer, target: Path) -> None:
    server.errors = [500, 503]

    download(remote(server), target, patience=HASTE)

    assert target.read_bytes() == BODY
    assert len(server.asked) == 3


def test_a_server_may_ask_for_a_pause_up_to_a_limit(server: FileServer, target: Path) -> None:
    server.errors, server.headers = [429], {"Retry-After": "3600"}
    began = time.monotonic()

    download(remote(server), target, patience=Patience(first_pause=0.0, longest_pause=0.2))

    assert 0.2 <= time.monotonic() - began < 2.0


def test_pauses_double(server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.errors = [500] * 4

    download(remote(server), target)

    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_nobody_listening_is_an_error_after_a_few_tries(target: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/speech.zip"

        with pytest.raises(FetchError, match="refused.*3 times in a row; the same command starts"):
            download(Remote(url), target, patience=HASTE)


def test_a_server_that_falls_silent_is_given_up(target: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/speech.zip"
        brief = Patience(tries=2, first_pause=0.0, timeouts=(1.0, 0.1))

        with pytest.raises(FetchError, match="timed out"):
            download(Remote(url), target, patience=brief)


def test_an_address_that_is_none_is_not_tried_twice(target: Path) -> None:
    with pytest.raises(CorpusError, match="speech.zip cannot be downloaded"):
        download(Remote("nowhere/speech.zip"), target)


def test_a_content_encoding_is_not_undone(server: FileServer, target: Path) -> None:
    # Some servers call a .tar.gz a tar that they compressed for the way.
    server.headers = {"Content-Encoding": "x-gzip"}
    server.drop_after, server.drops = 300_000, 1

    download(remote(server), target, patience=HASTE)

    assert target.read_bytes() == BODY
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_too_little_room_is_said_beforehand(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))

    with pytest.raises(CorpusError, match="1,000,000 bytes free, and .* needs 1,024,000"):
        download(remote(server), target, patience=HASTE)


def test_a_disk_that_fills_up_keeps_what_came(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def open_on_a_full_disk(path: Path, mode: str = "r", *args: Any, **more: Any) -> IO[Any]:
        if mode == "ab":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return opened(path, mode, *args, **more)

    monkeypatch.setattr(Path, "open", open_on_a_full_disk)
    with pytest.raises(CorpusError, match="the disk is full; make room, and the same command"):
        download(remote(server), target, patience=HASTE)


def test_progress_goes_up_to_the_whole(server: FileServer, target: Path) -> None:
    told: list[tuple[int, int | None, str]] = []

    download(remote(server), target, tell=lambda *what: told.append(what))

    assert told[-1] == (1_024_000, 1_024_000, "speech.zip")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_progress_goes_on_where_the_download_does(server: FileServer, target: Path) -> None:
    server.drop_after, server.drops = 300_000, 1
    told: list[int] = []

    download(
        remote(server), target, patience=HASTE, tell=lambda done, total, name: told.append(done)
    )

    assert told[-1] == 1_024_000
    assert min(told) > 0
    assert told == sorted(told)


def test_a_failing_network_is_no_bad_input(server: FileServer, target: Path) -> None:
    server.errors = [503] * 3

    with pytest.raises(FetchError) as failed:
        download(remote(server), target, patience=HASTE)
    assert failed.value.exit_code == 1
    with pytest.raises(CorpusError) as missing:
        download(Remote(f"{server.url}/elsewhere.zip"), target, patience=HASTE)
    assert missing.value.exit_code == 2


def test_a_connection_cut_before_the_first_byte_leaves_no_file(
    server: FileServer, target: Path
) -> None:
    server.drop_after = 0

    with pytest.raises(FetchError, match="the same command starts again"):
        download(remote(server), target, patience=HASTE)
    assert list(target.parent.iterdir()) == []
