"""The experiment files that come with Understudy."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment import load_experiment, shipped
from orchestrator.experiment.loading import is_recogniser_file, load_recogniser_experiment
from orchestrator.experiment.reading import read_file

VARIABLES = {
    "CREMA_D_ROOT": "/data/crema-d",
    "EMODB_ROOT": "/data/emodb",
    "FSDD_ROOT": "/data/fsdd",
    "IEMOCAP_ROOT": "/data/iemocap",
    "MELD_ROOT": "/data/meld",
    "RAVDESS_ROOT": "/data/ravdess",
    "SAVEE_ROOT": "/data/savee",
    "UNLABELLED_ROOT": "/data/speech",
    "WHISPER_BASE_ROOT": "/data/whisper",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two shipped files, made for the test."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "demo.yaml").write_text("name: demo\ndescription: Small. And quick.\n")
    (folder / "plain.yaml").write_text("name: plain\n")
    monkeypatch.setattr(shipped, "experiments_folder", lambda: folder)
    return folder


def test_the_list_gives_names_and_first_sentences(folder: Path) -> None:
    assert shipped.list_experiments() == {"demo": "Small.", "plain": ""}


def test_a_file_is_shown_as_written(folder: Path) -> None:
    assert shipped.show_experiment("plain") == "name: plain\n"
    assert shipped.show_experiment("plain.yaml") == "name: plain\n"


def test_an_unknown_name_suggests_the_nearest(folder: Path) -> None:
    with pytest.raises(ExperimentError, match="did you mean 'demo'"):
        shipped.show_experiment("dmo")


def test_a_copy_goes_to_a_file_or_into_a_folder(folder: Path, tmp_path: Path) -> None:
    file = shipped.copy_experiment("demo", tmp_path / "new" / "mine.yaml")
    inside = shipped.copy_experiment("demo", tmp_path)

    assert file.read_text() == (folder / "demo.yaml").read_text()
    assert inside == tmp_path / "demo.yaml"


def test_a_copy_replaces_nothing_unless_forced(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    target.write_text("precious")

    with pytest.raises(ExperimentError, match="--force"):
        shipped.copy_experiment("demo", target)

    assert target.read_text() == "precious"

    shipped.copy_experiment("demo", target, force=True)

    assert target.read_text().startswith("name: demo")


def test_a_copy_that_cannot_be_written_says_so(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ExperimentError, match="cannot be written"):
        shipped.copy_experiment("demo", tmp_path / "file" / "mine.yaml")


def test_every_shipped_file_loads_with_every_variant() -> None:
    names = shipped.list_experiments()

    assert "demo" in names
    for name, description in names.items():
        file = shipped.experiments_folder() / f"{name}.yaml"
        for variant in [None, *read_file(file).get("variants", {})]:
            load = load_recogniser_experiment if is_recogniser_file(file) else load_experiment
            experiment = load(file, variant=variant, environment=VARIABLES)

            assert experiment.name == name
        assert description, f"{file.name} needs a description"
        assert not description.endswith("et al."), f"{file.name} is cut within a sentence"
