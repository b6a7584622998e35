"""Pruning takes what nobody needs, and nothing that anybody does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError, StoreError
from orchestrator.store import FIT, Store, publication
from orchestrator.store import pruning as store_pruning
from orchestrator.store.contents import read_contents
from orchestrator.store.pruning import prune, to_prune
from orchestrator.store.publication import locked
from orchestrator.store.references import References, begin
from orchestrator.store.use import using
from tests.store.stores import DAY, HOUR, far, made_ago, make, near, users_of

REPOSITORY = Path(__file__).parents[2]
KEY = "ab" * 32


@pytest.fixture(params=[near, far], ids=["local", "remote"])
def place(request: pytest.FixtureRequest) -> Callable[..., Store]:
    found: Callable[..., Store] = request.param
    return found


def there(store: Store) -> set[str]:
    """Keys of the artifacts of a store."""
    return set(users_of(read_contents(store)))


def fit_left(store: Store, *, key: str = KEY, folder: str = KEY) -> Path:
    """The states of a fit; their folder."""
    store.files.write(f"checkpoints/student/{folder}/000001-x.safetensors", b"x" * 10)
    store.files.write(
        f"checkpoints/student/{folder}/{FIT}", f'{{"stage": "student", "key": "{key}"}}'.encode()
    )
    return store.folder / "checkpoints" / "student" / folder


# Artifacts


def test_what_no_experiment_refers_to_goes_and_the_rest_stays(
    place: Callable[..., Store], tmp_path: Path
) -> None:
    a = place(tmp_path, used_by="a")
    kept, gone = make(a, "kept"), make(place(tmp_path), "gone", count=1000)
    a.write_bytes("results/a/rows.csv", b"1")
    a.write_bytes("journal/a/sweep/k/1.jsonl", b"1")
    begin(a.files)
    References(a.files, "a").complete()
    made_ago(tmp_path, 2 * HOUR)

    found = prune(a)

    assert [one.key for one in found.artifacts] == [gone]
    assert found.size >= 1000
    assert there(a) == {kept}
    assert a.get("student", kept).reused
    assert a.read_bytes("results/a/rows.csv") == b"1"
    assert not a.artifact_folder("student", gone).exists()
    assert place(tmp_path, used_by=None).find("student", gone) is None
    assert not list((a.folder / "building").iterdir())
    again = prune(a)
    assert (again.size, again.artifacts) == (0, ())


def test_what_two_share_stays_when_one_is_dropped(
    place: Callable[..., Store], tmp_path: Path
) -> None:
    a, b = place(tmp_path, used_by="a"), place(tmp_path, used_by="b@paper")
    shared, of_a, of_b = make(a, "shared"), make(a, "a"), make(b, "b")
    make(b, "shared")
    made_ago(tmp_path, 2 * HOUR)

    assert to_prune(read_contents(a)).artifacts == ()
    expected = to_prune(read_contents(a), drop=("a",))
    assert [one.key for one in expected.artifacts] == [of_a]
    assert there(a) == {shared, of_a, of_b}

    prune(a, drop=("a",))

    assert users_of(read_contents(a)) == {shared: ("b@paper",), of_b: ("b@paper",)}
    prune(a, drop=("b@paper",))
    assert there(a) == set()


def test_results_of_a_dropped_experiment_stay_and_it_may_run_again(tmp_path: Path) -> None:
    a = near(tmp_path, used_by="a")
    with using(a, command="a"):
        key = make(a, "x")
    a.write_bytes("results/a/evaluation.json", b"{}")
    made_ago(tmp_path, 2 * HOUR)

    prune(a, drop=("a",))

    assert a.read_bytes("results/a/evaluation.json") == b"{}"
    assert read_contents(a).referrers.unknown == ()
    assert make(near(tmp_path, used_by="a"), "x") == key
    assert users_of(read_contents(a)) == {key: ("a",)}


@pytest.mark.parametrize(("age", "goes"), [(HOUR - 60, False), (HOUR + 60, True)])
def test_what_is_new_stays_for_an_hour(tmp_path: Path, age: float, goes: bool) -> None:
    store = near(tmp_path)
    make(store, "x")
    made_ago(tmp_path, age)

    found = to_prune(read_contents(store))

    assert (len(found.artifacts), len(found.young)) == (int(goes), int(not goes))


def test_who_is_dropped_must_be_known(tmp_path: Path) -> None:
    make(near(tmp_path, used_by="emodb-kim"), "x")

    with pytest.raises(InputError, match="--drop 'emodb-kin'.*did you mean 'emodb-kim'"):
        prune(near(tmp_path), drop=("emodb-kin",))
    with pytest.raises(InputError, match="none has"):
        prune(Store(tmp_path / "empty"), drop=("x",))


def test_who_notes_it_in_the_last_moment_gets_it_back(
    place: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place(tmp_path)
    keys = {make(store, "x"), make(store, "y")}
    wanted = store.key("student", {"name": "x"})
    made_ago(tmp_path, 2 * HOUR)
    referred_to = store_pruning._referred_to

    def late(store: Store) -> set[tuple[str, str]]:
        # a machine whose locks are not seen here
        References(store.files, "late").note("student", wanted)
        return referred_to(store)

    monkeypatch.setattr(store_pruning, "_referred_to", late)
    found = prune(store)

    assert [one.key for one in found.artifacts] == list(keys - {wanted})
    assert there(store) == {wanted}
    assert make(store, "x") == wanted
    assert store.get("student", wanted).reused


# What is under way


def test_a_running_command_keeps_everything(tmp_path: Path) -> None:
    store = near(tmp_path)
    make(store, "x")
    made_ago(tmp_path, 2 * HOUR)

    with (
        using(store, command="the sweep 'y'"),
        pytest.raises(StoreError, match="in use: the sweep 'y'.*nothing was pruned"),
    ):
        prune(store)
    assert len(there(store)) == 1
    prune(store)
    assert there(store) == set()


CHILD = """
import sys, time
from orchestrator.store import Store

