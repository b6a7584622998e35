"""What is written down: of a fold run as it goes, and when a command breaks off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import orchestrator.recorded as recorded_module
import orchestrator.training.updates as updates_module
from orchestrator.errors import TrainingError
from orchestrator.recorded import ended_by_errors, recorded_run
from orchestrator.store import Store
from orchestrator.tracking.journal import Event, Journal, read_segment
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import FoldOutcome
from tests.training.tiny import Home


class Closing:
    """Tracking that only remembers being closed."""

    closed = False

    def close(self, timeout: float) -> int:
        self.closed = True
        return 0


def broken_off(folder: Path, error: BaseException | None) -> tuple[list[tuple[str, str]], bool]:
    """Status and reason of the ends of the top run, and whether tracking was closed."""
    store = Store(folder)
    top, tracking = Journal(store, prefix="journal", key="top"), Closing()
    top.start("sweep")
    try:
        with ended_by_errors(top, tracking):  # type: ignore[arg-type]
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error  # noqa: PT017 - whichever it is
    events = [
        event for name in store.list("journal") for event in read_segment(store.read_bytes(name))
    ]
    ends = [(event["status"], event["reason"]) for event in events if event["event"] == "end"]
    return ends, tracking.closed


def test_a_body_that_ends_well_is_left_alone(tmp_path: Path) -> None:
    assert broken_off(tmp_path, None) == ([], False)


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("no disk"), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_an_error_ends_the_run_and_goes_on(
    tmp_path: Path, error: BaseException, status: str
) -> None:
    ends, closed = broken_off(tmp_path, error)

    assert ends == [(status, f"{type(error).__name__}: {error}")]
    assert closed


# A fold run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.build(tmp_path_factory.mktemp("features"))


@pytest.fixture
def store(home: Home, tmp_path: Path) -> Store:
    return home.store(tmp_path / "store")


def journal_of(store: Store, key: str = "run") -> Journal:
    return Journal(store, prefix="journal", key=key, interval=60)


def events(store: Store, key: str = "run") -> list[Event]:
    return [
        event
        for name in store.list(f"journal/{key}")
        if name.endswith(".jsonl")
        for event in read_segment(store.read_bytes(name))
    ]


def run(home: Home, store: Store, journal: Journal, **how: Any) -> FoldOutcome:
    tree = RunTree(store, "tiny", "sweep")
    how = {"task": home.task(), **how}
    return recorded_run(
        how.pop("task"), store=store, journal=journal, tree=tree, parent="trial", **how
    )


def of_kind(told: list[Event], kind: str) -> list[Event]:
    return [event for event in told if event["event"] == kind]


def test_a_run_is_told_with_its_epochs_and_what_validation_chose(home: Home, store: Store) -> None:
    journal = journal_of(store)
    outcome = run(home, store, journal)
    journal.end("FINISHED")
    start, dataset, *_, end = events(store)
    metrics = of_kind(events(store), "metrics")

    assert (start["event"], start["parent"]) == ("start", "trial")
    assert (dataset["name"], dataset["source"]) == ("synthetic speaker=s1m", "synthetic")
    profile = json.loads(dataset["profile"])
    assert profile["train"]["utterances"] == len(home.task().train.ids)
    assert "test" not in profile
    (tags,) = of_kind(events(store), "tags")
    assert tags["tags"]["understudy.key.student"] == outcome.artifact.key
    assert start["name"] == "synthetic speaker=s1m seed 0"
    assert start["params"] == {
        "corpus": "synthetic",
        "fold": "speaker=s1m",
        "seed": "0",
        "role": "student",
    }
    assert start["tags"]["understudy.emotions"] == "anger, happiness, neutral, sadness"
    assert [event["step"] for event in metrics] == [1, 2, 3, outcome.epoch]
    assert {"train/cross_entropy", "validation/macro_recall"} <= metrics[0]["values"].keys()
    assert metrics[-1]["values"] == {
        "chosen/validation_macro_recall": outcome.validation.macro_recall,
        "chosen/validation_accuracy": outcome.validation.accuracy,
        "chosen/epoch": outcome.epoch,
        "parameters": outcome.parameters,
    }
    assert end["status"] == "FINISHED"


def test_a_run_of_the_teacher_says_so(home: Home, store: Store) -> None:
    journal = journal_of(store)
    outcome = run(home, store, journal, role="teacher")
    journal.flush()

    assert events(store)[0]["params"]["role"] == "teacher"
    assert outcome.artifact.path.parent.parent.name == "teacher"


def test_a_run_that_was_reused_tells_its_epochs_as_they_were_measured(
    home: Home, store: Store
) -> None:
    run(home, store, first := journal_of(store, "first"))
    first.end()
    outcome = run(home, store, journal := journal_of(store, "second"))
    journal.end()
    before, after = (of_kind(events(store, key), "metrics") for key in ("first", "second"))

    assert outcome.reused
    assert [event["step"] for event in after] == [event["step"] for event in before]
    for one, other in zip(before, after, strict=True):
        one["values"].pop("learning_rate", None)
        assert one["values"] == other["values"]


@pytest.mark.parametrize("error", [TrainingError("a loss is nan"), MemoryError("out of memory")])
def test_a_run_that_fails_is_told_with_its_reason_and_fails(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def run_fold(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(recorded_module, "run_fold", run_fold)
    with pytest.raises(type(error)) as raised:
        run(home, store, journal_of(store))
    start, _, end = events(store)

    assert raised.value is error
    assert (start["event"], end["event"]) == ("start", "end")
    assert (end["status"], end["reason"]) == ("FAILED", f"{type(error).__name__}: {error}")


def test_a_run_that_ran_out_of_memory_once_says_so_also_when_it_is_reused(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = updates_module.Updates._gradients
    faults = [torch.OutOfMemoryError("CUDA out of memory")]

    def gradients(self: Any, heard: Any, place: Any) -> Any:
        if place.stage == "student" and faults:
            raise faults.pop()
        return taught(self, heard, place)

    monkeypatch.setattr(updates_module.Updates, "_gradients", gradients)
    outcomes = []
    for key in ("first", "second"):
        journal = journal_of(store, key)
        outcomes.append(run(home, store, journal))
        journal.end("FINISHED")
        assert [e["name"] for e in events(store, key) if e["event"] == "artifact"] == ["notes.txt"]

    first, second = outcomes
    assert not first.reused
    assert second.reused
    assert first.notes == second.notes
    assert (
        "out of memory with 8 utterances at once at update 0 of stage 'student'" in first.notes[0]
    )


def test_a_run_of_which_there_is_nothing_to_say_has_no_notes(home: Home, store: Store) -> None:
    journal = journal_of(store)

    assert run(home, store, journal).notes == ()
    assert not any(event["event"] == "artifact" for event in events(store))
