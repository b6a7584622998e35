from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.corpora.fetching import fetch, sources
from orchestrator.corpora.fetching.download import FetchError, Patience, Remote
from orchestrator.corpora.fetching.fetch import Fetched, fetch_corpus
from orchestrator.corpora.fetching.sources import SOURCES
from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.errors import CorpusError
from orchestrator.store.publication import locked
from tests.corpora.file_server import FileServer, serving

HASTE = Patience(tries=2, first_pause=0.001, timeouts=(2.0, 2.0))
COMMIT = "1658cd342dff90010aa843eaeebd53610a08b1dc"
EMODB = "/download/download.zip"
RAVDESS = "/records/1188976/files/Audio_Speech_Actors_01-24.zip"
MELD = "/~mihalcea/downloads/MELD.Raw.tar.gz"
MELD_TABLES = "/declare-lab/MELD/master/data/MELD"
FSDD = "/Jakobovski/free-spoken-digit-dataset/tar.gz/d6938f9bf1545aa66d8489fc9f1385a7abd64282"
CREMA_D = f"/CheyneyComputerScience/CREMA-D/tar.gz/{COMMIT}"
CREMA_D_MEDIA = f"/media/CheyneyComputerScience/CREMA-D/{COMMIT}"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as state:
        yield state


def fetched(name: str, folder: Path, server: FileServer, **more: Any) -> Fetched:
    return fetch_corpus(name, folder, mirror=server.url, patience=HASTE, **more)


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, body in members.items():
            file.writestr(name, body)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            file.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "fetched.json"
    }


def record(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "fetched.json").read_text()))


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def pointer(body: bytes) -> bytes:
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(body)}\nsize {len(body)}\n"
    ).encode()


EMODB_TREE = {"wav/03a01Fa.wav": b"RIFF", "wav/08a01Na.wav": b"RIFF2", "erkennung.txt": b"text"}


def with_emodb(server: FileServer) -> bytes:
    server.files[EMODB] = zipped(EMODB_TREE)
    return server.files[EMODB]


def test_emodb_comes_into_a_folder_of_its_name(server: FileServer, tmp_path: Path) -> None:
    archive = with_emodb(server)

    done = fetched("emodb", tmp_path / "corpora", server)

    root = tmp_path / "corpora" / "emodb"
    assert done == Fetched(
        name="emodb",
        root=str(root),
        files=3,
        size=4 + 5 + 4,
        already=False,
        archives="",
        left=(f"understudy corpora check emodb {root}",),
    )
    assert tree(root) == EMODB_TREE
    assert os.listdir(tmp_path / "corpora") == ["emodb"]
    (file,) = record(root)["files"]
    assert datetime.fromisoformat(file.pop("date")).utcoffset() is not None
    assert file == {
        "url": f"{server.url}{EMODB}",
        "size": len(archive),
        "sha256": sha256(archive),
    }


def test_fsdd_comes_out_of_the_folder_that_github_packs_it_in(
    server: FileServer, tmp_path: Path
) -> None:
    packed = {"README.md": b"about", "recordings/7_jackson_32.wav": b"RIFF"}
    top = "free-spoken-digit-dataset-d6938f9bf1545aa66d8489fc9f1385a7abd64282"
    server.files[FSDD] = tarred({f"{top}/{name}": body for name, body in packed.items()})

    done = fetched("fsdd", tmp_path, server)

    assert tree(tmp_path / "fsdd") == packed
    assert done.left == (f"understudy corpora check fsdd {tmp_path / 'fsdd'}",)


def test_the_same_command_again_does_nothing(server: FileServer, tmp_path: Path) -> None:
    with_emodb(server)
    first = fetched("emodb", tmp_path, server)
    server.asked.clear()
    (tmp_path / "emodb" / "wav.extracted").write_bytes(b"what the user added")

    assert fetched("emodb", tmp_path, server) == replace(first, already=True)
    assert server.asked == []


@pytest.mark.parametrize("content", [None, b"RIFF longer"])
def test_a_corpus_that_changed_since_is_not_called_whole(
    server: FileServer, tmp_path: Path, content: bytes | None
) -> None:
    with_emodb(server)
    fetched("emodb", tmp_path, server)
    file = tmp_path / "emodb" / "wav" / "03a01Fa.wav"
    file.unlink()
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(CorpusError, match=r"1 of its 3 files .*wav/03a01Fa.wav.*move .* away"):
        fetched("emodb", tmp_path, server)