def build(folder):
    print("in", flush=True)
    time.sleep(60)

Store(sys.argv[1]).obtain("student", {"name": "x"}, build)
"""


def test_a_fit_under_way_keeps_its_states_and_what_it_has_built(tmp_path: Path) -> None:
    store = near(tmp_path)
    key = store.key("student", {"name": "x"})
    states = fit_left(store, key=key)
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(store.folder)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        (building,) = (store.folder / "building").iterdir()
        (building / "half").write_text("")
        made_ago(tmp_path, 30 * DAY)

        assert to_prune(read_contents(store)).size == 0
        prune(store)

        assert states.is_dir()
        assert (building / "half").exists()
        assert store.lock(key).exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    found = prune(store)
    assert {len(found.fits), len(found.leftovers)} == {1}
    assert not states.exists()
    assert not building.exists()
    assert [path.name for path in (store.folder / "locks").iterdir()] == ["in-use"]


@pytest.mark.parametrize(("days", "goes"), [(6.9, False), (7.1, True)])
def test_states_that_nobody_goes_on_with_go_after_some_days(
    place: Callable[..., Store], tmp_path: Path, days: float, goes: bool
) -> None:
    store = place(tmp_path)
    fit_left(store)
    made_ago(tmp_path, days * DAY)

    assert len(to_prune(read_contents(store), days=days - 0.1).fits) == 1
    assert len(prune(store).fits) == int(goes)
    assert len(read_contents(store).fits) == int(not goes)


def test_states_of_a_sealed_result_go_at_once(place: Callable[..., Store], tmp_path: Path) -> None:
    a = place(tmp_path, used_by="a")
    key = make(a, "x")
    fit_left(a, key=key, folder="cd" * 32)
    fit_left(a, key="ef" * 32, folder=key)

    found = prune(a)

    assert [(fit.key, fit.sealed) for fit in found.fits] == [(key, True)]
    assert [fit.folder for fit in read_contents(a).fits] == [f"checkpoints/student/{key}"]


# Leftovers


def test_leftovers_go_once_they_are_surely_dead(tmp_path: Path) -> None:
    store = near(tmp_path)
    names = (
        f"damaged/student-{KEY}-17/x",
        f"building/{KEY}-host/x",
        "building/pruned-zz/x",
        "results/a/rows.csv.partial-0123456789abcdef",
    )
    for name in names:
        (store.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (store.folder / name).write_bytes(b"x")

    prune(store)
    assert [(store.folder / name).exists() for name in names] == [False, True, False, True]
    made_ago(tmp_path, 2 * HOUR)
    prune(store)
    assert not any((store.folder / name).exists() for name in names)


def test_uploads_are_given_a_day(tmp_path: Path) -> None:
    store = far(tmp_path, used_by="a")
    key = make(store, "x")
    manifest = tmp_path / "bucket" / "one" / "artifacts" / "student" / key / "manifest.json"
    whole = manifest.read_bytes()
    manifest.unlink()
    made_ago(tmp_path, 0.9 * DAY)

    assert prune(store).leftovers == ()
    manifest.write_bytes(whole)
    prune(store)
    assert far(tmp_path, cache="other").find("student", key) is not None
    manifest.unlink()
    made_ago(tmp_path, 1.1 * DAY)
    prune(store)
    assert store.files.list("artifacts") == ()


def test_copies_on_this_machine_go_when_asked_and_are_fetched_again(tmp_path: Path) -> None:
    store = far(tmp_path, used_by="a")
    key = make(store, "x")

    assert prune(store).copies == ()
    assert [one.key for one in prune(store, copies=True).copies] == [key]
    assert not store.artifact_folder("student", key).exists()
    assert store.get("student", key).path.is_dir()


# Stores that are old, cut short, or not to be written


def test_of_who_ran_before_references_nothing_goes_until_it_is_known(tmp_path: Path) -> None:
    store = near(tmp_path)
    key = make(store, "x")
    store.write_bytes("results/old/evaluation.json", b"{}")
    fit_left(store)
    made_ago(tmp_path, 30 * DAY)

    found = prune(store)

    assert (found.artifacts, found.unknown) == ((), ("old",))
    assert [one.key for one in found.unsure] == [key]
    assert len(found.fits) == 1
    assert prune(store).unknown == ("old",)

    old = near(tmp_path, used_by="old")
    with using(old, command="old"):
        make(old, "x")
    assert prune(store).unknown == ("old",)
    old.noted_all()
    assert prune(store).unknown == ()
    assert there(store) == {key}

    prune(store, drop=("old",))
    assert there(store) == set()


def test_dropping_is_the_other_mend_of_an_old_store(tmp_path: Path) -> None:
    store = near(tmp_path)
    make(store, "x")
    store.write_bytes("studies/old.study.db", b"")
    made_ago(tmp_path, 2 * HOUR)

    assert len(prune(store, drop=("old",)).artifacts) == 1
    assert prune(store).unknown == ()


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from orchestrator.store import Store
from orchestrator.store.pruning import prune

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "renaming":
    rename, seen = Path.rename, []
    def second(self, target):
        seen.append(self)
        return die() if len(seen) == 2 else rename(self, target)
    Path.rename = second
else:
    shutil.rmtree = lambda path: die(next(Path(path).glob("*")).unlink())
prune(Store(sys.argv[1]))
"""


