"""Waveforms: read at an encoder's rate, packed, shared in the store."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import transformers
from numpy.typing import NDArray

from orchestrator.corpora import Corpus
from orchestrator.corpora.audio import resample
from orchestrator.errors import PretrainedError, StoreError
from orchestrator.features import PackHandle
from orchestrator.store import STAGE_VERSIONS, Store
from orchestrator.waveforms import (
    PackedWaveforms,
    encoder_sample_rate,
    waveform_handle,
    waveform_shards,
)
from tests.models.encoders import save_waveform_model, save_whisper


class Noise:
    """Audio without files: path ``n`` is n samples at 8 kHz."""

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        generator = np.random.default_rng(int(path))
        return generator.standard_normal(int(path)).astype(np.float32), 8000


def noises(*samples: int) -> Corpus:
    rows = [
        (f"u{n}", str(n), "s", "", "joy", n / 8000, hashlib.sha256(b"%d" % n).hexdigest()[:32])
        for n in samples
    ]
    columns = ["id", "path", "speaker", "session", "emotion", "duration", "content"]
    return Corpus("noises", "table", pd.DataFrame(rows, columns=columns), source=Noise())


MANY = tuple(range(100, 1100, 50))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def packed(corpus: Corpus, store: Store, *, sample_rate: int = 8000) -> PackHandle:
    for shard in waveform_shards(corpus, sample_rate=sample_rate, store=store):
        shard()
    return waveform_handle(corpus, sample_rate=sample_rate, store=store)


def test_waveforms_come_back_bit_by_bit_in_the_order_asked_for(store: Store) -> None:
    handle = packed(noises(*MANY), store)
    pack = PackedWaveforms.open(store, handle)
    found = pack.gather(["u700", "u100", "u1050"])

    assert len(handle.keys) > 1
    assert pack.ids == tuple(sorted(f"u{n}" for n in MANY))
    assert pack.sample_rate == 8000
    for samples, waveform in zip((700, 100, 1050), found, strict=True):
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, Noise().read(str(samples))[0])


def test_waveforms_are_at_the_rate_asked_for(store: Store) -> None:
    pack = PackedWaveforms.open(store, packed(noises(400), store, sample_rate=16000))

    assert pack.sample_rate == 16000
    expected = resample(Noise().read("400")[0], rate=8000, to=16000)
    np.testing.assert_array_equal(pack.gather(["u400"])[0], expected)


def test_a_second_time_nothing_is_read(store: Store) -> None:
    shards = pickle.loads(
        pickle.dumps(waveform_shards(noises(*MANY), sample_rate=8000, store=store))
    )

    assert [shard() for shard in shards] == [False] * len(shards)
    assert [shard() for shard in shards] == [True] * len(shards)
    assert [shard.obtain().key for shard in shards] == [shard.key for shard in shards]


def test_identity_is_of_the_rate_and_of_no_utterance(store: Store) -> None:
    handles = [
        waveform_handle(noises(*samples), sample_rate=rate, store=store)
        for samples, rate in (((100, 200), 8000), ((100, 200, 300), 8000), ((100, 200), 16000))
    ]

    assert handles[0].identity == handles[1].identity != handles[2].identity
    assert not set(handles[0].keys) & set(handles[2].keys)
    assert STAGE_VERSIONS["waveforms"] == 1


def test_joined_corpora_are_one_pack_but_never_of_two_rates(store: Store) -> None:
    slow, fast = (packed(noises(100), store, sample_rate=rate) for rate in (8000, 16000))
    joined = PackHandle.joined([slow, packed(noises(200), store)], prefixes=["a/", "b/"])

    assert PackedWaveforms.open(store, joined).ids == ("a/u100", "b/u200")
    with pytest.raises(ValueError, match=r"one rate in all shards.*\[8000, 16000\]"):
        PackedWaveforms.open(store, PackHandle.joined([slow, fast], prefixes=["a/", "b/"]))


def test_waveforms_that_were_never_made_are_an_error_of_the_store(store: Store) -> None:
    handle = waveform_handle(noises(100), sample_rate=8000, store=store)

    with pytest.raises(StoreError, match="waveforms artifact"):
        PackedWaveforms.open(store, handle)


def test_an_encoder_says_its_rate(tmp_path: Path) -> None:
    waves = save_waveform_model(tmp_path / "waves", "wav2vec2")
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(waves)

    assert encoder_sample_rate(str(waves)) == 8000
    assert encoder_sample_rate(str(save_whisper(tmp_path / "whisper"))) == 16000
    with pytest.raises(PretrainedError, match=r"recipe\.teacher\.root .*no such folder"):
        encoder_sample_rate(str(tmp_path / "nothing"))
