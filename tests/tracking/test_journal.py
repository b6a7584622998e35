"""A journal writes segments that say everything once, and never troubles the run."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store import Store
from orchestrator.tracking.files import kept_as
from orchestrator.tracking.journal import Event, Journal, read_segment, run_key


def _events(store: Store, prefix: str = "j") -> list[Event]:
    return [event for name in store.list(prefix) for event in read_segment(store.read_bytes(name))]


def test_a_run_is_written_as_start_metrics_and_end(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix="j", key="run1", interval=60)
    params = {"recipe": {"lr": 0.1, "widths": (1, 2), "augment": {}}, "fold": "speaker=03"}
    journal.start("fold run", "parent", params=params, tags={"kind": "fold run"})
    journal.metrics({"validation/macro_recall": 0.5}, step=1)
    journal.metrics({"validation/macro_recall": 0.6}, step=2)
    journal.end("FAILED", reason="out of memory")

    names = store.list("j")
    start, first, second, end = _events(store)

    assert [name.split("/")[:2] for name in names] == [["j", "run1"]] * 2
    assert {event["key"] for event in (start, first, second, end)} == {"run1"}
    assert (start["name"], start["parent"]) == ("fold run", "parent")
    assert start["params"] == {
        "recipe.lr": "0.1",
        "recipe.widths": "[1, 2]",
        "recipe.augment": "{}",
        "fold": "speaker=03",
    }
    assert (first["step"], first["values"]) == (1, {"validation/macro_recall": 0.5})
    assert first["time"] <= second["time"] <= end["time"]
    assert (end["status"], end["reason"]) == ("FAILED", "out of memory")


def test_a_segment_is_written_when_the_interval_has_passed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix="j", key="run1", interval=0.0)
    for step in range(3):
        journal.metrics({"loss": 1.0}, step=step)

    assert journal.flush()
    assert [len(read_segment(store.read_bytes(name))) for name in store.list("j")] == [1, 1, 1]


def test_a_second_attempt_writes_after_the_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("first", "second"):
        attempt = Journal(store, prefix="j", key="run1")
        attempt.start(name)
        attempt.flush()

    assert [event["name"] for event in _events(store)] == ["first", "second"]


def test_what_becomes_known_late_is_told_as_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix="j", key="run1", interval=60)
    journal.tag({"understudy": {"protocol": "loso"}, "n": 3})
    journal.link("teacher", "run0")
    journal.dataset(name="emodb", digest="ab12", source="EmoDB", profile="{}", context="test")
    journal.flush()

    tags, link, dataset = _events(store)

    assert (tags["event"], tags["tags"]) == ("tags", {"understudy.protocol": "loso", "n": "3"})
    assert (link["event"], link["role"], link["to"]) == ("link", "teacher", "run0")
    assert dataset.items() >= {
        ("event", "dataset"),
        ("name", "emodb"),
        ("digest", "ab12"),
        ("source", "EmoDB"),
        ("profile", "{}"),
        ("context", "test"),
    }


def test_a_models_files_lie_beside_the_segment_that_names_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix="j", key="run1", interval=60)
    files = {"student.safetensors": b"weights", "student.json": b"{}"}
    journal.model("demo", files, alias="best", tags={"macro_recall": 0.5})
    journal.flush()

    names = [name for name in store.list("j") if name.endswith(".jsonl")]
    (event,) = read_segment(store.read_bytes(names[0]))

    assert (event["name"], event["alias"]) == ("demo", "best")
    assert event["tags"] == {"macro_recall": "0.5"}
    assert {
        name: store.read_bytes(f"j/run1/{kept_as(name, digest)}")
        for name, digest in event["files"].items()
    } == files


@pytest.mark.parametrize(("role", "key"), [("", "run0"), ("a b", "run0"), ("teacher", "../up")])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, role: str, key: str) -> None:
    with pytest.raises(ValueError, match="a link|a run's key"):
        Journal(Store(tmp_path), prefix="j", key="run1").link(role, key)


@pytest.mark.parametrize(("name", "digest"), [("", "ab"), ("emodb", ""), ("emodb", "a" * 37)])
def test_a_dataset_that_mlflow_could_not_name_is_refused(
    tmp_path: Path, name: str, digest: str
) -> None:
    with pytest.raises(ValueError, match="a dataset's (name|digest) is 1 to"):
        Journal(Store(tmp_path), prefix="j", key="run1").dataset(
            name=name, digest=digest, source="here"
        )


@pytest.mark.parametrize("files", [{}, {"../up": b""}])
def test_a_model_without_files_of_its_own_is_refused(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with pytest.raises(ValueError, match="has no files|a file's name"):
        Journal(Store(tmp_path), prefix="j", key="run1").model("demo", files)


def test_a_journal_goes_on_where_it_was_pickled_to(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix="j", key="run1")
    journal.start("run")
    journal.flush()
    again = pickle.loads(pickle.dumps(journal))
    again.metrics({"loss": 1.0}, step=1)
    again.flush()

    assert [event["event"] for event in _events(store)] == ["start", "metrics"]


def test_values_that_are_not_finite_survive_the_journal(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix="j", key="run1")
    journal.metrics({"nan": math.nan, "inf": -math.inf})
    journal.flush()

    (event,) = _events(store)

    assert math.isnan(float(event["values"]["nan"]))
    assert float(event["values"]["inf"]) == -math.inf


@pytest.mark.parametrize("key", ["", "../up", "a/b", "o'clock"])
def test_a_key_that_is_no_folder_name_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="a run's key is letters"):
        Journal(Store(tmp_path), prefix="j", key=key)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[1]\n",
        b'{"event": "start"}\n',
        b'{"event": "link", "key": "a", "time": 1, "role": "teacher", "to": "../up"}\n',
        b'{"event": "dataset", "key": "a", "time": 1, "name": "emodb"}\n',
        b'{"event": "model", "key": "a", "time": 1, "files": {}}\n',
        b'{"event": "model", "key": "a", "time": 1, "files": {"../up": "00"}}\n',
    ],
)
def test_a_file_that_is_no_segment_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own message or ours
        read_segment(data)


def test_run_keys_depend_on_every_part_and_on_nothing_else() -> None:
    assert run_key("sweep", "demo", 3) == run_key("sweep", "demo", 3)
    assert run_key("sweep", "demo", 3) != run_key("sweep", "demo", 4)
    assert run_key("ab", "c") != run_key("a", "bc")
    assert len(run_key("sweep")) == 32


def test_a_journal_does_not_import_mlflow() -> None:
    code = (
        "import sys, orchestrator.tracking.journal; "
        "sys.exit(bool({'mlflow', 'torch', 'ray'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
