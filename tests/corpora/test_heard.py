from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from orchestrator.corpora import heard
from orchestrator.corpora.audio import FileSource, Heard
from orchestrator.corpora.heard import FILE, examine_remembered
from orchestrator.corpora.listing import Problem


class Counting:
    """Audio files, noting which were read."""

    def __init__(self) -> None:
        self.read_now: list[str] = []

    def read(self, path: str) -> tuple[np.ndarray, int]:
        self.read_now.append(Path(path).name)
        return FileSource().read(path)


def examined(folder: Path, *names: str, memory: Path | None) -> tuple[list[str], list]:
    """Which files were read, and what was found."""
    source = Counting()
    found = examine_remembered([str(folder / name) for name in names], source=source, memory=memory)
    return sorted(source.read_now), found


@pytest.fixture
def audio(tmp_path: Path, write_tone) -> Path:
    """A good file, a silent one, one that is too short, and one that is no audio."""
    folder = tmp_path / "audio"
    write_tone(folder / "good.wav")
    soundfile.write(folder / "silent.wav", np.zeros(8000), 16000)
    write_tone(folder / "short.wav", seconds=0.05)
    (folder / "text.wav").write_text("no audio")
    return folder


ALL = ("good.wav", "silent.wav", "short.wav", "text.wav", "gone.wav")


def test_unchanged_files_are_not_read_again_and_give_the_same(audio: Path, tmp_path: Path) -> None:
    memory = tmp_path / "store" / "deep"
    first, found = examined(audio, *ALL, memory=memory)
    second, again = examined(audio, *ALL, memory=memory)

    assert first == sorted(ALL)
    # What may change without the file is not remembered.
    assert second == ["gone.wav", "text.wav"]
    assert again == found
    assert [type(one) for one in found] == [Heard, Heard, Problem, Problem, Problem]
    assert [one.kind for one in found[1].problems] == ["silent"]
    assert found[2].kind == "too-short"
    assert [file.name for file in memory.iterdir()] == [FILE]


def test_without_a_memory_nothing_is_written(audio: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    examined(audio, *ALL, memory=None)
    read, _ = examined(audio, *ALL, memory=None)

    assert read == sorted(ALL)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_changed_file_is_read_again(audio: Path, tmp_path: Path, write_tone) -> None:
    _, before = examined(audio, "good.wav", "silent.wav", memory=tmp_path)
    write_tone(audio / "good.wav", seconds=0.5)
    read, after = examined(audio, "good.wav", "silent.wav", memory=tmp_path)

    assert read == ["good.wav"]
    assert (before[0].duration, after[0].duration) == (0.25, 0.5)
    assert examined(audio, "good.wav", memory=tmp_path) == ([], [after[0]])


def test_a_change_of_time_alone_counts(audio: Path, tmp_path: Path) -> None:
    examined(audio, "good.wav", memory=tmp_path)
    os.utime(audio / "good.wav", ns=(1, 1))

    assert examined(audio, "good.wav", memory=tmp_path)[0] == ["good.wav"]


def test_a_file_that_has_gone_is_missing_though_it_was_heard(audio: Path, tmp_path: Path) -> None:
    examined(audio, "good.wav", memory=tmp_path)
    (audio / "good.wav").unlink()

    assert examined(audio, "good.wav", memory=tmp_path)[1][0].kind == "missing"


def test_two_corpora_share_a_memory(audio: Path, tmp_path: Path) -> None:
    examined(audio, "good.wav", memory=tmp_path)
    examined(audio, "silent.wav", memory=tmp_path)

    assert examined(audio, "good.wav", "silent.wav", memory=tmp_path)[0] == []


def test_another_source_hears_for_itself(audio: Path, tmp_path: Path) -> None:
    path = str(audio / "good.wav")
    examine_remembered([path], source=FileSource(), memory=tmp_path)

    assert examined(audio, "good.wav", memory=tmp_path)[0] == ["good.wav"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]\n",
        b"null\n",
        b'{"file": "understudy heard", "checks": -1}\n',
        b"\n\n",
    ],
    ids=["empty", "binary", "a list", "null", "other checks", "blank lines"],
)
def test_a_foreign_memory_is_ignored_and_rewritten(
    audio: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)

    assert examined(audio, "good.wav", memory=tmp_path)[0] == ["good.wav"]
    assert examined(audio, "good.wav", memory=tmp_path)[0] == []


@pytest.mark.parametrize("line", ["{", "{}", '{"path": 1}', "[1]", "null"])
def test_a_damaged_line_makes_the_memory_useless(audio: Path, tmp_path: Path, line: str) -> None:
    examined(audio, "good.wav", memory=tmp_path)
    with (tmp_path / FILE).open("a") as stream:
        stream.write(f"{line}\n")

    assert examined(audio, "good.wav", memory=tmp_path)[0] == ["good.wav"]
    assert examined(audio, "good.wav", memory=tmp_path)[0] == []
    assert [json.loads(one) for one in (tmp_path / FILE).read_text().splitlines()]


def test_other_checks_or_decoders_hear_anew(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined(audio, "good.wav", memory=tmp_path)
    monkeypatch.setattr(heard, "CHECKS_VERSION", heard.CHECKS_VERSION + 1)

    assert examined(audio, "good.wav", memory=tmp_path)[0] == ["good.wav"]


def test_a_memory_that_cannot_be_written_costs_only_time(audio: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    _, found = examined(audio, "good.wav", memory=tmp_path / "file")

    assert isinstance(found[0], Heard)
    assert (tmp_path / "file").read_text() == "not a folder"


def test_what_was_heard_before_an_interruption_is_kept(audio: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    paths = [str(audio / "good.wav"), str(audio / "silent.wav")]
    with pytest.raises(KeyboardInterrupt):
        examine_remembered(paths, source=Counting(), memory=tmp_path, progress=stop)

    assert "good.wav" not in examined(audio, "good.wav", "silent.wav", memory=tmp_path)[0]


def test_progress_begins_with_what_is_remembered(audio: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    examined(audio, "good.wav", memory=tmp_path)

    examine_remembered(
        [str(audio / name) for name in ("silent.wav", "good.wav", "short.wav")],
        source=Counting(),
        memory=tmp_path,
        progress=lambda *now: told.append(now),
    )

    assert told == [(1, 3), (2, 3), (3, 3)]
