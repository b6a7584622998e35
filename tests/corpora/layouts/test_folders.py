"""Folders that may not be entered: one error that names the path and the mend, in every layout."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from orchestrator.corpora.layouts.folders import is_folder, is_gone, is_there, subfolders
from orchestrator.corpora.loading import prepare
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import (
    CorpusSection,
    CremaDCorpus,
    EmodbCorpus,
    FsddCorpus,
    IemocapCorpus,
    MeldCorpus,
    RavdessCorpus,
    SaveeCorpus,
    TableCorpus,
)
from tests.corpora import trees
from tests.corpora.trees_iemocap import small_iemocap
from tests.corpora.trees_meld import small_meld


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths that answer as those in a locked folder do; the administrator is never refused."""
    paths: list[Path] = []
    real = Path.stat

    def stat(self: Path, **more: bool) -> object:
        if self in paths:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, **more)

    monkeypatch.setattr(Path, "stat", stat)
    return paths


def test_what_may_not_be_looked_at_is_neither_there_nor_gone(
    tmp_path: Path, locked: list[Path]
) -> None:
    locked.append(tmp_path / "x")

    for question in (is_folder, is_there):
        with pytest.raises(CorpusError) as caught:
            question(tmp_path / "x", title="mine")
        assert str(caught.value) == (
            f"corpus 'mine': {tmp_path}/x cannot be read (Permission denied); "
            "change its permissions"
        )
    assert not is_gone(tmp_path / "x")


def test_folders_files_and_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    assert is_folder(tmp_path, title="x")
    assert is_there(file, title="x")
    for nothing in (tmp_path / "gone", file / "below"):
        assert not is_folder(nothing, title="x")
        assert not is_there(nothing, title="x")
        assert is_gone(nothing)
    assert not is_folder(file, title="x")
    assert not is_there(tmp_path, title="x")
    assert not is_gone(file)


def test_a_locked_folder_among_others(tmp_path: Path, locked: list[Path]) -> None:
    (tmp_path / "a").mkdir()
    locked.append(tmp_path / "a")

    with pytest.raises(CorpusError, match="/a cannot be read"):
        subfolders(tmp_path, title="x")


def a_table(root: Path) -> None:
    (root / "corpus.csv").write_text("path,speaker,emotion\na.wav,x,anger\n")


@pytest.mark.parametrize(
    ("section", "make", "place"),
    [
        (CremaDCorpus(kind="crema-d", root="R"), None, "."),
        (CremaDCorpus(kind="crema-d", root="R"), trees.crema_d, "AudioWAV"),
        (CremaDCorpus(kind="crema-d", root="R"), trees.crema_d, "VideoDemographics.csv"),
        (
            CremaDCorpus(kind="crema-d", root="R"),
            trees.crema_d,
            "processedResults/tabulatedVotes.csv",
        ),
        (EmodbCorpus(kind="emodb", root="R"), None, "."),
        (EmodbCorpus(kind="emodb", root="R"), trees.emodb, "wav"),
        (EmodbCorpus(kind="emodb", root="R"), trees.emodb, "erkennung.txt"),
        (FsddCorpus(kind="fsdd", root="R"), None, "."),
        (FsddCorpus(kind="fsdd", root="R"), trees.fsdd, "recordings"),
        (IemocapCorpus(kind="iemocap", root="R"), None, "."),
        (IemocapCorpus(kind="iemocap", root="R"), None, "Session1"),
        (IemocapCorpus(kind="iemocap", root="R"), small_iemocap, "Session2"),
        (
            IemocapCorpus(kind="iemocap", root="R"),
            small_iemocap,
            "Session1/dialog/transcriptions/Ses01F_impro01.txt",
        ),
        (MeldCorpus(kind="meld", root="R"), None, "."),
        (RavdessCorpus(kind="ravdess", root="R"), None, "."),
        (RavdessCorpus(kind="ravdess", root="R"), trees.ravdess, "Actor_07"),
        (SaveeCorpus(kind="savee", root="R"), None, "."),
        (SaveeCorpus(kind="savee", root="R"), trees.savee, "AudioData/DC"),
        (SaveeCorpus(kind="savee", root="R"), trees.savee, "ALL"),
        (TableCorpus(kind="table", file="R/corpus.csv"), None, "corpus.csv"),
        (TableCorpus(kind="table", file="R/corpus.csv", root="R/audio"), a_table, "audio"),
    ],
)
def test_every_layout_names_what_may_not_be_read(
    tmp_path: Path, locked: list[Path], section: CorpusSection, make: object, place: str
) -> None:
    if callable(make):
        make(tmp_path)
    here = {
        key: value.replace("R", str(tmp_path), 1)
        for key in ("root", "file")
        if isinstance(value := getattr(section, key, None), str)
    }
    locked.append(tmp_path / place)

    with pytest.raises(CorpusError) as caught:
        prepare(section.model_copy(update=here))

    said = str(caught.value)
    assert said == (
        f"corpus {section.title!r}: {tmp_path / place} cannot be read (Permission denied); "
        "change its permissions"
    )


def test_a_locked_file_of_meld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = small_meld(tmp_path) / "train_sent_emo.csv"
    real = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)

    with pytest.raises(CorpusError, match=r"train_sent_emo\.csv cannot be read .* permissions"):
        prepare(MeldCorpus(kind="meld", root=str(tmp_path)))
