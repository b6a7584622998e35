"""Features: the numbers by an independent implementation, the packing, the sharing in the store."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.corpora import Corpus, load_corpus
from orchestrator.errors import ExperimentError, StoreError
from orchestrator.experiment.corpus import EmodbCorpus
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.features import (
    LOG_FLOOR,
    PackedFrames,
    PackHandle,
    extract_features,
    feature_shards,
    log_mel,
    normalisation,
    pack_handle,
)
from orchestrator.store import STAGE_VERSIONS, Store

SECTION = LogMelFeatures(bins=16)


class Tones:
    """Audio without files: ``440/0.5`` is half a second of 440 Hz and a little noise."""

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        hz, seconds = map(float, path.split("/"))
        time = np.arange(round(seconds * 16000)) / 16000
        noise = np.random.default_rng(round(hz)).standard_normal(len(time))
        return (0.3 * np.sin(2 * np.pi * hz * time) + 0.01 * noise).astype(np.float32), 16000


def tones(count: int = 40) -> Corpus:
    rows = []
    for place in range(count):
        path = f"{200 + 10 * place}/{0.1 + 0.01 * place:.2f}"
        content = hashlib.sha256(path.encode()).hexdigest()[:32]
        rows.append((f"u{place:02}", path, f"s{place % 4}", "", "joy", 0.1, content))
    columns = ["id", "path", "speaker", "session", "emotion", "duration", "content"]
    return Corpus("tones", "table", pd.DataFrame(rows, columns=columns), source=Tones())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def pack_of(store: Store, **frames: list[list[float]]) -> PackedFrames:
    """A pack of given frames, two shards, without audio."""
    shards = []
    for part in (sorted(frames)[::2], sorted(frames)[1::2]):
        if part:
            arrays = [np.asarray(frames[name], dtype=np.float32) for name in part]
            offsets = np.cumsum([0, *map(len, arrays)])
            shards.append((part, offsets, np.concatenate(arrays)))
    return PackedFrames(shards)


# The numbers


def by_hand(wave: NDArray[np.float32], section: LogMelFeatures, *, fft: int) -> NDArray[np.float64]:
    """Log-Mel in plain numpy, frame by frame, after the definition."""
    rate = section.sample_rate
    window, hop = round(section.window_seconds * rate), round(section.hop_seconds * rate)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    top = section.highest_hz or rate / 2

    def mel(hz: float) -> float:
        return 2595.0 * np.log10(1.0 + hz / 700.0)

    edges = np.linspace(mel(section.lowest_hz), mel(top), section.bins + 2)
    corners = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    hz = np.arange(fft // 2 + 1) * rate / fft
    rising = (hz - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - hz) / (corners[2:] - corners[1:-1])[:, None]
    triangles = np.clip(np.minimum(rising, falling), 0.0, None)
    padded = np.pad(wave.astype(np.float64), fft)
    frames = []
    for centre in range(0, len(wave) + 1, hop):
        start = fft + centre - window // 2
        power = np.abs(np.fft.rfft(padded[start : start + window] * hann, fft)) ** 2
        frames.append(np.log(np.maximum(triangles @ power, 1e-6)))
    return np.stack(frames)


@pytest.mark.parametrize(
    ("section", "fft"),
    [
        (LogMelFeatures(), 512),
        (LogMelFeatures(bins=40, sample_rate=8000, lowest_hz=0.0, highest_hz=3800.0), 256),
        (LogMelFeatures(bins=24, window_seconds=0.032, hop_seconds=0.016), 512),
        # narrow triangles need a longer transform than the window
        (LogMelFeatures(bins=128), 1024),
    ],
)
def test_log_mel_against_plain_numpy(section: LogMelFeatures, fft: int) -> None:
    wave = np.random.default_rng(0).standard_normal(5000).astype(np.float32) * 0.1

    np.testing.assert_allclose(log_mel(wave, section), by_hand(wave, section, fft=fft), atol=2e-3)


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (159, 1), (160, 2), (161, 2), (16000, 101)]
)
def test_every_length_of_audio_has_its_frames(samples: int, frames: int) -> None:
    found = log_mel(np.full(samples, 0.1, dtype=np.float32), SECTION)

    assert found.shape == (frames, 16)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_silence_lies_on_the_floor() -> None:
    found = log_mel(np.zeros(1600, dtype=np.float32), SECTION)

    assert np.allclose(found, np.log(LOG_FLOOR))


def test_deltas_are_regressions_over_five_frames() -> None:
    wave = np.random.default_rng(1).standard_normal(3000).astype(np.float32)
    found = log_mel(wave, SECTION.model_copy(update={"deltas": 2}))
    static, delta, second = found[:, :16], found[:, 16:32], found[:, 32:]

    def regression(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        edged = np.pad(plane, ((2, 2), (0, 0)), mode="edge")
        one, two = edged[3:-1] - edged[1:-3], edged[4:] - edged[:-4]
        return (one + 2 * two) / 10

    assert found.shape == (19, 48)
    np.testing.assert_array_equal(static, log_mel(wave, SECTION))
    np.testing.assert_allclose(delta, regression(static), atol=1e-5)
    np.testing.assert_allclose(second, regression(delta), atol=1e-5)


def test_more_bins_than_frequencies_are_refused() -> None:
    section = LogMelFeatures(bins=256, lowest_hz=100.0, highest_hz=101.0)
    with pytest.raises(ExperimentError, match=r"features\.bins 256.*use fewer bins"):
        log_mel(np.zeros(100, dtype=np.float32), section)


def test_golden_numbers_of_this_stage_version() -> None:
    """When these change, raise ``STAGE_VERSIONS["features"]`` and put the new ones here."""
    time = np.arange(8000) / 16000
    wave = (0.5 * np.sin(2 * np.pi * 200 * time * (1 + time))).astype(np.float32)
    found = log_mel(wave, LogMelFeatures(bins=8, deltas=1))

    assert STAGE_VERSIONS["features"] == 1
    np.testing.assert_allclose(
        found[25, [0, 1, 7, 8]], [8.2946, 6.6815, -13.8155, -0.0158], atol=2e-3
    )


# The packing


def test_a_pack_gathers_each_utterances_frames(store: Store) -> None:
    corpus = tones()
    pack = PackedFrames.open(store, extract_features(corpus, SECTION, store=store))

    assert pack.ids == tuple(f"u{place:02}" for place in range(40))
    assert pack.width == 16
    wanted = ["u30", "u02", "u30"]
    for name, frames in zip(wanted, pack.gather(wanted), strict=True):
        expected = log_mel(corpus.waveform(name, sample_rate=16000), SECTION)
        np.testing.assert_array_equal(frames, expected)
        assert pack.length(name) == len(expected)
    assert pack.bytes == sum(pack.length(name) for name in pack.ids) * 16 * 4


def test_gathered_frames_are_views_that_nobody_can_change(store: Store) -> None:
    pack = PackedFrames.open(store, extract_features(tones(3), SECTION, store=store))
    first, second = pack.gather(["u00", "u00"])

    assert np.shares_memory(first, second)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1.0


def test_an_utterance_the_pack_lacks_is_a_key_error(store: Store) -> None:
    pack = PackedFrames.open(store, extract_features(tones(3), SECTION, store=store))
    with pytest.raises(KeyError, match="ghost"):
        pack.gather(["ghost"])


def test_a_shard_that_went_missing_is_a_store_error(store: Store) -> None:
    handle = extract_features(tones(3), SECTION, store=store)
    os.truncate(store.get("features", handle.keys[0]).path / "frames.npy", 100)
    with pytest.raises(StoreError, match="run the same command again"):
        PackedFrames.open(store, handle)


def test_a_handle_survives_json() -> None:
    handle = PackHandle(keys=("a", "b"), identity="c")

    assert PackHandle.from_json(handle.to_json()) == handle


# What is reused


def test_a_second_extraction_computes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, int]] = []
    handle = extract_features(
        tones(), SECTION, store=store, progress=lambda *done: said.append(done)
    )
    assert said == [(done, len(handle.keys)) for done in range(1, len(handle.keys) + 1)]
    assert 1 < len(handle.keys) <= 16

    monkeypatch.setattr(Tones, "read", None)
    assert extract_features(tones(), SECTION, store=store) == handle
    assert pack_handle(tones(), SECTION, store=store) == handle


def test_a_row_added_elsewhere_recomputes_one_shard(store: Store) -> None:
    before = extract_features(tones(40), SECTION, store=store)
    reused = [shard() for shard in feature_shards(tones(41), SECTION, store=store)]
    after = pack_handle(tones(41), SECTION, store=store)

    assert reused.count(False) == 1
    assert len(set(after.keys) - set(before.keys)) == 1
    assert after.identity == before.identity


def test_the_name_of_the_corpus_and_its_labels_recompute_nothing(store: Store) -> None:
    corpus = tones(5)
    other = dataclasses.replace(
        corpus, name="other", table=corpus.table.iloc[::-1].assign(emotion="anger", speaker="x")
    )

    assert pack_handle(other, SECTION, store=store) == pack_handle(corpus, SECTION, store=store)


def test_other_parameters_share_nothing(store: Store) -> None:
    wider = SECTION.model_copy(update={"bins": 20})
    one, other = (pack_handle(tones(), section, store=store) for section in (SECTION, wider))

    assert not set(one.keys) & set(other.keys)
    assert one.identity != other.identity


def test_a_shard_may_be_made_anywhere(store: Store) -> None:
    shards = pickle.loads(pickle.dumps(feature_shards(tones(5), SECTION, store=store)))

    assert [shard() for shard in shards] == [False] * len(shards)
    assert [shard() for shard in shards] == [True] * len(shards)
    assert PackedFrames.open(store, pack_handle(tones(5), SECTION, store=store)).ids == (
        "u00",
        "u01",
        "u02",
        "u03",
        "u04",
    )


def test_extraction_leaves_the_number_of_threads_alone(store: Store) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        extract_features(tones(2), SECTION, store=store)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# Normalisation


def test_normalisation_by_hand(store: Store) -> None:
    pack = pack_of(store, a=[[0, 5], [2, 5]], b=[[4, 5]], c=[[100, 9]])
    mean, std = normalisation(pack, ["b", "a"])

    # 0, 2, 4: mean 2, population variance 8 / 3; the second feature never varies
    np.testing.assert_allclose(mean, [2.0, 5.0])
    np.testing.assert_allclose(std, [np.sqrt(8 / 3), 1.0])
    assert mean.dtype == std.dtype == np.float32


def test_normalisation_knows_nothing_but_the_given_utterances(store: Store) -> None:
    """Law 2: what a test speaker sounds like changes no statistic."""
    one = pack_of(store, a=[[0.0], [1.0]], test=[[7.0]])
    other = pack_of(store, a=[[0.0], [1.0]], test=[[-900.0], [np.nan]])

    for here, there in zip(normalisation(one, ["a"]), normalisation(other, ["a"]), strict=True):
        np.testing.assert_array_equal(here, there)


def test_normalisation_does_not_depend_on_the_order_of_ids(store: Store) -> None:
    pack = PackedFrames.open(store, extract_features(tones(), SECTION, store=store))
    ids = list(pack.ids)
    one, other = normalisation(pack, ids), normalisation(pack, [*ids[::-1], ids[0]])

    for here, there in zip(one, other, strict=True):
        np.testing.assert_array_equal(here, there)


def test_normalisation_of_nothing_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="at least one utterance"):
        normalisation(pack_of(store, a=[[0.0]]), [])


def test_shards_of_different_width_are_no_pack() -> None:
    shards = [(["a"], np.array([0, 1]), np.zeros((1, 2), np.float32))]
    shards.append((["b"], np.array([0, 1]), np.zeros((1, 3), np.float32)))
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        PackedFrames(shards)


# Real speech


def test_emodb_ten_utterances(emodb_root: Path, store: Store) -> None:
    corpus = load_corpus(EmodbCorpus(kind="emodb", root=str(emodb_root)))
    ten = dataclasses.replace(corpus, table=corpus.table.iloc[::54])
    pack = PackedFrames.open(store, extract_features(ten, LogMelFeatures(), store=store))
    mean, std = normalisation(pack, pack.ids)

    assert len(pack.ids) == 10
    for name, duration in zip(ten.table["id"], ten.table["duration"], strict=True):
        assert pack.length(name) == 1 + round(duration * 16000) // 160
    assert (std > 0.5).all()
    assert np.isfinite(mean).all()
