from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from models.pretrained import (
    NotAnEncoderError,
    block_count,
    load_encoder,
    sample_rate,
    weights_hash,
)
from tests.models.encoders import noise, save_waveform_model, save_whisper


@pytest.mark.parametrize(
    "kind",
    [
        "wav2vec2",
        "hubert",
        "wavlm",
        "data2vec-audio",
        "unispeech",
        "unispeech-sat",
        "wav2vec2-conformer",
    ],
)
def test_waveform_encoder_is_the_model_itself_at_the_real_length(tmp_path: Path, kind: str) -> None:
    root = save_waveform_model(tmp_path, kind)
    model = transformers.AutoModel.from_pretrained(root).eval()
    waveform = noise(1003) * 3 + 1
    normed = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
    with torch.no_grad():
        expected = model(torch.from_numpy(normed)[None], output_hidden_states=True)

    encoder = load_encoder(root)
    alone, beside = (
        encoder.hidden_states([waveform]),
        encoder.hidden_states([noise(3000), waveform]),
    )

    assert (encoder.layers, encoder.width, encoder.sample_rate) == (3, 16, 16000)
    assert encoder.seconds_per_frame == 20 / 16000
    # (1003 - 10) // 5 + 1 = 199, (199 - 3) // 2 + 1 = 99, (99 - 2) // 2 + 1 = 49.
    assert alone[0].shape == (3, 49, 16)
    torch.testing.assert_close(torch.cat(expected.hidden_states), alone[0])
    torch.testing.assert_close(expected.last_hidden_state[0], alone[0][-1])
    assert torch.equal(alone[0], beside[1])


def test_preprocessor_that_does_not_normalise_is_obeyed(tmp_path: Path) -> None:
    encoder = load_encoder(save_waveform_model(tmp_path, "hubert", normalise=False))

    (heard,), (louder,) = (encoder.hidden_states([noise(800) * gain]) for gain in (1.0, 5.0))

    assert not torch.allclose(heard, louder)


def test_head_of_a_fine_tuned_checkpoint_is_left_out(tmp_path: Path) -> None:
    encoder = load_encoder(save_waveform_model(tmp_path, "wav2vec2", head=True, vocab_size=9))

    assert encoder.hidden_states([noise(800)])[0].shape[::2] == (3, 16)


def test_waveform_shorter_than_one_frame_gives_one(tmp_path: Path) -> None:
    encoder = load_encoder(save_waveform_model(tmp_path, "wav2vec2"))

    # One frame is ((2 - 1) * 2 + 3 - 1) * 5 + 10 = 30 samples.
    assert [1, 1, 2] == [
        encoder.hidden_states([noise(samples)])[0].shape[1] for samples in (1, 30, 50)
    ]


@pytest.mark.parametrize(
    "cls",
    [
        transformers.models.whisper.modeling_whisper.WhisperEncoder,
        transformers.WhisperModel,
        transformers.WhisperForConditionalGeneration,
        transformers.WhisperForAudioClassification,
    ],
)
def test_whisper_encoder_is_found_in_every_kind_of_checkpoint(tmp_path: Path, cls: Any) -> None:
    root = save_whisper(tmp_path, cls)
    saved = cls.from_pretrained(root).eval()
    whisper = getattr(saved, "model", saved)
    whisper = getattr(whisper, "encoder", whisper)
    waveform = noise(5000)
    entered = []
    whisper.layers[0].register_forward_pre_hook(
        lambda _, positional, named: entered.append((*positional, *named.values())[0]),
        with_kwargs=True,
    )
    features = transformers.WhisperFeatureExtractor.from_pretrained(root)(
        waveform, sampling_rate=16000, return_tensors="pt"
    )
    with torch.no_grad():
        expected = whisper(features["input_features"]).last_hidden_state

    encoder = load_encoder(root)
    states = encoder.hidden_states([waveform])[0]

    assert encoder.seconds_per_frame == 0.02
    # 5000 samples are 15.6 frames of 320.
    assert states.shape == (3, 16, 16)
    torch.testing.assert_close(expected[0, :16], states[-1])
    torch.testing.assert_close(entered[0][0, :16], states[0])


def test_whisper_cuts_a_long_utterance_into_equal_windows(tmp_path: Path) -> None:
    encoder = load_encoder(save_whisper(tmp_path, transformers.WhisperModel))
    waveform = noise(150 * 320 - 7)

    states = encoder.hidden_states([waveform])[0]

    # 150 frames in windows of at most 100: two of 75.
    halves = encoder.hidden_states([waveform[: 75 * 320], waveform[75 * 320 :]])
    assert states.shape == (3, 150, 16)
    torch.testing.assert_close(torch.cat(halves, dim=1), states)


def test_half_precision_weights_are_read_in_float32(tmp_path: Path) -> None:
    root = save_whisper(tmp_path, transformers.WhisperModel)
    transformers.WhisperModel.from_pretrained(root).half().save_pretrained(root)

    assert load_encoder(root).hidden_states([noise(640)])[0].dtype == torch.float32


