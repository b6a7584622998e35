"""Frozen encoder outputs: pooled over real length, stored once, shared by folds."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import models.pretrained
from orchestrator.corpora import Corpus, load_corpus
from orchestrator.encoder_outputs import (
    EncoderHandle,
    EncoderOutputs,
    encode_corpus,
    encoder_handle,
    encoder_shards,
    pool,
)
from orchestrator.errors import PretrainedError
from orchestrator.experiment.corpus import EmodbCorpus
from orchestrator.experiment.recipe import PretrainedTeacher
from orchestrator.store import STAGE_VERSIONS, Store

TEACHER = PretrainedTeacher(kind="pretrained", root="anywhere")


class Ramps:
    """Audio without files: path ``n`` is n samples of the value n / 1000."""

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        return np.full(int(path), int(path) / 1000, dtype=np.float32), 8000


class Encoder:
    """Three layers of width two, a frame a hundred samples: layer x first sample x (1, place)."""

    sample_rate, layers, width, seconds_per_frame = 8000, 3, 2, 0.0125
    threads: set[int] = set()
    scale = 1.0

    def hidden_states(self, waveforms: Sequence[NDArray[np.float32]]) -> list[Tensor]:
        self.threads.add(torch.get_num_threads())
        found = []
        for wave in waveforms:
            place = torch.arange(-(-len(wave) // 100), dtype=torch.float32)
            frame = torch.stack([torch.ones_like(place), place], dim=-1) * float(wave[0])
            found.append(torch.stack([frame * layer * self.scale for layer in (1, 2, 3)]))
        return found


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the encoder by the one above; the list grows each time that it is loaded."""
    loaded: list[str] = []

    def load_encoder(root: str, *, device: str) -> Encoder:
        loaded.append(device)
        return Encoder()

    monkeypatch.setattr(models.pretrained, "load_encoder", load_encoder)
    monkeypatch.setattr(models.pretrained, "weights_hash", lambda root: "hash")
    return loaded


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def ramps(*samples: int) -> Corpus:
    rows = [
        (f"u{n}", str(n), "s", "", "joy", n / 8000, hashlib.sha256(b"%d" % n).hexdigest()[:32])
        for n in samples
    ]
    columns = ["id", "path", "speaker", "session", "emotion", "duration", "content"]
    return Corpus("ramps", "table", pd.DataFrame(rows, columns=columns), source=Ramps())


@pytest.mark.usefixtures("loads")
def test_pooled_and_frames_by_hand(store: Store) -> None:
    handle = encode_corpus(ramps(100, 250, 400), TEACHER, store=store)
    outputs = EncoderOutputs.open(store, handle)

    assert outputs.ids == ("u100", "u250", "u400")
    assert (outputs.layers, outputs.width) == ((0, 1, 2), 2)
    assert outputs.seconds_per_frame == 0.0125
    # 250 samples are three frames at places 0, 1, 2, of value 0.25; 100 are one of 0.1
    pooled = np.stack(outputs.pooled(["u250", "u100"]))
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(
        pooled,
        [[[0.25, 0.25], [0.5, 0.5], [0.75, 0.75]], [[0.1, 0.0], [0.2, 0.0], [0.3, 0.0]]],
        rtol=1e-6,
    )
    long, short = outputs.frames(["u400", "u100"])
    assert (long.shape, short.shape, long.dtype) == ((4, 3, 2), (1, 3, 2), np.float16)
    np.testing.assert_allclose(long[3], [[0.4, 1.2], [0.8, 2.4], [1.2, 3.6]], rtol=1e-3)


def test_statistics_append_the_population_deviation() -> None:
    frames = np.array([[[0.0, 1.0]], [[4.0, 1.0]]], dtype=np.float32)

    np.testing.assert_array_equal(pool(frames), [[2.0, 1.0]])
    np.testing.assert_array_equal(pool(frames, statistics=True), [[2.0, 1.0, 2.0, 0.0]])
    np.testing.assert_array_equal(pool(frames[:1], statistics=True), [[0.0, 1.0, 0.0, 0.0]])


@pytest.mark.usefixtures("loads")
def test_some_layers_are_kept_in_the_order_asked_for(store: Store) -> None:
    teacher = TEACHER.model_copy(update={"layers": (2, 0), "pooling": "statistics"})
    outputs = EncoderOutputs.open(store, encode_corpus(ramps(100), teacher, store=store))

    assert outputs.layers == (2, 0)
    np.testing.assert_allclose(
        outputs.pooled(["u100"]), [[[0.3, 0, 0, 0], [0.1, 0, 0, 0]]], rtol=1e-6
    )


@pytest.mark.usefixtures("loads")
def test_without_frames_none_are_stored(store: Store) -> None:
    teacher = TEACHER.model_copy(update={"frames": False})
    with_frames = encode_corpus(ramps(100), TEACHER, store=store)
    handle = encode_corpus(ramps(100), teacher, store=store)
    outputs = EncoderOutputs.open(store, handle)

    assert not (store.get("encoder", handle.keys[0]).path / "frames.npy").exists()
    with pytest.raises(ValueError, match=r"set recipe\.teacher\.frames to true"):
        outputs.frames(["u100"])
    # the pooled vectors are the same, and so is what a fitted head depends on
    assert handle.keys != with_frames.keys
    assert handle.identity == with_frames.identity