@pytest.mark.parametrize("where", ["renaming", "removing"])
def test_killed_in_the_middle_it_leaves_a_whole_store(tmp_path: Path, where: str) -> None:
    a = near(tmp_path, used_by="a")
    kept, gone = make(a, "kept"), {make(near(tmp_path), name) for name in ("x", "y", "z")}
    made_ago(tmp_path, 2 * HOUR)

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(a.folder), where], cwd=REPOSITORY, check=False
    )

    assert killed.returncode == -signal.SIGKILL
    left = there(a)
    assert kept in left
    assert len(left & gone) == (2 if where == "renaming" else 0)
    assert all(a.find("student", key) for key in left)
    prune(a)
    assert there(a) == {kept}
    assert list((a.folder / "building").iterdir()) == []


def test_a_store_that_cannot_be_written_is_said_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = near(tmp_path)
    key = make(store, "x")
    made_ago(tmp_path, 2 * HOUR)
    begin(store.files)

    def refuse(*_: object) -> None:
        raise OSError(30, os.strerror(30))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(StoreError, match="cannot be written.*Read-only"):
            prune(store)
    assert store.find("student", key) is not None
    with monkeypatch.context() as patched:
        patched.setattr(publication.fcntl, "flock", refuse)
        with pytest.raises(StoreError, match="cannot be written.*Read-only"):
            prune(store)
    assert store.find("student", key) is not None


def test_a_lock_that_is_held_is_left_alone(tmp_path: Path) -> None:
    store = near(tmp_path)
    (store.folder / "locks").mkdir(parents=True)
    (store.folder / "locks" / "stale.lock").write_text("")

    with locked(store.lock(KEY), purpose="x"):
        prune(store)
        assert store.lock(KEY).exists()
    assert [path.name for path in (store.folder / "locks").iterdir()] == ["in-use"]


def test_a_copy_whose_original_was_pruned_elsewhere_is_put_back_when_it_is_wanted(
    tmp_path: Path,
) -> None:
    """Else this machine would go on from it, and every other would look for it in vain."""
    one, two = (far(tmp_path, used_by="x", cache=cache) for cache in ("one", "two"))
    key = make(one, "student")
    make(two, "student")
    begin(one.files)
    made_ago(tmp_path / "bucket", 2 * HOUR)
    assert prune(one, drop=("x",), days=7.0, copies=True).artifacts

    again = far(tmp_path, used_by="x", cache="two")
    assert make(again, "student") == key
    third = far(tmp_path, used_by="x", cache="three")
    assert third.get("student", key).path.is_dir()
