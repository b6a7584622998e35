"""Where an experiment keeps things, read without its corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment.places import Places, places_of, told_uri


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def test_only_what_says_where_things_are_is_read(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "name: mine\ncorpora: [{kind: emodb, root: '${NOT_SET}'}]\nstore: '${PLACE}/store'\n"
        "recipe: nonsense\n",
    )

    places = places_of(file, environment={"PLACE": "/data"})

    assert places == Places(name="mine", store="/data/store")
    assert places.tracking.uri == "sqlite:///understudy.db"


def test_the_changes_of_the_command_that_computed_count(tmp_path: Path) -> None:
    file = written(tmp_path, "name: mine\ntracking: {uri: 'http://${WHO}@host:5000'}\n")

    places = places_of(
        file,
        overrides=["recipe.training.epochs=2", "store=/s", "tracking.uri=sqlite:///${RUNS}.db"],
        environment={"RUNS": "ours"},
    )

    assert (places.store, places.tracking.uri) == ("/s", "sqlite:///ours.db")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: s\n", "'name' is missing"),
        ("name: mine\ntracking: {url: x}\n", "unknown key 'tracking.url'.*did you mean 'uri'"),
        ("name: 'no spaces'\n", "'name'"),
        ("name: mine\nstore: ${GONE}\n", "store needs the environment variable GONE"),
        ("name: mine\ntracking: {uri: 'http://me:p@host'}\n", "tracking.uri holds a password"),
    ],
)
def test_what_is_wrong_there_is_said_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ExperimentError, match=f"mine.yaml.*{said}"):
        places_of(written(tmp_path, text), environment={})


def test_the_file_of_a_recogniser_has_places_too(tmp_path: Path) -> None:
    file = written(tmp_path, "name: heard\nrecogniser: {}\nstore: there\n")

    assert places_of(file).store == "there"


def test_a_password_comes_from_the_environment_on_a_command_line_too(tmp_path: Path) -> None:
    file = written(tmp_path, "name: mine\n")

    with pytest.raises(ExperimentError, match="tracking.uri holds a password"):
        places_of(file, overrides=["tracking.uri=postgresql://me:p@db/runs"])
    with pytest.raises(ExperimentError, match="understudy dashboard: --uri holds a password"):
        told_uri("postgresql://me:p@db/runs", command="understudy dashboard")

    environment = {"RUNS_PASSWORD": "p"}
    told = told_uri(
        "postgresql://me:${RUNS_PASSWORD}@db/runs",
        command="understudy dashboard",
        environment=environment,
    )
    assert told == "postgresql://me:p@db/runs"