@pytest.mark.parametrize("waveform", [np.zeros(0, np.float32), np.zeros((2, 800), np.float32)])
def test_waveform_that_is_none_is_refused(tmp_path: Path, waveform: np.ndarray) -> None:
    encoder = load_encoder(save_waveform_model(tmp_path, "wav2vec2"))

    with pytest.raises(ValueError, match="waveform 0 has shape"):
        encoder.hidden_states([waveform])


def test_hash_follows_weights_and_preprocessing(tmp_path: Path) -> None:
    root = save_waveform_model(tmp_path / "a", "hubert")
    moved = Path(shutil.copytree(root, tmp_path / "b"))
    before = weights_hash(root)

    assert before == weights_hash(moved)

    preprocessor = moved / "preprocessor_config.json"
    preprocessor.write_text(preprocessor.read_text().replace("true", "false"))

    assert before != weights_hash(moved)

    weights = root / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)

    assert before != weights_hash(root)


def test_a_file_is_read_for_its_hash_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = save_waveform_model(tmp_path / "a", "hubert")
    read: list[str] = []
    digest = hashlib.file_digest

    def counted(file: Any, kind: str) -> Any:
        read.append(Path(file.name).name)
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    files = ["config.json", "preprocessor_config.json", "model.safetensors"]
    before = weights_hash(root)
    assert read == files

    # also by another way to the same folder
    monkeypatch.chdir(tmp_path)
    assert weights_hash("a") == weights_hash(root) == before
    assert read == files

    weights = root / "model.safetensors"
    times = weights.stat()
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert weights_hash(root) == before
    assert read == [*files, "model.safetensors"]


@pytest.mark.parametrize("whisper", [False, True])
def test_rate_and_blocks_are_read_without_loading(tmp_path: Path, whisper: bool) -> None:
    if whisper:
        root = save_whisper(tmp_path, transformers.WhisperModel)
    else:
        root = save_waveform_model(tmp_path, "hubert")
    preprocessor = root / "preprocessor_config.json"
    preprocessor.write_text(preprocessor.read_text().replace("16000", "8000"))
    (root / "model.safetensors").write_bytes(b"")

    assert (sample_rate(root), block_count(root)) == (8000, 2)


def drop(name: str) -> Any:
    return lambda root: (root / name).unlink()


def replace(name: str, content: bytes) -> Any:
    return lambda root: (root / name).write_bytes(content)


def cut_in_half(root: Path) -> None:
    weights = root / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def lose_a_tensor(root: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(root / "model.safetensors")
    del tensors["encoder.layers.1.attention.k_proj.weight"]
    save_file(tensors, root / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "there is no such folder"),
        (drop("config.json"), "holds no config.json"),
        (drop("preprocessor_config.json"), "holds no preprocessor_config.json"),
        (drop("model.safetensors"), "holds no weights"),
        (replace("config.json", b"{"), "config.json: is not JSON"),
        (replace("config.json", b"[]"), "model_type is None"),
        (replace("config.json", b'{"model_type": "bert"}'), "model_type is 'bert'"),
        (replace("preprocessor_config.json", b"{"), "cannot be loaded as a hubert encoder"),
        (cut_in_half, "cannot be loaded as a hubert encoder"),
        (lose_a_tensor, "the weights lack 1 of the encoder's tensors.*k_proj"),
    ],
)
def test_folder_that_is_no_encoder_is_refused_in_one_line(
    tmp_path: Path, damage: Any, message: str
) -> None:
    root = save_waveform_model(tmp_path / "encoder", "hubert")
    damage(root)

    with pytest.raises(NotAnEncoderError, match=message) as caught:
        load_encoder(root)

    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_read_without_running_code(tmp_path: Path) -> None:
    root = save_waveform_model(tmp_path / "encoder", "hubert")
    expected = load_encoder(root).hidden_states([noise(800)])[0]
    from safetensors.torch import load_file

    torch.save(load_file(root / "model.safetensors"), root / "pytorch_model.bin")
    (root / "model.safetensors").unlink()

    torch.testing.assert_close(expected, load_encoder(root).hidden_states([noise(800)])[0])

    torch.save({"encoder": Evil(tmp_path / "touched")}, root / "pytorch_model.bin")
    with pytest.raises(NotAnEncoderError, match="cannot be loaded"):
        load_encoder(root)

    assert not (tmp_path / "touched").exists()


class Evil:
    """An object whose unpickling would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_whisper_base(whisper_root: Path) -> None:
    encoder = load_encoder(whisper_root)

    states = encoder.hidden_states([noise(16000) * 0.1])[0]

    assert (encoder.layers, encoder.width, encoder.seconds_per_frame) == (7, 512, 0.02)
    assert states.shape == (7, 50, 512)
    assert states.isfinite().all()
