"""The store: whole artifacts or none, whoever dies on the way."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from orchestrator.errors import StoreError
from orchestrator.store import STAGE_VERSIONS, Artifact, Store, environment_inputs, publication

INPUTS = {"seed": 3, "lr": 5e-4, "names": ("b", "a")}
REPOSITORY = Path(__file__).parents[2]


def write(text: str) -> Callable[[Path], None]:
    """A builder of one file."""

    def build(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "out.txt").write_text(text)

    return build


def found(store: Store, inputs: Mapping[str, Any]) -> Artifact | None:
    return store.find("student", store.key("student", inputs))


def never(folder: Path) -> None:
    raise AssertionError("nothing should be built here")


def remote(tmp_path: Path, *, cache: str = "cache") -> Store:
    """A store that is not on a local disk, as far as it can tell."""
    (tmp_path / "bucket").mkdir(exist_ok=True)
    filesystem = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    return Store("runs/one", filesystem=filesystem, cache=tmp_path / cache)


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(tmp_path / "store")
    return remote(tmp_path)


def files_under(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


# What is asked for twice is built once


def test_an_artifact_is_built_once_and_then_reused(store: Store) -> None:
    assert found(store, INPUTS) is None

    first = store.obtain("student", INPUTS, write("hello"))
    again = store.obtain("student", INPUTS, never)

    assert (first.reused, again.reused) == (False, True)
    assert first.path == again.path
    assert (again.path / "inner" / "out.txt").read_text() == "hello"
    assert found(store, INPUTS) == again
    assert store.get("student", first.key) == again


def test_inputs_and_manifest_lie_beside_the_result(store: Store) -> None:
    path = store.obtain("student", INPUTS, write("hello")).path

    assert json.loads((path / "inputs.json").read_text()) == {
        "stage": "student",
        "version": STAGE_VERSIONS["student"],
        "inputs": {"seed": 3, "lr": 5e-4, "names": ["b", "a"]},
    }
    listed = json.loads((path / "manifest.json").read_text())["files"]
    assert set(listed) == {"inputs.json", "inner/out.txt"}
    assert listed["inner/out.txt"] == {
        "bytes": 5,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    }


def test_other_inputs_stages_and_versions_have_other_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    keys = {store.key("student", INPUTS), store.key("teacher", INPUTS)}
    keys.add(store.key("student", {**INPUTS, "seed": 4}))
    monkeypatch.setitem(STAGE_VERSIONS, "student", 99)
    keys.add(store.key("student", INPUTS))

    assert len(keys) == 4
    assert store.key("student", {"names": ["b", "a"], "lr": 0.0005, "seed": 3.0}) in keys


def test_an_unknown_stage_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'student'"):
        Store(tmp_path).key("studnet", {})


def test_nan_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"inputs\.lr is nan"):
        Store(tmp_path).key("student", {"lr": float("nan")})


def test_environment_has_versions_and_the_kind_of_device() -> None:
    inputs = environment_inputs("cuda:1")

    assert inputs["device"] == "cuda"
    versions = inputs["versions"]
    assert isinstance(versions, dict)
    assert set(versions) == {"torch", "torchaudio", "transformers"}


# Builders that fail, and builders that die


def test_a_build_that_raises_leaves_nothing_and_can_be_repeated(
    store: Store, tmp_path: Path
) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        store.obtain("student", INPUTS, fails)

    assert files_under(tmp_path) == []
    assert found(store, INPUTS) is None
    assert not store.obtain("student", INPUTS, write("hello")).reused


CHILD = """
    import os, signal, sys, time
    from pathlib import Path
    from orchestrator.store import Store

    root, log, action = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

    def build(folder):
        with log.open("a") as file:
            file.write(f"{os.getpid()}\\n")
        (folder / "out.txt").write_text("partial")
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.3)
        (folder / "out.txt").write_text("whole")

    print(Store(root).obtain("student", {"seed": 3}, build).reused)
