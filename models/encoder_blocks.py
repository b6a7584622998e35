"""The transformer blocks of a speech encoder, run on padded batches with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from models.wavlm_attention import ModuleAttention


class EncoderBlocks(nn.Module):
    """Some successive blocks, their dropout as the encoder's configuration sets it.

    Blocks are never skipped at random (LayerDrop), as ``transformers`` does by default in training
    some of these encoders: with a few blocks and a few thousand utterances that is too much noise.

    Args:
        blocks: in order, of one kind.
        norm: of the last block's output, where the encoder's last hidden state has one.
        checkpointing: compute activations again in the backward pass instead of keeping them.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], *, norm: nn.Module | None, checkpointing: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.checkpointing = checkpointing
        self.relative = any(isinstance(part, WavLMAttention) for part in self.modules())

    def forward(self, frames: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Hidden states (batch, frames, width): the input and each block's output.

        Args:
            frames: (batch, frames, width), input of the first block.
            mask: (batch, frames) bool, true where a frame may be attended to; None: everywhere.
        """
        barred = None
        if mask is not None:
            barred = torch.zeros(mask.shape, dtype=frames.dtype, device=frames.device)
            barred = barred.masked_fill(~mask, torch.finfo(frames.dtype).min)[:, None, None, :]
        states = [frames]
        bias: Tensor | None = None
        for block in self.blocks:
            given: dict[str, Any] = {"attention_mask": barred}
            if self.relative:
                given["position_bias"] = bias
            if self.checkpointing and self.training:
                found = checkpoint(block, states[-1], use_reentrant=False, **given)
            else:
                found = block(states[-1], **given)
            if self.relative:
                # the first block computes the bias of relative positions for all
                found, bias = found
            states.append(found)
        if self.norm is not None:
            states[-1] = self.norm(states[-1])
        return states


def upper_blocks(
    model: Any, count: int | None = None, *, checkpointing: bool = False
) -> EncoderBlocks:
    """The last ``count`` blocks (default: all) of a ``transformers`` speech encoder.

    With Whisper goes the norm after the last block, since that is what its last hidden state is.
    WavLM's first block computes the bias of relative positions that all blocks share; here the
    first of the blocks does, with the first's embedding. The blocks remain the model's own: what
    is trained here is changed there.
    """
    container = getattr(model, "encoder", model)
    blocks = list(container.layers)[-(count or 0) :]
    for block in blocks:
        attention = getattr(block, "attention", None)
        if isinstance(attention, WavLMAttention):
            attention.__class__ = ModuleAttention
            if block is blocks[0]:
                attention.rel_attn_embed = container.layers[0].attention.rel_attn_embed
    norm = container.layer_norm if model.config.model_type == "whisper" else None
    return EncoderBlocks(blocks, norm=norm, checkpointing=checkpointing)
