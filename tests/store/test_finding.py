"""Which store somebody means."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ExperimentError, InputError, StoreError
from orchestrator.store.finding import find_store
from tests.store.stores import make, near


def test_a_folder_or_its_uri(tmp_path: Path) -> None:
    make(near(tmp_path), "x")

    for named in (str(tmp_path / "store"), (tmp_path / "store").as_uri()):
        assert find_store(named).folder == tmp_path / "store"


def test_the_usual_place_if_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"There is no \./understudy-store here; give its folder"):
        find_store(None)

    (tmp_path / "understudy-store" / "results").mkdir(parents=True)
    assert find_store(None).folder == tmp_path / "understudy-store"


def test_of_an_experiment_file_only_the_store_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(near(tmp_path), "x")
    file = tmp_path / "x.yaml"
    file.write_text('corpora: [{kind: emodb, root: "${NOT_SET}"}]\nstore: "${PLACE}/store"\n')

    assert find_store(str(file), environment={"PLACE": str(tmp_path)}).folder == tmp_path / "store"
    with pytest.raises(ExperimentError, match="store needs the environment variable PLACE"):
        find_store(str(file), environment={})

    file.write_text("name: x\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"understudy-store of .*x\.yaml does not exist; nothing"):
        find_store(str(file))


def test_what_is_no_store_is_said_with_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()

    for name, said in (
        ("nowhere", "nowhere does not exist; check its path"),
        ("file", "file is a file; check its path"),
        ("empty", "empty is no store: it holds none of the folders artifacts, results"),
    ):
        with pytest.raises(InputError, match=said):
            find_store(str(tmp_path / name))
    with pytest.raises(ExperimentError, match="does not exist"):
        find_store(str(tmp_path / "none.yaml"))
    with pytest.raises(StoreError, match="give a folder or a URI"):
        find_store("nosuch://bucket/x")
