"""Where an experiment keeps things, read without its corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment.places import Places, places_of


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
    ],
)
def test_what_is_wrong_there_is_said_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ExperimentError, match=f"mine.yaml.*{said}"):
        places_of(written(tmp_path, text), environment={})


def test_the_file_of_a_recogniser_has_places_too(tmp_path: Path) -> None:
    file = written(tmp_path, "name: heard\nrecogniser: {}\nstore: there\n")

    assert places_of(file).store == "there"
