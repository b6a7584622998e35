"""A folder of audio files: which are found, what they are called, and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from orchestrator.corpora import load_corpus
from orchestrator.corpora.layouts.folder import list_folder
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import FolderCorpus, TableCorpus


@pytest.fixture
def root(tmp_path: Path, write_tone) -> Path:
    """Five recordings in three folders, of four kinds."""
    folder = tmp_path / "speech"
    for place, name in enumerate(("b.wav", "one/a.flac", "one/two/c d.WAV", "one/e.ogg")):
        # an OGG file cannot be of 16-bit numbers
        file = write_tone(folder / name.replace(".ogg", ".wav"), hz=100.0 + 20 * place)
        if name.endswith(".ogg"):
            audio, rate = soundfile.read(file)
            soundfile.write(folder / name, audio, rate)
            file.unlink()
    time = np.arange(8000) / 16000
    soundfile.write(folder / "one" / "f.mp3", 0.5 * np.sin(1500 * time), 16000)
    return folder


def section(root: Path, **more: object) -> FolderCorpus:
    return FolderCorpus(kind="folder", root=str(root), **more)


def ids(root: Path, **more: object) -> list[str]:
    return list_folder(section(root, **more)).table["id"].tolist()


def test_every_recording_is_found_and_named_by_its_path(root: Path) -> None:
    corpus = load_corpus(section(root))

    assert corpus.table["id"].tolist() == [
        "b.wav",
        "one/a.flac",
        "one/e.ogg",
        "one/f.mp3",
        "one/two/c d.WAV",
    ]
    assert corpus.table["path"][4] == str(root / "one" / "two" / "c d.WAV")
    assert set(corpus.table["speaker"]) == set(corpus.table["emotion"]) == {""}
    assert corpus.waveform("one/f.mp3", sample_rate=16000).shape[0] >= 8000


def test_a_table_of_the_same_paths_is_the_same_speech(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text("\n".join(["path", *ids(root)]) + "\n")
    table = TableCorpus(kind="table", file=str(file), root=str(root), role="unlabelled")

    assert load_corpus(table).fingerprint == load_corpus(section(root)).fingerprint


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["b.wav"]),
        ("one/*", ["one/a.flac", "one/e.ogg", "one/f.mp3"]),
        ("**/*.flac", ["one/a.flac"]),
        ("*/two/**/*", ["one/two/c d.WAV"]),
    ],
)
def test_a_pattern_chooses(root: Path, pattern: str, found: list[str]) -> None:
    assert ids(root, pattern=pattern) == found


def test_other_files_are_remarked_on_and_hidden_ones_are_not(root: Path) -> None:
    for name in ("notes.txt", "one/x.TXT", "LICENSE", "._b.wav", ".trash/b.wav"):
        file = root / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("no audio")
    listing = list_folder(section(root))

    assert len(listing.table) == 5
    (remark,) = listing.remarks
    assert remark.endswith("not read, being no audio by their endings: 2 .txt, 1 without an ending")


def test_a_linked_folder_is_not_entered_and_remarked_on(root: Path, tmp_path: Path) -> None:
    (root / "again").symlink_to(root / "one")
    listing = list_folder(section(root))

    assert len(listing.table) == 5
    assert listing.remarks[0].endswith("1 linked folder not entered: again")
    # who names it enters it
    assert ids(root, pattern="again/*.flac") == ["again/a.flac"]
    assert list_folder(section(root, pattern="again/*")).remarks == ()


def test_a_root_that_is_a_link_is_entered(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)

    assert len(ids(tmp_path / "link")) == 5


def test_a_folder_without_recordings_says_what_it_has(root: Path, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "a.mp4").write_text("")

    with pytest.raises(CorpusError, match=r"'\*\*/\*' leads to, but 1 \.mp4; give"):
        ids(tmp_path / "else")
    with pytest.raises(CorpusError, match=r"'\*\.aac' leads to; give a folder"):
        ids(root, pattern="*.aac")
    with pytest.raises(CorpusError, match="is no folder; give a folder of audio files"):
        ids(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(top: Path, *, onerror):
        onerror(PermissionError(13, "Permission denied", str(root / "one")))
        yield from ()

    monkeypatch.setattr("os.walk", walk)
    with pytest.raises(CorpusError, match="one cannot be read .Permission denied.; change"):
        ids(root)


def test_a_damaged_recording_is_named_as_in_every_corpus(root: Path) -> None:
    (root / "one" / "a.flac").write_bytes(b"fLaC")

    with pytest.raises(CorpusError, match=r"1 of 5 utterances cannot be used .1 unreadable."):
        load_corpus(section(root))
    assert len(load_corpus(section(root, problems="set-aside")).table) == 4