def test_archives_are_kept_if_asked_and_used_again(server: FileServer, tmp_path: Path) -> None:
    archive = with_emodb(server)

    done = fetched("emodb", tmp_path, server, keep=True)

    assert done.archives == str(tmp_path / "emodb.archives")
    assert tree(tmp_path / "emodb.archives") == {"download.zip": archive}
    (tmp_path / "emodb").rename(tmp_path / "away")
    server.asked.clear()
    fetched("emodb", tmp_path, server, keep=True)
    assert tree(tmp_path / "emodb") == EMODB_TREE
    assert server.asked == []


def test_progress_names_the_file(server: FileServer, tmp_path: Path) -> None:
    archive = with_emodb(server)
    told: list[tuple[int, int | None, str]] = []

    fetched("emodb", tmp_path, server, progress=lambda *what: told.append(what))

    assert told[0] == (len(archive), len(archive), "download.zip")
    assert told[-1] == (13, None, "download.zip, unpacked")


def test_an_interrupted_download_goes_on(server: FileServer, tmp_path: Path) -> None:
    archive = with_emodb(server)
    server.drop_after, server.drops = 100, 1
    with pytest.raises(FetchError, match="goes on from byte 100"):
        fetch_corpus("emodb", tmp_path, mirror=server.url, patience=Patience(tries=1))
    assert not (tmp_path / "emodb").exists()

    fetched("emodb", tmp_path, server)

    assert tree(tmp_path / "emodb") == EMODB_TREE
    assert server.sent == len(archive)


@pytest.mark.parametrize("step", ["_put_together", "_tidy"])
def test_an_interruption_near_the_end_is_made_good(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with_emodb(server)

    def interrupt(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fetch, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetched("emodb", tmp_path, server)
    assert (tmp_path / "emodb").exists() == (step == "_tidy")
    server.asked.clear()

    fetched("emodb", tmp_path, server)

    assert tree(tmp_path / "emodb") == EMODB_TREE
    assert os.listdir(tmp_path) == ["emodb"]
    assert server.asked == []


def test_an_archive_cannot_say_that_it_is_complete(server: FileServer, tmp_path: Path) -> None:
    false = json.dumps({"corpus": "emodb", "files": [], "tree": {}}).encode()
    server.files[EMODB] = zipped({**EMODB_TREE, "fetched.json": false})

    assert fetched("emodb", tmp_path, server).files == 3
    assert len(record(tmp_path / "emodb")["files"]) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>moved</html>", "neither zip nor tar"),
        (zipped({"wav/../../../evil.wav": b"RIFF", "wav/a.wav": b""}), "leads out of the folder"),
        (
            zipped({"readme.txt": b"", "sounds/a.wav": b""}),
            "no folder 'wav' but readme.txt, sounds",
        ),
    ],
)
def test_an_archive_that_is_none_is_removed_so_that_it_can_come_again(
    server: FileServer, tmp_path: Path, content: bytes, said: str
) -> None:
    server.files[EMODB] = content

    with pytest.raises(CorpusError, match=f"{said}.*the archive was removed"):
        fetched("emodb", tmp_path, server)
    assert not (tmp_path / "emodb").exists()
    assert not list(tmp_path.rglob("*.wav"))

    with_emodb(server)
    fetched("emodb", tmp_path, server)
    assert tree(tmp_path / "emodb") == EMODB_TREE