"""


def child(root: Path, log: Path, action: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(root), str(log), action],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_builder_leaves_no_artifact_and_no_lock(tmp_path: Path) -> None:
    killed = child(tmp_path / "store", tmp_path / "log", "die")
    assert killed.wait(30) == -signal.SIGKILL

    store = Store(tmp_path / "store")
    assert found(store, {"seed": 3}) is None

    artifact = store.obtain("student", {"seed": 3}, write("hello"))

    assert not artifact.reused
    assert {path.name for path in files_under(artifact.path)} == {
        "out.txt",
        "inputs.json",
        "manifest.json",
    }
    assert files_under(tmp_path / "store") == files_under(artifact.path)


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    children = [child(tmp_path / "store", tmp_path / "log", "build") for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in children)

    assert said == ["False", "True"]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_many_threads_at_once_build_once(store: Store) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        write("hello")(folder)

    threads = [
        threading.Thread(target=store.obtain, args=("student", INPUTS, build)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(built) == 1


def test_a_build_may_ask_the_store_for_another_artifact(store: Store) -> None:
    def build(folder: Path) -> None:
        teacher = store.obtain("teacher", INPUTS, write("teacher"))
        (folder / "copy.txt").write_text((teacher.path / "inner" / "out.txt").read_text())

    assert (store.obtain("student", INPUTS, build).path / "copy.txt").read_text() == "teacher"


@pytest.mark.parametrize("name", ["manifest.json", "inputs.json"])
def test_a_build_may_not_use_the_stores_own_names(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        store.obtain("student", INPUTS, lambda folder: (folder / name).write_text("x") and None)

    assert found(store, INPUTS) is None


def test_a_link_is_no_result(store: Store) -> None:
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        store.obtain("student", INPUTS, lambda folder: (folder / "link").symlink_to("/etc"))

    assert found(store, INPUTS) is None


# Damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: os.truncate(path / "inner" / "out.txt", 2), "out.txt has 2 bytes"),
        (lambda path: (path / "inner" / "out.txt").unlink(), "out.txt is missing"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda path: os.truncate(path / "manifest.json", 9), "manifest.json is unreadable"),
        (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json is unreadable"),
    ],
)
def test_a_damaged_artifact_is_set_aside_and_rebuilt(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], object],
    said: str,
) -> None:
    store = Store(tmp_path)
    first = store.obtain("student", INPUTS, write("hello"))
    damage(first.path)

    assert found(store, INPUTS) is None
    with pytest.raises(StoreError, match="run the same command again"):
        store.get("student", first.key)
    with caplog.at_level(logging.WARNING):
        again = store.obtain("student", INPUTS, write("hello"))

    assert not again.reused
    assert said in caplog.text
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    assert store.obtain("student", INPUTS, never).reused


# Stores that cannot be written


def test_a_read_only_store_is_named_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    kept = store.obtain("student", INPUTS, write("hello"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(os, "open", refuse)
    for use in (
        lambda: store.obtain("student", {"seed": 4}, never),
        lambda: store.write_bytes("results/a.json", b""),
    ):
        with pytest.raises(StoreError, match=r"store.*Read-only.*name another folder") as raised:
            use()
        assert str(tmp_path / "store") in str(raised.value)
    assert store.obtain("student", INPUTS, never) == Store(tmp_path / "store").get(
        "student", kept.key
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_a_store_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="Permission denied"):
            Store(tmp_path / "store").obtain("student", INPUTS, never)
    finally:
        tmp_path.chmod(0o755)


def test_a_file_where_the_store_should_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")

    with pytest.raises(StoreError, match="store"):
        Store(tmp_path / "store").obtain("student", INPUTS, never)


def test_a_full_disk_while_publishing_is_a_store_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(publication.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left.*free some space"):
        store.obtain("student", INPUTS, write("hello"))
    monkeypatch.undo()

    assert files_under(tmp_path) == []


@pytest.mark.parametrize("uri", ["nosuch://bucket/x", "s3:///"])
def test_a_uri_that_cannot_be_opened_is_a_store_error(uri: str) -> None:
    with pytest.raises(StoreError, match="give a folder or a URI"):
        Store(uri)


def test_credentials_of_a_uri_are_not_shown() -> None:
    with pytest.raises(StoreError) as raised:
        Store("nosuch://user:secret@host/x")

    assert "secret" not in str(raised.value)


# Places


def test_a_store_is_one_however_its_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Store("./a store").obtain("student", INPUTS, write("hello"))
    uri = (tmp_path / "a store").as_uri()

    for other in (Store(tmp_path / "a store"), Store(uri), Store(str(tmp_path / "x/../a store"))):
        assert other.obtain("student", INPUTS, never).reused


def test_a_store_survives_pickling(store: Store) -> None:
    artifact = store.obtain("student", INPUTS, write("hello"))
    store.write_bytes("results/a.json", b"{}")
    copy = pickle.loads(pickle.dumps(store))

    assert copy.obtain("student", INPUTS, never).path == artifact.path
    assert copy.read_bytes("results/a.json") == b"{}"


def test_a_pickled_relative_store_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(Store("store"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert pickle.loads(pickled).uri == str(tmp_path / "store")


# A filesystem that is not a local disk


def test_another_node_fetches_instead_of_building(tmp_path: Path) -> None:
    one, other = remote(tmp_path, cache="one"), remote(tmp_path, cache="other")
    one.obtain("student", INPUTS, write("hello"))
    fetched = other.obtain("student", INPUTS, never)

    assert fetched.reused
    assert fetched.path.is_relative_to(tmp_path / "other")
    assert (fetched.path / "inner" / "out.txt").read_text() == "hello"


def test_an_upload_that_stops_half_way_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.store.remote import Remote

    def cut(self: Remote, name: str, data: bytes) -> None:
        raise OSError("connection lost")

    with monkeypatch.context() as patched:
        patched.setattr(Remote, "write", cut)
        with pytest.raises(StoreError, match="connection lost"):
            remote(tmp_path, cache="one").obtain("student", INPUTS, write("hello"))

    for cache in ("one", "other"):
        assert found(remote(tmp_path, cache=cache), INPUTS) is None
    assert not remote(tmp_path, cache="one").obtain("student", INPUTS, write("hello")).reused


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_text("hallo"), "does not have the bytes"),
        (lambda path: os.truncate(path, 2), "has 2 bytes"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_a_damaged_remote_artifact_is_said_and_rebuilt(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], object],
    said: str,
) -> None:
    remote(tmp_path, cache="one").obtain("student", INPUTS, write("hello"))
    (lying,) = (tmp_path / "bucket").rglob("out.txt")
    damage(lying)
    other = remote(tmp_path, cache="other")

    with caplog.at_level(logging.WARNING):
        assert not other.obtain("student", INPUTS, write("hello")).reused
    assert said in caplog.text
    assert remote(tmp_path, cache="third").obtain("student", INPUTS, never).reused


def test_a_remote_manifest_cannot_write_outside_the_cache(tmp_path: Path) -> None:
    remote(tmp_path, cache="one").obtain("student", INPUTS, write("hello"))
    (manifest,) = (tmp_path / "bucket").rglob("manifest.json")
    content = json.loads(manifest.read_text())
    content["files"]["../../../../evil"] = {"bytes": 0, "sha256": ""}
    manifest.write_text(json.dumps(content))

    assert found(remote(tmp_path, cache="other"), INPUTS) is None
    assert not list((tmp_path / "other").rglob("evil"))


# Result files


def test_result_files_are_written_read_and_listed(store: Store) -> None:
    assert store.list("results") == ()
    assert not store.exists("results/b.json")

    store.write_bytes("results/b.json", b"one")
    store.write_bytes("results/b.json", b"two")
    store.write_bytes("results/a/deep.json", b"")
    store.write_bytes("results-other/c.json", b"")

    assert store.read_bytes("results/b.json") == b"two"
    assert store.exists("results/b.json")
    assert not store.exists("results/a")
    assert store.list("results") == ("results/a/deep.json", "results/b.json")


def test_an_absent_result_file_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError, match=r"results/none\.json"):
        store.read_bytes("results/none.json")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "artifacts/x",
        "locks/x",
        "checkpoints/x",
        "references/x",
        "./x",
    ],
)
def test_names_that_leave_the_results_are_refused(store: Store, name: str) -> None:
    for use in (store.read_bytes, store.exists, store.list):
        with pytest.raises(ValueError, match="cannot name a result file"):
            use(name)
    with pytest.raises(ValueError, match="cannot name a result file"):
        store.write_bytes(name, b"")


def test_a_write_that_fails_keeps_the_old_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.write_bytes("results/a.json", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(publication.os, "fsync", full)
        with pytest.raises(StoreError, match="free some space"):
            store.write_bytes("results/a.json", b"new")

    assert store.read_bytes("results/a.json") == b"old"
    assert store.list("results") == ("results/a.json",)


def test_a_file_that_is_being_written_is_not_listed(store: Store, tmp_path: Path) -> None:
    store.write_bytes("results/a.json", b"old")
    (lying,) = tmp_path.rglob("a.json")
    lying.with_name("b.json.partial-0123456789abcdef").write_bytes(b"ha")

    assert store.list("results") == ("results/a.json",)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_is_full_while_something_is_built_is_a_store_error(
    tmp_path: Path, number: int
) -> None:
    store = Store(tmp_path / "store")

    def build(folder: Path) -> None:
        raise OSError(number, os.strerror(number), str(folder / "frames.npy"))

    with pytest.raises(StoreError, match=f"{os.strerror(number)}.*make it writable, free some"):
        store.obtain("features", {"n": 1}, build)
    assert not list((tmp_path / "store" / "building").iterdir())


def test_another_error_of_a_build_is_its_own(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        raise FileNotFoundError(2, "No such file", "a.wav")

    with pytest.raises(FileNotFoundError, match=r"a\.wav"):
        Store(tmp_path / "store").obtain("features", {"n": 1}, build)