def test_a_second_time_nothing_is_loaded_or_encoded(store: Store, loads: list[str]) -> None:
    corpus = ramps(*range(100, 1100, 50))
    said: list[tuple[int, int]] = []
    handle = encode_corpus(corpus, TEACHER, store=store, progress=lambda *done: said.append(done))
    assert said[-1] == (len(handle.keys), len(handle.keys))
    loads.clear()

    assert encode_corpus(corpus, TEACHER, store=store) == handle
    assert loads == []


def test_a_row_added_elsewhere_encodes_one_shard(store: Store, loads: list[str]) -> None:
    before = encode_corpus(ramps(*range(100, 1100, 50)), TEACHER, store=store)
    loads.clear()
    after = encode_corpus(ramps(*range(100, 1150, 50)), TEACHER, store=store)

    assert len(loads) == 1
    assert after.identity == before.identity


@pytest.mark.usefixtures("loads")
def test_the_folder_means_nothing_and_the_weights_everything(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = ramps(100)
    here = encoder_handle(corpus, TEACHER, store=store)
    moved = TEACHER.model_copy(update={"root": "elsewhere"})
    assert encoder_handle(corpus, moved, store=store) == here

    assert encoder_handle(corpus, TEACHER, store=store, device="cuda").keys != here.keys
    monkeypatch.setattr(models.pretrained, "weights_hash", lambda root: "other")
    other = encoder_handle(corpus, TEACHER, store=store)
    assert other.keys != here.keys
    assert other.identity != here.identity


@pytest.mark.usefixtures("loads")
def test_a_shard_may_be_made_anywhere(store: Store) -> None:
    shards = pickle.loads(pickle.dumps(encoder_shards(ramps(100, 200), TEACHER, store=store)))

    assert [shard() for shard in shards] == [False] * len(shards)
    assert [shard() for shard in shards] == [True] * len(shards)


@pytest.mark.usefixtures("loads")
def test_a_shard_is_not_made_of_other_weights_than_its_key_says(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a node whose cache holds another revision of the model."""
    (shard,) = encoder_shards(ramps(100), TEACHER, store=store)
    monkeypatch.setattr(models.pretrained, "weights_hash", lambda root: "other")

    with pytest.raises(PretrainedError, match=r"'anywhere': on .* are other, .* are hash; .*revis"):
        shard()
    assert not any((Path(store.uri) / "artifacts").rglob("*.npy"))

    monkeypatch.setattr(models.pretrained, "weights_hash", lambda root: "hash")
    assert shard() is False


@pytest.mark.usefixtures("loads")
def test_a_handle_of_several_corpora_keeps_the_encoders_hash(store: Store) -> None:
    handles = [encoder_handle(ramps(n), TEACHER, store=store) for n in (100, 200)]
    both = EncoderHandle.joined(handles, prefixes=["a/", "b/"])

    assert (both.weights, both.identity) == ("hash", handles[0].identity)
    assert list(both.shards()) == [(handles[0].keys[0], "a/"), (handles[1].keys[0], "b/")]


@pytest.mark.usefixtures("loads")
def test_encoding_uses_one_thread_and_leaves_the_number_alone(store: Store) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Encoder.threads.clear()
        encode_corpus(ramps(100), TEACHER, store=store)
        assert Encoder.threads == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# What of a teacher is frozen


@pytest.mark.usefixtures("loads")
def test_attentive_pooling_shares_the_outputs_of_the_mean(store: Store) -> None:
    attentive = TEACHER.model_copy(update={"pooling": "attentive"})
    statistics = TEACHER.model_copy(update={"pooling": "statistics"})
    corpus = ramps(100)
    handle = encode_corpus(corpus, TEACHER, store=store)

    assert encoder_handle(corpus, attentive, store=store) == handle
    assert encoder_handle(corpus, statistics, store=store) != handle


@pytest.fixture
def blocks(loads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder above has two blocks."""
    monkeypatch.setattr(models.pretrained, "block_count", lambda root: Encoder.layers - 1)
    monkeypatch.setattr(models.pretrained, "model_type", lambda root: "whisper")


def top(trained: int, **options: Any) -> PretrainedTeacher:
    mode = {"kind": "top-n", "layers": trained}
    return PretrainedTeacher.model_validate(
        {"kind": "pretrained", "root": "anywhere", "mode": mode, **options}
    )


@pytest.mark.usefixtures("blocks")
def test_below_the_last_layers_only_their_input_is_kept(store: Store) -> None:
    outputs = EncoderOutputs.open(store, encode_corpus(ramps(100, 250), top(1), store=store))

    assert outputs.layers == (1,)
    np.testing.assert_allclose(
        outputs.frames(["u250"])[0], [[[0.5, 0.0]], [[0.5, 0.5]], [[0.5, 1.0]]], rtol=1e-3
    )
    # how the trained layers are pooled and mixed, and at what rate, is the fold's affair
    same = encoder_handle(
        ramps(100, 250), top(1, pooling="statistics", layers=[2], frames=False), store=store
    )
    assert same.keys == encoder_handle(ramps(100, 250), top(1), store=store).keys
    other = encoder_handle(ramps(100, 250), top(2), store=store)
    assert other.identity != same.identity


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (top(3), r"mode\.layers 3: the encoder has only 2 transformer layers.*mode full"),
        (top(1, layers=[0, 1]), r"\[0, 1\]: with the last 1 of 2 layers.* hidden states 1 to 2"),
        (top(1, layers=[3]), r"\[3\]: with the last 1 of 2 layers.* hidden states 1 to 2"),
        (top(1, layers=[]), "name some of these"),
    ],
)
def test_layers_that_the_fold_has_not_are_refused_before_anything_is_encoded(
    store: Store, teacher: PretrainedTeacher, said: str
) -> None:
    with pytest.raises(PretrainedError, match=said):
        encoder_handle(ramps(100), teacher, store=store)


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.usefixtures("loads")
def test_of_an_encoder_that_changes_nothing_is_computed_beforehand(store: Store, kind: str) -> None:
    teacher = TEACHER.model_validate({**TEACHER.model_dump(), "mode": {"kind": kind}})
    with pytest.raises(ValueError, match=f"mode '{kind}'"):
        encoder_handle(ramps(100), teacher, store=store)


