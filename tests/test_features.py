"""Features: the packing, the sharing in the store, the normalisation."""

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
from orchestrator.errors import StoreError
from orchestrator.experiment.corpus import EmodbCorpus
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.features import (
    PackedFrames,
    PackHandle,
    extract_features,
    feature_shards,
    normalisation,
    pack_handle,
)
from orchestrator.log_mel import log_mel
from orchestrator.packing import ArrayWriter, open_array
from orchestrator.store import Store

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


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_appended_is_what_the_file_holds(tmp_path: Path, dtype: str) -> None:
    items = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    with ArrayWriter(tmp_path / "a.npy", shape=(2, 3), dtype=dtype) as writer:
        # no items, items that lie apart in memory, and the rest
        counts = [writer.append(part) for part in (items[:0], items[::2], items[1::2])]

    found = open_array(tmp_path / "a.npy")
    assert counts == [0, 2, 4]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, items[[0, 2, 1, 3]])


def test_an_utterance_has_the_same_bits_in_whatever_company(store: Store) -> None:
    """Law 5: who else is in the corpus, or comes before in the shard, changes no number."""
    corpus = tones(40)
    together = PackedFrames.open(store, extract_features(corpus, SECTION, store=store))
    for name in ("u00", "u17", "u39"):
        alone = dataclasses.replace(corpus, table=corpus.table[corpus.table["id"] == name])
        pack = PackedFrames.open(store, extract_features(alone, SECTION, store=store))

        assert pack.ids == (name,)
        np.testing.assert_array_equal(pack.gather([name])[0], together.gather([name])[0])


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


def test_several_corpora_are_read_as_one_without_being_made_again(store: Store) -> None:
    first, second = tones(3), tones(2)
    handles = [extract_features(corpus, SECTION, store=store) for corpus in (first, second)]
    both = PackedFrames.open(store, PackHandle.joined(handles, prefixes=["one/", "two/"]))

    ids = [f"one/{name}" for name in first.table["id"]]
    ids += [f"two/{name}" for name in second.table["id"]]
    assert list(both.ids) == sorted(ids)
    alone = PackedFrames.open(store, handles[1])
    name = second.table["id"][0]
    np.testing.assert_array_equal(both.gather([f"two/{name}"])[0], alone.gather([name])[0])


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
