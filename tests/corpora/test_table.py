from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.corpora import COLUMNS, Corpus
from orchestrator.corpora.audio import AudioError
from orchestrator.errors import CorpusError


def corpus(*ids: str, folder: Path = Path("audio"), **changes: str) -> Corpus:
    rows = [
        {
            "id": one,
            "path": str(folder / f"{one}.wav"),
            "speaker": "x",
            "session": "",
            "emotion": "joy",
            "duration": 1.0,
            "content": f"hash of {one}",
        }
        | changes
        for one in ids
    ]
    return Corpus(name="mine", kind="table", table=pd.DataFrame(rows))


def test_rows_are_sorted_by_id_and_other_columns_follow() -> None:
    made = corpus("b", "a", note="of this corpus only")

    assert made.table["id"].tolist() == ["a", "b"]
    assert tuple(made.table.columns) == (*COLUMNS, "note")
    assert made.table.index.tolist() == [0, 1]


def test_duplicate_ids_are_refused() -> None:
    with pytest.raises(CorpusError, match="two utterances have the id 'a'"):
        corpus("a", "b", "a")


def test_a_table_without_a_column_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks path, speaker"):
        Corpus(name="mine", kind="table", table=pd.DataFrame({"id": ["a"]}))


def test_fingerprint_ignores_order_paths_and_names() -> None:
    one = corpus("a", "b")
    other = corpus("b", "a", folder=Path("elsewhere"))

    assert one.fingerprint == other.fingerprint
    assert len(one.fingerprint) == 32


@pytest.mark.parametrize("column", ["content", "speaker", "session", "emotion"])
def test_fingerprint_follows_what_matters(column: str) -> None:
    assert corpus("a").fingerprint != corpus("a", **{column: "changed"}).fingerprint


def test_rows_come_in_the_order_asked_for() -> None:
    made = corpus("a", "b", "c")

    assert made.rows(["c", "a"])["id"].tolist() == ["c", "a"]
    with pytest.raises(KeyError):
        made.rows(["z"])


def test_waveform_is_resampled_and_the_same_after_pickling(tmp_path: Path, write_tone) -> None:
    write_tone(tmp_path / "a.wav", seconds=0.25, rate=8000)
    made = corpus("a", folder=tmp_path)

    audio = made.waveform("a", sample_rate=16000)

    assert audio.shape == (4000,)
    assert audio.dtype == np.float32
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again.waveform("a", sample_rate=16000), audio)


def test_waveform_of_a_file_that_has_gone_names_it(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"a\.wav does not exist"):
        corpus("a", folder=tmp_path).waveform("a", sample_rate=16000)


def test_waveform_of_an_unknown_id_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        corpus("a").waveform("z", sample_rate=16000)