def with_ravdess(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The corpus on the server, and its size and md5 as if they were published."""
    members = {
        "Actor_01/03-01-01-01-01-01-01.wav": b"RIFF",
        "Actor_02/03-01-01-01-01-01-02.wav": b"RIFF2",
    }
    body = server.files[RAVDESS] = zipped(members)
    known = replace(SOURCES["ravdess"].archive, size=len(body), md5=hashlib.md5(body).hexdigest())
    with_archive = {**SOURCES, "ravdess": replace(SOURCES["ravdess"], archive=known)}
    monkeypatch.setattr(fetch, "SOURCES", with_archive)
    return members


def test_ravdess_has_its_actors_in_the_root(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = with_ravdess(server, monkeypatch)

    assert fetched("ravdess", tmp_path, server).files == 2
    assert tree(tmp_path / "ravdess") == members


def test_ravdess_is_held_to_its_published_checksum(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_ravdess(server, monkeypatch)
    body = server.files[RAVDESS]
    server.files[RAVDESS] = body[:50] + b"x" + body[51:]

    with pytest.raises(CorpusError, match=rf"{RAVDESS} .*md5 .*{hashlib.md5(body).hexdigest()}"):
        fetched("ravdess", tmp_path, server)


def test_ravdess_is_held_to_its_published_size(server: FileServer, tmp_path: Path) -> None:
    server.files[RAVDESS] = zipped({"Actor_01/a.wav": b"RIFF"})

    with pytest.raises(CorpusError, match="expected 208,468,073"):
        fetched("ravdess", tmp_path, server)


def meld_archive(*, tables: bool) -> bytes:
    train = {"train_splits/dia0_utt0.mp4": b"clip 1"}
    outer = {
        "MELD.Raw/README.txt": b"words",
        "MELD.Raw/dev.tar.gz": tarred({"dev_splits_complete/dia0_utt0.mp4": b"clip 2"}),
        "MELD.Raw/test.tar.gz": tarred({"output_repeated_splits_test/dia0_utt0.mp4": b"clip 3"}),
    }
    if tables:
        train["train_sent_emo.csv"] = b"train"
        outer |= {"MELD.Raw/dev_sent_emo.csv": b"dev", "MELD.Raw/test_sent_emo.csv": b"test"}
    return tarred({**outer, "MELD.Raw/train.tar.gz": tarred(train)})


MELD_TREE = {
    "README.txt": b"words",
    "train_splits/dia0_utt0.mp4": b"clip 1",
    "dev_splits_complete/dia0_utt0.mp4": b"clip 2",
    "output_repeated_splits_test/dia0_utt0.mp4": b"clip 3",
    "train_sent_emo.csv": b"train",
    "dev_sent_emo.csv": b"dev",
    "test_sent_emo.csv": b"test",
}


def test_meld_is_unpacked_to_its_clips(server: FileServer, tmp_path: Path) -> None:
    server.files[MELD] = meld_archive(tables=True)

    done = fetched("meld", tmp_path, server)

    assert tree(tmp_path / "meld") == MELD_TREE
    assert server.paths == [MELD]
    assert "understudy[video]" in done.left[0]
    assert os.listdir(tmp_path) == ["meld"]


def test_meld_gets_the_tables_that_the_archive_lacks(server: FileServer, tmp_path: Path) -> None:
    server.files[MELD] = meld_archive(tables=False)
    for split in ("train", "dev", "test"):
        server.files[f"{MELD_TABLES}/{split}_sent_emo.csv"] = split.encode()

    fetched("meld", tmp_path, server)

    assert tree(tmp_path / "meld") == MELD_TREE
    assert [file["url"].rpartition("/")[2] for file in record(tmp_path / "meld")["files"]] == [
        "MELD.Raw.tar.gz",
        "train_sent_emo.csv",
        "dev_sent_emo.csv",
        "test_sent_emo.csv",
    ]


def test_a_table_that_does_not_come_costs_no_second_download_of_the_clips(
    server: FileServer, tmp_path: Path
) -> None:
    server.files[MELD] = meld_archive(tables=False)
    with pytest.raises(CorpusError, match=r"train_sent_emo.csv .*404.*--mirror"):
        fetched("meld", tmp_path, server)
    for split in ("train", "dev", "test"):
        server.files[f"{MELD_TABLES}/{split}_sent_emo.csv"] = split.encode()
    server.asked.clear()

    fetched("meld", tmp_path, server)

    assert tree(tmp_path / "meld") == MELD_TREE
    assert MELD not in server.paths


CREMA_D_AUDIO = {
    f"AudioWAV/{actor}_DFA_ANG_XX.wav": b"RIFF%d" % actor * actor for actor in range(1001, 1013)
}
CREMA_D_TABLES = {
    "VideoDemographics.csv": b"ActorID,Age,Sex,Race,Ethnicity\n",
    "processedResults/tabulatedVotes.csv": b'"","A"\n',
}


def with_crema_d(server: FileServer) -> None:
    """As GitHub serves it: pointers in the archive, audio elsewhere."""
    members = {
        **CREMA_D_TABLES,
        **{path: pointer(body) for path, body in CREMA_D_AUDIO.items()},
        "AudioMP3/1001_DFA_ANG_XX.mp3": pointer(b"mp3"),
        "VideoFlash/1001_DFA_ANG_XX.flv": pointer(b"flv"),
    }
    top = f"CREMA-D-{COMMIT}"
    server.files[CREMA_D] = tarred({f"{top}/{path}": body for path, body in members.items()})
    for path, body in CREMA_D_AUDIO.items():
        server.files[f"{CREMA_D_MEDIA}/{path}"] = body


def test_crema_d_has_audio_in_place_of_pointers(server: FileServer, tmp_path: Path) -> None:
    with_crema_d(server)
    told: list[tuple[int, int | None, str]] = []

    done = fetched("crema-d", tmp_path, server, progress=lambda *what: told.append(what))

    assert tree(tmp_path / "crema-d") == {**CREMA_D_AUDIO, **CREMA_D_TABLES}
    assert done.files == 14
    assert os.listdir(tmp_path) == ["crema-d"]
    size = sum(len(body) for body in CREMA_D_AUDIO.values())
    assert told[-1][:2] == (size, size)
    path, body = next(iter(CREMA_D_AUDIO.items()))
    noted = {file["url"]: file for file in record(tmp_path / "crema-d")["files"]}
    assert len(noted) == 13
    assert noted[f"{server.url}{CREMA_D_MEDIA}/{path}"]["sha256"] == sha256(body)
    assert record(tmp_path / "crema-d")["tree"][path] == len(body)
    server.asked.clear()
    assert fetched("crema-d", tmp_path, server).already
    assert server.asked == []


def test_crema_d_with_a_file_that_is_another_names_it_and_goes_on_later(
    server: FileServer, tmp_path: Path
) -> None:
    with_crema_d(server)
    path = "AudioWAV/1007_DFA_ANG_XX.wav"
    wrong = CREMA_D_AUDIO[path][::-1]
    server.files[f"{CREMA_D_MEDIA}/{path}"] = wrong

    with pytest.raises(CorpusError) as failed:
        fetched("crema-d", tmp_path, server)
    for said in (path, sha256(CREMA_D_AUDIO[path]), sha256(wrong)):
        assert said in str(failed.value)
    assert not (tmp_path / "crema-d").exists()

    with_crema_d(server)
    server.asked.clear()
    fetched("crema-d", tmp_path, server)
    assert tree(tmp_path / "crema-d") == {**CREMA_D_AUDIO, **CREMA_D_TABLES}
    assert CREMA_D not in server.paths
    assert f"{CREMA_D_MEDIA}/{path}" in server.paths


@pytest.mark.parametrize("name", ["iemocap", "savee"])
def test_a_corpus_that_must_be_asked_for_says_where(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError, match=re.escape(KINDS[name].about.obtain)) as failed:
        fetch_corpus(name, tmp_path)

    assert KINDS[name].about.obtain
    assert "fetch can: crema-d, emodb, fsdd, meld, ravdess" in str(failed.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["folder", "synthetic", "table"])
def test_what_is_here_already_needs_no_fetching(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError, match="there is nothing to fetch"):
        fetch_corpus(name, tmp_path)


def test_an_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no kind of corpus 'emo-db'; did you mean 'emodb'"):
        fetch_corpus("emo-db", tmp_path)


def test_every_kind_is_fetched_or_refused_by_name() -> None:
    own = {"folder", "synthetic", "table"}

    assert set(SOURCES) | {"iemocap", "savee"} | own == set(KINDS)


@pytest.mark.parametrize("mirror", ["", "host/corpora", "ftp://host", "https://", "http://h/?a=b"])
def test_a_mirror_that_is_no_address_is_refused(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(CorpusError, match=re.escape(f"--mirror {mirror!r}")):
        fetch_corpus("emodb", tmp_path, mirror=mirror)


def test_a_mirror_may_begin_with_a_path(server: FileServer, tmp_path: Path) -> None:
    with_emodb(server)
    server.files[f"/copies/of{EMODB}"] = server.files.pop(EMODB)

    fetch_corpus("emodb", tmp_path, mirror=f"{server.url}/copies/of/")

    assert tree(tmp_path / "emodb") == EMODB_TREE


def test_a_mirror_serves_every_address_and_changes_no_checksum() -> None:
    moved = SOURCES["crema-d"].at("https://host")
    assert moved.archive == Remote(f"https://host{CREMA_D}")
    assert moved.large_files == f"https://host{CREMA_D_MEDIA}"
    assert SOURCES["meld"].at("http://host/x").others[0].url == (
        f"http://host/x{MELD_TABLES}/train_sent_emo.csv"
    )
    ravdess = SOURCES["ravdess"]
    assert ravdess.at("https://host").archive.md5 == ravdess.archive.md5
    assert ravdess.at("https://host").large_files == ""


def test_something_else_in_the_way_is_left_alone(server: FileServer, tmp_path: Path) -> None:
    with_emodb(server)
    (tmp_path / "emodb").mkdir()
    (tmp_path / "emodb" / "mine.txt").write_text("mine")

    with pytest.raises(CorpusError, match=r"already there, and not from this command.*check emodb"):
        fetched("emodb", tmp_path, server)
    assert tree(tmp_path) == {"emodb/mine.txt": b"mine"}
    assert server.asked == []


def test_an_empty_folder_is_not_in_the_way(server: FileServer, tmp_path: Path) -> None:
    with_emodb(server)
    (tmp_path / "emodb").mkdir()

    assert fetched("emodb", tmp_path, server).files == 3


@pytest.mark.parametrize("text", ["{", "[]", '{"corpus": "meld", "tree": {}}', '{"tree": 1}'])
def test_a_record_that_is_none_is_named(server: FileServer, tmp_path: Path, text: str) -> None:
    (tmp_path / "emodb").mkdir()
    (tmp_path / "emodb" / "fetched.json").write_text(text)

    with pytest.raises(CorpusError, match=r"fetched.json is no record of fetching emodb; move"):
        fetched("emodb", tmp_path, server)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CorpusError, match=r"corpus 'emodb': .*file.* cannot be used"):
        fetch_corpus("emodb", tmp_path / "file" / "corpora")


def test_published_sources_are_addresses_and_hashes() -> None:
    for source in sources.SOURCES.values():
        assert re.fullmatch(r"https?://[a-z.]+/[^?#]+", source.archive.url)
        assert re.fullmatch(r"[0-9a-f]{32}", source.archive.md5 or "0" * 32)


@pytest.mark.parametrize(("status", "error"), [(404, CorpusError), (503, FetchError)])
def test_a_download_that_never_began_leaves_no_folder(
    server: FileServer, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    server.errors = [status] * HASTE.tries

    with pytest.raises(error, match=str(status)):
        fetched("emodb", tmp_path, server)
    assert list(tmp_path.iterdir()) == []


def test_what_came_of_a_download_stays(server: FileServer, tmp_path: Path) -> None:
    with_emodb(server)
    server.drop_after, server.drops = 100, 1

    with pytest.raises(FetchError):
        fetch_corpus("emodb", tmp_path, mirror=server.url, patience=Patience(tries=1))
    assert sorted(os.listdir(tmp_path / "emodb.archives")) == [
        "download.zip.part",
        "download.zip.part.json",
    ]


def test_two_commands_at_once_do_not_write_to_one_file(server: FileServer, tmp_path: Path) -> None:
    with_emodb(server)
    errors: list[FetchError] = []

    def second(*what: object) -> None:
        """While the first is at it, its bytes half here."""
        if not errors:
            with pytest.raises(FetchError, match="emodb by another command; wait") as failed:
                fetched("emodb", tmp_path, server)
            errors.append(failed.value)

    assert fetched("emodb", tmp_path, server, progress=second).files == 3
    assert errors[0].exit_code == 1
    assert server.paths == [EMODB]
    assert tree(tmp_path / "emodb") == EMODB_TREE
    assert os.listdir(tmp_path) == ["emodb"]


def test_a_command_that_is_tidying_up_is_left_to_it(server: FileServer, tmp_path: Path) -> None:
    with_emodb(server)
    fetched("emodb", tmp_path, server)
    lock = tmp_path / "emodb.archives" / "lock"

    with locked(lock, purpose="test"), pytest.raises(FetchError, match="by another command"):
        fetched("emodb", tmp_path, server)

    lock.parent.mkdir(exist_ok=True)
    lock.write_bytes(b"")  # as a crash leaves it
    assert fetched("emodb", tmp_path, server).already
    assert os.listdir(tmp_path) == ["emodb"]


def test_a_damaged_corpus_keeps_its_archive(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_emodb(server)
    with monkeypatch.context() as patched:
        patched.setattr(fetch, "_tidy", lambda *args, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fetched("emodb", tmp_path, server)
    (tmp_path / "emodb" / "erkennung.txt").unlink()

    with pytest.raises(CorpusError, match="went missing"):
        fetched("emodb", tmp_path, server)
    assert (tmp_path / "emodb.archives" / "download.zip").exists()


@pytest.mark.parametrize("name", ["zzz", "tabel", "syntetic"])
def test_names_that_cannot_be_fetched_are_not_suggested(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError) as failed:
        fetch_corpus(name, tmp_path)

    said = str(failed.value).partition(";")[2]
    assert said == " known: crema-d, emodb, fsdd, iemocap, meld, ravdess, savee"
