from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from models.encoder_attention import (
    attention_heads,
    attention_width,
    block_attention,
    refuse_attention,
)
from models.outputs import Heads
from models.pretrained import NotAnEncoderError, load_encoder
from tests.models.encoders import noise, save_waveform_model, save_whisper

POST_NORM = ["wav2vec2", "hubert", "data2vec-audio", "unispeech", "unispeech-sat"]
PRE_NORM = ["wav2vec2", "hubert", "unispeech", "unispeech-sat"]


def stirred(root: Path) -> Path:
    """The folder, with projections that make attention uneven and norms that do something."""
    generator = torch.Generator().manual_seed(3)
    weights = load_file(root / "model.safetensors")
    for name, tensor in weights.items():
        if "norm" in name or "_proj" in name:
            weights[name] = tensor + torch.randn(tensor.shape, generator=generator)
    save_file(weights, root / "model.safetensors", metadata={"format": "pt"})
    return root


def maps_of(heads: Heads) -> torch.Tensor:
    scores = heads.queries @ heads.keys.mT / math.sqrt(heads.queries.shape[-1])
    return scores.softmax(-1)


def assert_uneven(maps: torch.Tensor) -> None:
    """So that a wrong scale or norm would show."""
    assert maps.max() > 5 / maps.shape[-1]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [(kind, {}) for kind in POST_NORM]
    + [(kind, {"do_stable_layer_norm": True}) for kind in PRE_NORM],
)
def test_attention_of_a_waveform_encoder_is_what_transformers_says(
    tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    root = stirred(save_waveform_model(tmp_path, kind, **changes))
    encoder = load_encoder(root)
    waveform = noise(603)
    model = transformers.AutoModel.from_pretrained(root, attn_implementation="eager").eval()
    with torch.no_grad():
        said = model(encoder.batch([waveform])[0], output_attentions=True).attentions

    states = encoder.hidden_states([waveform])[0]

    for layer, expected in enumerate(said, start=1):
        block = block_attention(encoder, layer)
        maps = maps_of(block(states[None, layer - 1]))
        assert (block.heads, block.width) == (2, 16)
        assert maps.shape == (1, 2, 29, 29)
        assert_uneven(maps)
        torch.testing.assert_close(expected, maps, rtol=1e-4, atol=1e-6)
    assert len(said) == 2


@pytest.mark.parametrize("cls", [transformers.WhisperModel, WhisperEncoder])
def test_attention_of_whisper_is_that_within_the_utterance(tmp_path: Path, cls: Any) -> None:
    root = stirred(save_whisper(tmp_path, cls))
    encoder = load_encoder(root)
    waveform = noise(40 * 320)
    found = cls.from_pretrained(root, attn_implementation="eager").eval()
    model = getattr(found, "encoder", found)
    with torch.no_grad():
        said = model(encoder.batch([waveform])[0], output_attentions=True).attentions

    states = encoder.hidden_states([waveform])[0]

    for layer, whole in enumerate(said, start=1):
        maps = maps_of(block_attention(encoder, layer)(states[None, layer - 1]))
        # of 100 frames in a window, 40 are the utterance's
        assert whole.shape == (1, 2, 100, 100)
        own = whole[:, :, :40, :40]
        assert_uneven(maps)
        torch.testing.assert_close(own / own.sum(-1, keepdim=True), maps, rtol=1e-4, atol=1e-6)
    assert len(said) == 2


def test_values_are_what_the_block_mixes(tmp_path: Path) -> None:
    encoder = load_encoder(stirred(save_waveform_model(tmp_path, "hubert")))
    attention = encoder.model.encoder.layers[1].attention
    frames = torch.randn(2, 7, 16)

    heads = block_attention(encoder, 2)(frames)

    heard = (maps_of(heads) @ heads.values).transpose(1, 2).flatten(2)
    with torch.no_grad():
        expected = attention(frames)[0]
        torch.testing.assert_close(expected, attention.out_proj(heard))


def test_half_precision_frames_are_read_in_float32_also_under_autocast(tmp_path: Path) -> None:
    encoder = load_encoder(stirred(save_waveform_model(tmp_path, "wav2vec2")))
    block = block_attention(encoder, 1)
    frames = torch.randn(1, 5, 16).half()
    expected = block(frames.float())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = block(frames)

    for name in ("queries", "keys", "values"):
        part = getattr(found, name)
        assert (part.shape, part.dtype) == ((1, 2, 5, 8), torch.float32)
        assert torch.equal(getattr(expected, name), part)


def test_no_gradient_is_kept(tmp_path: Path) -> None:
    encoder = load_encoder(save_whisper(tmp_path))
    block = block_attention(encoder, 1)

    heads = block(torch.randn(1, 5, 16, requires_grad=True))

    assert not heads.queries.requires_grad
    assert not any(weight.requires_grad for weight in block.parameters())


@pytest.mark.parametrize("layer", [0, 3, -1])
def test_block_that_is_not_there_is_refused(tmp_path: Path, layer: int) -> None:
    encoder = load_encoder(save_waveform_model(tmp_path, "hubert"))

    with pytest.raises(
        ValueError, match=f"layer {layer} is no block of the encoder; it has 1 to 2"
    ):
        block_attention(encoder, layer)


@pytest.mark.parametrize("kind", ["wavlm", "wav2vec2-conformer"])
def test_encoder_with_positions_inside_its_attention_is_refused(tmp_path: Path, kind: str) -> None:
    encoder = load_encoder(save_waveform_model(tmp_path, kind))

    with pytest.raises(NotAnEncoderError, match=f"a {kind} encoder cannot be a source .* use "):
        block_attention(encoder, 1)
    with pytest.raises(NotAnEncoderError):
        refuse_attention(kind)


def test_other_encoders_are_not_refused() -> None:
    for kind in ("whisper", *POST_NORM):
        refuse_attention(kind)


@pytest.mark.parametrize("whisper", [False, True])
def test_heads_and_width_are_read_without_loading(tmp_path: Path, whisper: bool) -> None:
    if whisper:
        # the decoder's heads are another matter
        root = save_whisper(tmp_path, encoder_attention_heads=4, decoder_attention_heads=8)
    else:
        root = save_waveform_model(tmp_path, "hubert", num_attention_heads=4)
    encoder = load_encoder(root)
    block = block_attention(encoder, 1)
    (root / "model.safetensors").write_bytes(b"")

    assert (attention_heads(root), attention_width(str(root))) == (4, 16)
    assert (block.heads, block.width) == (4, 16)


def test_config_that_does_not_say_its_heads_is_refused(tmp_path: Path) -> None:
    root = save_waveform_model(tmp_path, "hubert")
    config = json.loads((root / "config.json").read_text())
    del config["num_attention_heads"]
    (root / "config.json").write_text(json.dumps(config))

    with pytest.raises(NotAnEncoderError, match="config.json: num_attention_heads is None"):
        attention_heads(root)


def test_whisper_base(whisper_root: Path) -> None:
    encoder = load_encoder(whisper_root)
    waveform = noise(16000) * 0.1
    encoder.model.set_attn_implementation("eager")
    with torch.no_grad():
        said = encoder.model(encoder.batch([waveform])[0], output_attentions=True).attentions

    states = encoder.hidden_states([waveform])[0]

    assert (attention_heads(whisper_root), attention_width(whisper_root)) == (8, 512)
    for layer, whole in enumerate(said, start=1):
        heads = block_attention(encoder, layer)(states[None, layer - 1])
        assert heads.queries.shape == (1, 8, 50, 64)
        own = whole[:, :, :50, :50]
        torch.testing.assert_close(
            own / own.sum(-1, keepdim=True), maps_of(heads), rtol=1e-3, atol=1e-5
        )
    assert len(said) == 6
