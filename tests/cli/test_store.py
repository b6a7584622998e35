"""``understudy store``: what people and machines are told, and what goes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from orchestrator.store import Store
from orchestrator.store.use import using
from tests.cli.said import Said
from tests.store.stores import DAY, HOUR, made_ago, make, near

Understudy = Callable[..., Said]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Of experiment a: one student and a fit that nobody goes on with; of nobody: some features."""
    a = near(tmp_path, used_by="a")
    with using(a, command="a"):
        make(a, "x", count=2000)
        make(near(tmp_path), "y", stage="features", count=50_000)
    a.files.write(f"checkpoints/student/{'ab' * 32}/1", b"x" * 10)
    a.write_bytes("results/a/rows.csv", b"1")
    made_ago(tmp_path, 2 * HOUR)
    return near(tmp_path)


def test_a_list_is_of_artifacts_fits_and_who_refers_to_them(
    store: Store, understudy: Understudy
) -> None:
    said = understudy("store", "list", store.folder)
    told = json.loads(understudy("store", "list", store.folder, "--json").out)

    assert said.code == 0
    assert "2 artifacts" in said.out
    assert "nobody is at it" in said.out
    assert [(one["stage"], one["used_by"]) for one in told["artifacts"]] == [
        ("features", []),
        ("student", ["a"]),
    ]
    assert told["artifacts"][0]["bytes"] > 50_000
    assert 7200 <= told["artifacts"][0]["age_seconds"] < 7300
    assert told["artifacts"][1]["key"][:12] in said.out
    assert [fit["held_by"] for fit in told["checkpoints"]] == [None]


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        (("--stage", "student"), ["student"]),
        (("--stage", "teacher"), []),
        (("--experiment", "a"), ["student"]),
        (("--unused",), ["features"]),
        (("--unused", "--stage", "student"), []),
    ],
)
def test_a_list_may_be_narrowed(
    options: tuple[str, ...], stages: list[str], store: Store, understudy: Understudy
) -> None:
    told = json.loads(understudy("store", "list", store.folder, "--json", *options).out)

    assert [one["stage"] for one in told["artifacts"]] == stages


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("list", "--stage", "studnet"),
            "--stage 'studnet': no such.*did you mean 'student'",
        ),
        (("list", "--experiment", "b"), "--experiment 'b': no such experiment.*known: a"),
        (("prune", "--drop", "b", "--yes"), "--drop 'b': no such experiment.*known: a"),
    ],
)
def test_a_name_that_is_none_is_bad_input(
    words: tuple[str, ...], text: str, store: Store, understudy: Understudy
) -> None:
    said = understudy("store", words[0], store.folder, *words[1:])

    assert (said.code, said.out) == (2, "")
    assert re.search(text, said.err)
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", ["list", "size", "prune"])
def test_no_store_is_bad_input(command: str, tmp_path: Path, understudy: Understudy) -> None:
    said = understudy("store", command, tmp_path)

    assert (said.code, said.out) == (2, "")
    assert "is no store" in said.err


def test_sizes_are_by_stage_and_by_experiment(store: Store, understudy: Understudy) -> None:
    said = understudy("store", "size", store.folder)
    told = json.loads(understudy("store", "size", store.folder, "--json").out)

    assert said.code == 0
    assert told["artifacts"]["student"]["count"] == 1
    assert told["others"]["results"] == {"count": 1, "bytes": 1}
    assert told["experiments"]["a"]["artifacts"] == told["artifacts"]["student"]
    assert told["prunable"] == told["artifacts"]["features"]["bytes"]
    assert "prune would free 50.3 kB" in said.out
    assert "(nobody)" in said.out


def keys(store: Store) -> list[str]:
    return sorted(path.parent.name for path in store.folder.rglob("manifest.json"))


def test_without_yes_it_only_shows_outside_of_a_terminal(
    store: Store, understudy: Understudy
) -> None:
    before = keys(store)

    said = understudy("store", "prune", store.folder)
    told = json.loads(understudy("store", "prune", store.folder, "--json").out)

    assert said.code == 0
    assert "store: 50.3 kB would go" in said.out
    assert "1 artifact (50.3 kB) that no experiment refers to: features 1" in said.out
    assert "Nothing is removed yet; add --yes." in said.out
    assert (told["removed"], len(told["artifacts"])) == (False, 1)
    assert keys(store) == before


@pytest.mark.parametrize("answer", [True, False])
def test_in_a_terminal_it_asks(
    answer: bool, store: Store, understudy: Understudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text: answer)

    said = understudy("store", "prune", store.folder)

    assert said.code == 0
    assert ("50.3 kB removed" in said.out) == answer
    assert len(keys(store)) == (1 if answer else 2)


def test_with_yes_it_removes(store: Store, understudy: Understudy) -> None:
    made_ago(store.folder, 8 * DAY)

    said = understudy("store", "prune", store.folder, "--yes", "--json")

    told = json.loads(said.out)
    assert (said.code, said.err, told["removed"]) == (0, "", True)
    assert (len(told["artifacts"]), len(told["checkpoints"])) == (1, 1)
    assert [one["stage"] for one in json.loads(_listed(store, understudy))["artifacts"]] == [
        "student"
    ]
    again = understudy("store", "prune", store.folder, "--yes", "--drop", "a")
    assert again.code == 0
    assert keys(store) == []
    assert store.read_bytes("results/a/rows.csv") == b"1"


def _listed(store: Store, understudy: Understudy) -> str:
    return understudy("store", "list", store.folder, "--json").out


def test_while_a_command_runs_it_fails_and_names_it(store: Store, understudy: Understudy) -> None:
    with using(store, command="the sweep 'x'"):
        shown = understudy("store", "prune", store.folder)
        said = understudy("store", "prune", store.folder, "--yes")

    assert shown.code == 0
    assert "In use now: the sweep 'x'" in shown.out
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "is in use: the sweep 'x'" in said.err
    assert len(keys(store)) == 2


def test_of_an_old_store_the_artifacts_stay_and_it_ends_with_one(
    tmp_path: Path, understudy: Understudy
) -> None:
    store = near(tmp_path)
    make(store, "x")
    store.write_bytes("results/old/rows.csv", b"1")
    made_ago(tmp_path, 2 * HOUR)

    listed, sized = (understudy("store", command, store.folder) for command in ("list", "size"))
    said = understudy("store", "prune", store.folder, "--yes")
    dropped = understudy("store", "prune", store.folder, "--yes", "--drop", "old")

    assert (listed.code, sized.code, said.code, dropped.code) == (0, 0, 1, 0)
    for text in (listed.out, sized.out, said.out):
        assert "What is needed by old is not known" in text
        assert "unknown" in text or text is said.out
    assert "1 artifact" in said.out
    assert keys(store) == []
