"""Who refers to what: noted before it is looked for, whoever asks."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.store.publication import LocalFiles
from orchestrator.store.references import References, Referrers, begin, experiments_in
from tests.store.stores import far, make, near

KEY = "ab" * 32


@pytest.fixture(params=[near, far], ids=["local", "remote"])
def place(request: pytest.FixtureRequest) -> Callable[..., Store]:
    found: Callable[..., Store] = request.param
    return found


def noted(store: Store) -> dict[tuple[str, str], list[str]]:
    return Referrers(store.files.list("references")).of


def test_what_is_obtained_or_got_is_noted_for_who_asked(
    place: Callable[..., Store], tmp_path: Path
) -> None:
    nobody, a, b = (place(tmp_path, used_by=name) for name in (None, "a", "b@paper"))
    first, second = make(nobody, "first"), make(a, "second")
    b.get("student", second)

    assert noted(nobody) == {("student", second): ["a", "b@paper"]}
    assert first not in {key for _, key in noted(nobody)}


def test_it_is_noted_before_anything_is_built(tmp_path: Path) -> None:
    store = near(tmp_path, used_by="a")
    seen: list[object] = []

    store.obtain("student", {}, lambda folder: seen.append(noted(store)))

    assert seen == [{("student", store.key("student", {})): ["a"]}]


def test_a_pickled_store_still_knows_for_whom_it_is(
    place: Callable[..., Store], tmp_path: Path
) -> None:
    copy = pickle.loads(pickle.dumps(place(tmp_path, used_by="a")))
    key = make(copy, "x")

    assert noted(copy) == {("student", key): ["a"]}


def test_one_artifact_is_written_down_once_and_remembered(tmp_path: Path) -> None:
    written: list[str] = []
    asked: list[str] = []

    class Counting(LocalFiles):
        def exists(self, name: str) -> bool:
            asked.append(name)
            return super().exists(name)

        def write(self, name: str, data: bytes) -> None:
            written.append(name)
            super().write(name, data)

    first = References(Counting(tmp_path), "a")
    for references in (first, first, References(Counting(tmp_path), "a")):
        references.note("student", KEY)

    assert written == [f"references/a/student/{KEY}"]
    assert asked == 2 * written


def test_names_of_variants_that_no_file_could_have(tmp_path: Path) -> None:
    store = near(tmp_path, used_by="a@x/../y z")
    key = make(store, "x")

    assert noted(store) == {("student", key): ["a@x/../y z"]}
    assert [path.name for path in (tmp_path / "store" / "references").iterdir()] == [
        "a@x%2F..%2Fy%20z"
    ]


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_store_that_takes_no_notes_is_read_but_builds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make(near(tmp_path), "there")
    store = near(tmp_path, used_by="a")
    monkeypatch.setattr(LocalFiles, "write", refuse)

    assert make(store, "there") == key
    assert store.get("student", key).key == key
    with pytest.raises(StoreError, match="cannot be written.*Read-only"):
        make(store, "new")


def test_an_experiment_forgets_its_own_only(place: Callable[..., Store], tmp_path: Path) -> None:
    a, b = place(tmp_path, used_by="a"), place(tmp_path, used_by="b")
    key = make(a, "x")
    make(b, "x")

    References(a.files, "a").forget()

    assert noted(a) == {("student", key): ["b"]}


# Stores from before


def test_who_ran_before_notes_were_taken_is_unknown_until_it_has_run_again(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    for name in ("results/old/evaluation.json", "results/old@v/rows.csv", "studies/s.study.db"):
        files.write(name, b"")

    assert Referrers(files.list("")).unknown == ("old", "old@v", "s")
    begin(files)
    files.write("results/new/evaluation.json", b"")
    begin(files)
    assert Referrers(files.list("")).unknown == ("old", "old@v", "s")
    assert Referrers(files.list("")).experiments == ("new", "old", "old@v", "s")

    References(files, "old").note("student", KEY)  # and is interrupted
    assert "old" in Referrers(files.list("")).unknown
    References(files, "old").complete()
    References(files, "s").forget()
    assert Referrers(files.list("")).unknown == ("old@v",)


def test_in_a_new_store_nobody_is_unknown(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    begin(files)
    files.write("results/new/evaluation.json", b"")
    References(files, "new").complete()

    assert Referrers(files.list("")).unknown == ()


def test_experiments_are_found_by_what_they_left() -> None:
    assert experiments_in([]) == []
    assert experiments_in(["results/a.json", "studies/a.db", "artifacts/results/x/y"]) == []
    assert experiments_in(["results/a.b.some-folds/x.png", "journal/a.b/sweep/k/1.jsonl"]) == [
        "a.b.some-folds"
    ]