# What is refused


@pytest.mark.usefixtures("loads")
@pytest.mark.parametrize("layers", [(3,), (0, 9), ()])
def test_layers_the_encoder_lacks_are_refused(store: Store, layers: tuple[int, ...]) -> None:
    teacher = TEACHER.model_copy(update={"layers": layers})
    with pytest.raises(PretrainedError, match=r"recipe\.teacher\.layers.*hidden states 0 to 2"):
        encode_corpus(ramps(100), teacher, store=store)


@pytest.mark.usefixtures("loads")
@pytest.mark.parametrize(
    ("scale", "said"),
    [(float("nan"), "not finite"), (1e8, "beyond half precision.*frames to false")],
)
def test_outputs_that_cannot_be_kept_are_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, scale: float, said: str
) -> None:
    monkeypatch.setattr(Encoder, "scale", scale)
    with pytest.raises(PretrainedError, match=f"'u100'.*{said}"):
        encode_corpus(ramps(100), TEACHER, store=store)
    assert not any((Path(store.uri) / "artifacts").rglob("*.npy"))


@pytest.mark.usefixtures("loads")
def test_large_outputs_are_kept_pooled(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "scale", 1e8)
    teacher = TEACHER.model_copy(update={"frames": False})
    outputs = EncoderOutputs.open(store, encode_corpus(ramps(100), teacher, store=store))

    np.testing.assert_allclose(outputs.pooled(["u100"])[0][2], [3e7, 0.0], rtol=1e-6)


def test_a_folder_that_is_no_encoder_is_an_input_error(store: Store, tmp_path: Path) -> None:
    teacher = TEACHER.model_copy(update={"root": str(tmp_path)})
    with pytest.raises(PretrainedError, match=r"recipe\.teacher\.root .*config\.json") as raised:
        encode_corpus(ramps(100), teacher, store=store)

    assert raised.value.exit_code == 2


# Real speech


def test_whisper_on_emodb(emodb_root: Path, whisper_root: Path, store: Store) -> None:
    corpus = load_corpus(EmodbCorpus(kind="emodb", root=str(emodb_root)))
    two = dataclasses.replace(corpus, table=corpus.table.iloc[[0, 300]])
    teacher = TEACHER.model_copy(update={"root": str(whisper_root), "pooling": "statistics"})
    outputs = EncoderOutputs.open(store, encode_corpus(two, teacher, store=store))
    frames = outputs.frames(outputs.ids)

    assert outputs.layers == tuple(range(7))
    for found, duration in zip(frames, two.table["duration"], strict=True):
        assert found.shape == (np.ceil(duration / outputs.seconds_per_frame), 7, 512)
    pooled = np.stack(outputs.pooled(outputs.ids))
    assert pooled.shape == (2, 7, 1024)
    np.testing.assert_allclose(
        pooled[0, :, :512], frames[0].astype(np.float64).mean(axis=0), atol=2e-2
    )
    # golden numbers: when they change, raise the version and put the new ones here
    assert STAGE_VERSIONS["encoder"] == 1
    np.testing.assert_allclose(
        pooled[:, [0, 3, 6], 5],
        [[0.0224, 0.1813, -0.2622], [0.0028, 0.2542, -0.1276]],
        atol=2e-3,
    )
    np.testing.assert_allclose(pooled[:, 6, 600], [1.7876, 1.5502], atol=5e-3)
