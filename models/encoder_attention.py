"""Whom a frozen speech encoder attends to, from its stored hidden states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.encoder_folder import NotAnEncoderError, model_type
from models.outputs import Heads
from models.pretrained import SpeechEncoder

WITH_POSITIONS = ("wavlm", "wav2vec2-conformer")
"""``model_type`` of encoders whose attention has terms of position beside queries and keys."""


class BlockAttention(nn.Module):
    """Queries, keys and values of one block. Made by ``block_attention``; weights never train.

    Args:
        norm: of the block's input before attention; None: attention reads the input itself.
        attention: the block's self-attention, as ``transformers`` has it.
    """

    heads: int
    """Attention heads."""
    width: int
    """Features of a frame, heads x head_dim."""

    def __init__(self, norm: nn.Module | None, attention: Any) -> None:
        super().__init__()
        self.norm = nn.Identity() if norm is None else norm
        self.queries: nn.Module = attention.q_proj
        self.keys: nn.Module = attention.k_proj
        self.values: nn.Module = attention.v_proj
        self.heads = int(attention.num_heads)
        self.width = int(attention.embed_dim)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Heads:
        """What each head compares.

        Args:
            frames: (batch, frames, width), the block's input: of the hidden states that
                ``SpeechEncoder`` gives, that before the block's own.

        Returns:
            Each (batch, heads, frames, head_dim), float32, unscaled. Whisper's attention also hears
            the silence that fills its window up, and none of the other windows of a longer
            utterance; a softmax over these keys is over the utterance's own frames (inferred).
        """
        with torch.autocast(frames.device.type, enabled=False):
            heard = self.norm(frames.float())
            queries, keys, values = (
                project(heard).unflatten(2, (self.heads, -1)).transpose(1, 2)
                for project in (self.queries, self.keys, self.values)
            )
        return Heads(queries, keys, values)


def block_attention(encoder: SpeechEncoder, layer: int) -> BlockAttention:
    """The attention of block ``layer``, counted from 1; the weights remain the encoder's own.

    Raises:
        NotAnEncoderError: queries and keys alone do not say whom it attends to
            (``refuse_attention``).
        ValueError: there is no such block.
    """
    config = encoder.model.config
    refuse_attention(config.model_type)
    blocks = getattr(encoder.model, "encoder", encoder.model).layers
    if not 1 <= layer <= len(blocks):
        raise ValueError(f"layer {layer} is no block of the encoder; it has 1 to {len(blocks)}")
    block = blocks[layer - 1]
    if config.model_type == "whisper":
        return BlockAttention(block.self_attn_layer_norm, block.self_attn)
    # otherwise the block's norms come after each of its parts
    before = getattr(config, "do_stable_layer_norm", False)
    return BlockAttention(block.layer_norm if before else None, block.attention)


def refuse_attention(kind: str) -> None:
    """Raise if attention cannot be had from encoders of ``kind`` (``model_type``).

    Raises:
        NotAnEncoderError: it is WavLM or a conformer.
    """
    if kind in WITH_POSITIONS:
        raise NotAnEncoderError(
            f"a {kind} encoder cannot be a source of attention: terms of position inside its "
            "attention mean that queries and keys alone do not say whom it attends to, whatever "
            "the match; use another encoder (whisper, wav2vec2, hubert) or a speech recogniser"
        )


def attention_heads(root: str | Path) -> int:
    """Attention heads of each block of the encoder in ``root``, without loading it.

    Raises:
        NotAnEncoderError: as ``load_encoder``, for what can be seen without loading.
    """
    return _number(root, whisper="encoder_attention_heads", others="num_attention_heads")


def attention_width(root: str | Path) -> int:
    """Heads x head_dim of each block of the encoder in ``root``, without loading it.

    Raises:
        NotAnEncoderError: as ``load_encoder``, for what can be seen without loading.
    """
    return _number(root, whisper="d_model", others="hidden_size")


def _number(root: str | Path, *, whisper: str, others: str) -> int:
    root = Path(root)
    key = whisper if model_type(root) == "whisper" else others
    path = root / "config.json"
    number = json.loads(path.read_text(encoding="utf-8")).get(key)
    if not isinstance(number, int):
        raise NotAnEncoderError(f"{path}: {key} is {number!r}, no number")
    return number
