"""Utterances joined into strings: which, in what order, with what between them."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from orchestrator.corpora import Corpus, load_corpus
from orchestrator.corpora.listing import Problem
from orchestrator.corpora.strings import FAINTEST, Parts, StringSource, joined_strings
from orchestrator.corpora.transcribed import native_rate
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import FsddCorpus
from orchestrator.experiment.sources import Strings

RATE = 8000
WORDS = ("zero", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Given:
    """Audio by path, all at one rate unless said otherwise."""

    audio: dict[str, NDArray[np.float32]]
    rates: dict[str, int]

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        return self.audio[path], self.rates.get(path, RATE)


def speech(name: str, *, seconds: float, offset: float = 0.0, quiet: float = 0.01) -> NDArray:
    """Loud noise with 40 ms of quiet noise at the end."""
    draw = np.random.default_rng(sum(map(ord, name)))
    audio = draw.uniform(-0.3, 0.3, round(seconds * RATE))
    audio[-320:] = draw.uniform(-quiet, quiet, 320)
    return (audio + offset).astype(np.float32)


def corpus(
    speakers: dict[str, int], *, rates: dict[str, int] | None = None, gender: str = "female"
) -> Corpus:
    """So many utterances of each speaker, of 0.2 to 0.8 s."""
    audio, rows = {}, []
    for speaker, count in speakers.items():
        for number in range(count):
            path = f"{speaker}/{number}.wav"
            audio[path] = speech(path, seconds=0.2 + 0.1 * (number % 7))
            rows.append(
                {
                    "id": f"{speaker}-{number}",
                    "path": path,
                    "speaker": speaker,
                    "gender": gender,
                    "emotion": "",
                    "transcript": WORDS[number % 7],
                    "duration": len(audio[path]) / RATE,
                    "content": f"{number:02d}{sum(map(ord, path)):030d}",
                }
            )
    source = Given(audio, rates or {})
    return Corpus(name="digits", kind="table", table=pd.DataFrame(rows), source=source)


def parts_of(joined: Corpus, id_: str) -> Parts:
    source = joined.source
    assert isinstance(source, StringSource)
    return source.strings[id_]


def test_each_utterance_is_said_once_a_pass_in_strings_of_its_speaker() -> None:
    given = corpus({"ann": 30, "bob": 11})
    joined = joined_strings(given, Strings(passes=3))
    said: Counter[tuple[str, str]] = Counter()
    for row in joined.table.itertuples():
        name, turn, _ = row.id.rsplit("-", 2)
        assert name == row.speaker
        for path in parts_of(joined, row.id).paths:
            assert path.split("/")[0] == row.speaker
            said[turn, path] += 1

    assert said == Counter({(f"p{n}", path): 1 for n in (1, 2, 3) for path in given.table["path"]})


def test_a_string_says_the_words_of_its_utterances_in_order() -> None:
    given = corpus({"ann": 30})
    word = dict(zip(given.table["path"], given.table["transcript"], strict=True))
    joined = joined_strings(given, Strings())

    for row in joined.table.itertuples():
        words = " ".join(word[path] for path in parts_of(joined, row.id).paths)
        assert row.transcript == row.text == words
        assert (row.emotion, row.session, row.gender) == ("", "", "female")


def test_each_pass_has_an_order_of_its_own() -> None:
    joined = joined_strings(corpus({"ann": 30}), Strings(passes=2))
    orders: dict[str, list[str]] = {}
    for id_ in joined.table["id"]:
        orders.setdefault(id_.split("-")[1], []).extend(parts_of(joined, id_).paths)

    first, second = orders["p1"], orders["p2"]
    assert first != second
    assert sorted(first) == sorted(second)
    assert [first, second] != [sorted(first)] * 2


@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.0])
def test_a_string_ends_where_the_next_utterance_leads_farther_from_the_length(
    seconds: float,
) -> None:
    given = corpus({"ann": 40})
    lasts = dict(zip(given.table["path"], given.table["duration"], strict=True))
    joined = joined_strings(given, Strings(seconds=seconds, passes=1))
    strings = [parts_of(joined, id_) for id_ in joined.table["id"]]

    for string, after in zip(strings, [*strings[1:], None], strict=True):
        lengths = [string.pauses[0]]
        for path, pause in zip(string.paths, string.pauses[1:], strict=True):
            lengths.append(lengths[-1] + lasts[path] + pause)
        off = [abs(length - seconds) for length in lengths[1:]]
        assert off == sorted(off, reverse=True)
        if after is not None:
            further = lengths[-1] + lasts[after.paths[0]] + after.pauses[1]
            assert abs(further - seconds) > off[-1]


def test_an_utterance_longer_than_a_string_is_one_by_itself() -> None:
    joined = joined_strings(corpus({"ann": 5}), Strings(seconds=0.01, passes=1))

    assert [len(parts_of(joined, id_).paths) for id_ in joined.table["id"]] == [1] * 5


def test_one_utterance_makes_one_string_a_pass() -> None:
    joined = joined_strings(corpus({"ann": 1}), Strings(passes=2))

    assert joined.table["id"].tolist() == ["ann-p1-0001", "ann-p2-0001"]
    assert joined.table["content"].nunique() == 2


def test_utterances_stand_unchanged_between_pauses_of_the_drawn_lengths() -> None:
    given = corpus({"ann": 12})
    joined = joined_strings(given, Strings(passes=1))
    source = given.source

    for row in joined.table.itertuples():
        parts = parts_of(joined, row.id)
        audio, rate = joined.source.read(row.path)
        assert (rate, audio.dtype) == (RATE, np.float32)
        place = round(parts.pauses[0] * RATE)
        for path, pause in zip(parts.paths, parts.pauses[1:], strict=True):
            said = source.read(path)[0]
            assert np.array_equal(audio[place : place + len(said)], said)
            place += len(said) + round(pause * RATE)
        assert place == len(audio)
        assert abs(len(audio) / RATE - row.duration) < len(parts.pauses) / RATE
        assert all(0.1 <= pause <= 0.4 for pause in parts.pauses)


def test_drawn_pauses_reach_over_their_whole_range() -> None:
    joined = joined_strings(corpus({"ann": 100}), Strings())
    pauses = [one for id_ in joined.table["id"] for one in parts_of(joined, id_).pauses]

    assert min(pauses) < 0.11
    assert max(pauses) > 0.39
    assert np.mean(pauses) == pytest.approx(0.25, abs=0.02)


def test_without_pauses_utterances_follow_each_other() -> None:
    given = corpus({"ann": 6})
    joined = joined_strings(given, Strings(pause_seconds=(0, 0), seconds=100, passes=1))
    (id_,) = joined.table["id"]
    audio = joined.source.read(id_)[0]

    said = [given.source.read(path)[0] for path in parts_of(joined, id_).paths]
    assert np.array_equal(audio, np.concatenate(said))


def quietest(audio: NDArray) -> tuple[float, float]:
    """Mean and deviation of the least varying block of 160 samples, one block after another."""
    blocks = [audio[at : at + 160].astype(float) for at in range(0, len(audio) - 159, 160)]
    best = min(blocks, key=lambda block: math.fsum((block - block.mean()) ** 2))
    return float(best.mean()), math.sqrt(math.fsum((best - best.mean()) ** 2) / 160)


def test_a_pause_is_noise_as_quiet_as_the_quieter_of_its_neighbours() -> None:
    audio = {
        "a": speech("a", seconds=0.3, quiet=0.02),
        "b": speech("b", seconds=0.5, quiet=0.001, offset=0.03),
    }
    string = Parts(("a", "b"), (1.0, 1.0, 1.0), "0" * 31 + "1")
    heard = StringSource(Given(audio, {}), {"s": string}).read("s")[0]
    first, between, last = heard[:8000], heard[10400:18400], heard[22400:]
    (mean_a, level_a), (mean_b, level_b) = quietest(audio["a"]), quietest(audio["b"])

    assert level_a > 10 * level_b
    # 8000 draws of a uniform distribution: its deviation is known to within one per cent.
    assert first.std() == pytest.approx(level_a, rel=0.02)
    assert last.std() == pytest.approx(level_b, rel=0.02)
    assert first.mean() == pytest.approx(mean_a, abs=level_a / 20)
    assert last.mean() == pytest.approx(mean_b, abs=level_b / 20)
    ramp = np.linspace(mean_a, mean_b, 8000)
    assert (between - ramp).std() == pytest.approx(level_b, rel=0.02)
    # White: no sample tells of the next.
    assert abs(np.corrcoef(last[:-1], last[1:])[0, 1]) < 0.05
    assert not np.array_equal(first / level_a, last / level_b)


def test_a_pause_beside_digital_silence_is_as_faint_as_16_bits_can_tell() -> None:
    audio = {"a": np.zeros(4000, dtype=np.float32)}
    heard = StringSource(Given(audio, {}), {"s": Parts(("a",), (1.0, 0.0), "f" * 32)}).read("s")[0]

    assert heard[:8000].std() == pytest.approx(FAINTEST, rel=0.02)
    assert FAINTEST == pytest.approx(8.81e-6, rel=1e-3)
    assert not heard[8000:].any()


def test_noise_is_the_same_for_ever() -> None:
    # A change of these numbers needs another PAUSE_VERSION.
    audio = {"a": np.array([0.5, -0.5] * 1000, dtype=np.float32)}
    heard = StringSource(Given(audio, {}), {"s": Parts(("a",), (0.1, 0.1), "0a" * 16)})
    again = joined_strings(corpus({"ann": 9}), Strings(passes=1))

    noise = [-0.351296603, -0.626639605, -0.694568634]
    assert heard.read("s")[0][:3] == pytest.approx(noise, rel=1e-6)
    assert again.table["content"].tolist() == [
        "a34314a8086295bb22de2ee266fa197c",
        "5c0e9e91e4224c8b2e1944609bfdba18",
        "afbe09ffafa168521f243f62bcd95aab",
    ]


def test_another_speaker_changes_nobodys_strings() -> None:
    alone = joined_strings(corpus({"bob": 20}), Strings())
    beside = joined_strings(corpus({"ann": 9, "bob": 20, "cyd": 3}), Strings())
    his = beside.table[beside.table["speaker"] == "bob"].reset_index(drop=True)

    assert his.equals(alone.table)
    for id_ in alone.table["id"][:3]:
        assert np.array_equal(alone.source.read(id_)[0], beside.source.read(id_)[0])


def test_speakers_do_not_share_an_order() -> None:
    joined = joined_strings(corpus({"ann": 20, "bob": 20}), Strings(passes=1)).table
    order = {speaker: " ".join(rows["transcript"]) for speaker, rows in joined.groupby("speaker")}

    assert order["ann"] != order["bob"]


def test_more_passes_leave_the_first_ones_alone() -> None:
    two = joined_strings(corpus({"ann": 20}), Strings(passes=2)).table
    three = joined_strings(corpus({"ann": 20}), Strings(passes=3)).table

    assert three[: len(two)].equals(two)


def test_a_seed_makes_other_strings_and_the_same_one_the_same() -> None:
    given = corpus({"ann": 20})
    first, again, other = (
        joined_strings(given, Strings(seed=seed)).table["content"].tolist() for seed in (0, 0, 1)
    )

    assert first == again
    assert not set(first) & set(other)


def test_contents_are_hashes_that_pauses_and_order_are_part_of() -> None:
    given = corpus({"ann": 20})
    low, other = (
        joined_strings(given, Strings(pause_seconds=(0.1, high), passes=1)).table["content"]
        for high in (0.1, 0.1001)
    )

    assert all(len(one) == 32 and int(one, 16) >= 0 for one in low)
    assert low.nunique() == len(low)
    assert not set(low) & set(other)


def test_rates_that_differ_within_a_string_are_refused_by_name() -> None:
    given = corpus({"ann": 2}, rates={"ann/1.wav": 16000})
    joined = joined_strings(given, Strings(passes=1))

    with pytest.raises(CorpusError, match="resample one of them") as caught:
        joined.waveform("ann-p1-0001", sample_rate=RATE)
    for part in ("ann/0.wav", "ann/1.wav", "8000 Hz", "16000 Hz", "'ann-p1-0001'"):
        assert part in str(caught.value)


def test_speakers_of_different_rates_are_each_joined_at_their_own() -> None:
    given = corpus({"ann": 2, "bob": 2}, rates={"bob/0.wav": 16000, "bob/1.wav": 16000})
    joined = joined_strings(given, Strings(passes=1))

    assert {id_: joined.source.read(id_)[1] for id_ in joined.table["id"]} == {
        "ann-p1-0001": 8000,
        "bob-p1-0001": 16000,
    }
    assert native_rate(joined) == 8000


def test_strings_are_a_corpus_like_any_other() -> None:
    problem = Problem(kind="dc-offset", text="has an offset", id="ann-0")
    given = corpus({"ann": 8})
    given = Corpus(**{**vars(given), "accepted": (problem,), "said": ("before",)})
    joined = pickle.loads(pickle.dumps(joined_strings(given, Strings())))
    id_ = joined.table["id"][0]

    assert (joined.name, joined.accepted) == ("digits", (problem,))
    assert joined.said == (
        "before",
        "joined into strings of about 3 s with pauses of 0.1 to 0.4 s, 4 times over",
    )
    assert len(joined.waveform(id_, sample_rate=16000)) == 2 * len(joined.source.read(id_)[0])


def test_strings_of_the_real_fsdd(fsdd_root: Path) -> None:
    given = load_corpus(FsddCorpus(kind="fsdd", root=str(fsdd_root)))
    joined = joined_strings(given, Strings())
    source = joined.source
    assert isinstance(source, StringSource)
    said = Counter(path for parts in source.strings.values() for path in parts.paths)

    assert set(said.values()) == {4}
    assert len(said) == 3000
    assert joined.table["duration"].median() == pytest.approx(3.0, abs=0.1)
    assert joined.table["duration"].max() < 5
    assert native_rate(joined) == native_rate(given) == 8000
    for id_ in joined.table["id"][::300]:
        audio = joined.waveform(id_, sample_rate=16000)
        assert np.isfinite(audio).all()
        assert len(audio) / 16000 == pytest.approx(joined.rows([id_])["duration"][0], abs=1e-3)
