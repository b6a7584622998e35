"""Randomly initialised speech encoders of a few thousand weights, in folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "conv_dim": (8,) * 3,
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
}
WHISPER: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "num_mel_bins": 8,
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
"""Windows are of 50 frames of 20 ms a second."""


def save_waveform_model(
    folder: Path, kind: str, *, normalise: bool = True, head: bool = False, **changes: Any
) -> Path:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **SMALL | changes)
    cls = transformers.AutoModelForCTC if head else transformers.AutoModel
    cls.from_config(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)
    return folder


def save_whisper(
    folder: Path, cls: Any = transformers.WhisperModel, *, seconds: int = 2, **changes: Any
) -> Path:
    torch.manual_seed(0)
    positions = {"max_source_positions": 50 * seconds}
    cls(transformers.WhisperConfig(**(WHISPER | positions | changes))).save_pretrained(folder)
    extractor = transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=seconds)
    extractor.save_pretrained(folder)
    return folder


def noise(samples: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
