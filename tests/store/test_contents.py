"""What lies in a store, whole or not, here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store import FIT, Store
from orchestrator.store.contents import read_contents, what
from orchestrator.store.publication import locked
from orchestrator.store.references import begin
from orchestrator.store.sizes import Amount, ExperimentSize, sizes_of
from orchestrator.store.use import using
from orchestrator.training import checkpoint
from tests.store.stores import far, make, near, users_of


@pytest.fixture(params=[near, far], ids=["local", "remote"])
def place(request: pytest.FixtureRequest) -> Callable[..., Store]:
    found: Callable[..., Store] = request.param
    return found


def test_an_empty_store_holds_nothing(place: Callable[..., Store], tmp_path: Path) -> None:
    contents = read_contents(place(tmp_path))

    assert (contents.artifacts, contents.fits, contents.leftovers) == ((), (), ())
    assert (contents.experiments, contents.running) == ((), ())
    assert sizes_of(contents).total == 0


def test_artifacts_and_who_refers_to_them(place: Callable[..., Store], tmp_path: Path) -> None:
    a, b = place(tmp_path, used_by="a"), place(tmp_path, used_by="b")
    shared, own, free = make(a, "shared"), make(a, "own"), make(place(tmp_path), "free")
    make(b, "shared")

    contents = read_contents(a)

    assert users_of(contents) == {shared: ("a", "b"), own: ("a",), free: ()}
    assert all(one.manifest and one.inputs for one in contents.artifacts)
    assert contents.experiments == ("a", "b")
    assert len(contents.copies) == (3 if a.remote else 0)


def test_the_room_of_what_is_shared_is_counted_once(tmp_path: Path) -> None:
    a, b = near(tmp_path, used_by="a"), near(tmp_path, used_by="b")
    begin(a.files)
    for store, name, count in ((a, "shared", 1000), (a, "own", 200), (b, "shared", 1000)):
        make(store, name, count=count)
    make(near(tmp_path), "free", stage="features", count=30)
    a.write_bytes("results/a/rows.csv", b"12345")
    a.write_bytes("journal/a/sweep/k/000001-00000000.jsonl", b"123")
    a.write_bytes("studies/a.study.db", b"1")

    contents = read_contents(a)
    beside = {one.key: one.size for one in contents.artifacts}
    sizes = sizes_of(contents)

    shared, own = (a.key("student", {"name": name}) for name in ("shared", "own"))
    assert beside[shared] >= 1000
    assert sizes.artifacts["student"] == Amount(2, beside[shared] + beside[own])
    assert sizes.experiments["b"] == ExperimentSize(
        Amount(1, beside[shared]), Amount(0, 0), Amount(0, 0)
    )
    assert sizes.experiments["a"].alone == Amount(1, beside[own])
    assert sizes.experiments["a"].files == Amount(2, 6)
    assert sizes.unused.count == 1
    whole = sum(path.stat().st_size for path in a.folder.rglob("*") if path.is_file())
    assert sizes.total == whole


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_text("{"), "inputs.json is unreadable"),
        (lambda file: file.write_text("[]"), "inputs.json is unreadable"),
        (lambda file: file.write_bytes(b"\xff"), "inputs.json is unreadable"),
        (lambda file: file.unlink(), "inputs.json is missing"),
    ],
)
def test_an_artifact_whose_inputs_are_damaged_is_listed_all_the_same(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    store = near(tmp_path)
    key = make(store, "x")
    damage(store.artifact_folder("student", key) / "inputs.json")

    (one,) = read_contents(store).artifacts

    assert one.key == key
    assert what(store, one) == said


@pytest.mark.parametrize(
    ("stage", "inputs", "said"),
    [
        (
            "teacher",
            {"teacher": {"kind": "vertical-vit"}, "fold": "fold=2", "seed": 0, "train": {"n": 9}},
            "vertical-vit, fold=2, seed 0, 9 utterances",
        ),
        (
            "features",
            {"features": {"kind": "log-mel"}, "utterances": [["a", "1"], ["b", "2"]]},
            "log-mel, 2 utterances",
        ),
        (
            "predictions",
            {"trained": "ab" * 32, "utterances": {"n": 5}},
            "trained abababababab, 5 utterances",
        ),
        (
            "knowledge",
            {"teacher": "ab" * 32, "kind": "cross-fitted", "train": {"n": 3}},
            "cross-fitted, teacher abababababab, 3 utterances",
        ),
        ("waveforms", {}, ""),
    ],
)
def test_what_an_artifact_is_in_a_few_words(
    tmp_path: Path, stage: str, inputs: dict[str, Any], said: str
) -> None:
    store = near(tmp_path)
    store.obtain(stage, inputs, lambda folder: None)

    (one,) = read_contents(store).artifacts

    assert what(store, one) == said


def test_a_fit_is_known_by_what_it_makes_whatever_its_folder_is_called(
    place: Callable[..., Store], tmp_path: Path
) -> None:
    store = place(tmp_path)
    inputs = {"name": "x", "workers": 2}
    saved = checkpoint.Saved({}, checkpoint.Progress(epoch=3))
    states = checkpoint.Checkpoint(store, "student", inputs, minutes=0)
    assert states.write(saved)
    key = store.key("student", inputs)

    with locked(store.lock(key), purpose="student"):
        (fit,) = read_contents(store).fits
    assert (fit.stage, fit.key, fit.folder) == ("student", key, states.folder)
    assert not fit.folder.endswith(key)
    assert fit.holder is not None
    assert fit.holder.startswith("student (process")
    assert not fit.sealed

    store.obtain("student", inputs, lambda folder: None)
    (fit,) = read_contents(store).fits
    assert (fit.sealed, fit.holder) == (True, None)


def test_without_a_word_a_fits_folder_is_the_key(tmp_path: Path) -> None:
    store = near(tmp_path)
    store.files.write(f"checkpoints/teacher/{'cd' * 32}/1.safetensors", b"x")
    store.files.write(f"checkpoints/student/{'ef' * 32}/{FIT}", b"{")

    assert [(fit.stage, fit.key) for fit in read_contents(store).fits] == [
        ("student", "ef" * 32),
        ("teacher", "cd" * 32),
    ]


def test_leftovers_of_every_kind(tmp_path: Path) -> None:
    store, key = near(tmp_path), "ab" * 32
    for name in (
        f"building/{key}-host/inner/out.bin",
        f"building/{key}-fetch-host/out.bin",
        f"damaged/student-{key}-17/out.bin",
        "results/a/rows.csv.partial-0123456789abcdef",
    ):
        (store.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (store.folder / name).write_bytes(b"123")

    with locked(store.lock(key), purpose="student"):
        found = {left.name: (left.kind, left.holder) for left in read_contents(store).leftovers}

    held = found.pop(f"building/{key}-host")
    assert (held[0], held[1] is None) == ("building", False)
    assert found == {
        f"building/{key}-fetch-host": ("building", None),
        f"damaged/student-{key}-17": ("damaged", None),
        "results/a/rows.csv.partial-0123456789abcdef": ("write", None),
    }
    assert "results" not in read_contents(store).others


def test_uploads_that_nothing_names_are_leftovers(tmp_path: Path) -> None:
    store = far(tmp_path)
    whole, cut = make(store, "whole"), make(store, "cut")
    bucket = tmp_path / "bucket" / "one" / "artifacts" / "student"
    (bucket / cut / "manifest.json").unlink()
    (bucket / whole / "0123456789abcdef").mkdir()
    (bucket / whole / "0123456789abcdef" / "out.bin").write_bytes(b"12345")

    contents = read_contents(store)

    assert [one.key for one in contents.artifacts] == [whole]
    assert {left.name for left in contents.leftovers} == {
        f"artifacts/student/{cut}",
        f"artifacts/student/{whole}/0123456789abcdef",
    }


def test_who_uses_it_now_is_told(tmp_path: Path) -> None:
    store = near(tmp_path)
    with using(store, command="the sweep 'x'"):
        (who,) = read_contents(store).running

    assert who.startswith("the sweep 'x' (process ")
