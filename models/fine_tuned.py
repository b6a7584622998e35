"""Speech encoders whose own weights are trained: all blocks, the last ones, or additions to them.

Neither LayerDrop nor the masks of pre-training (SpecAugment) are used; dropout is, as the encoder's
configuration sets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.encoder_blocks import EncoderBlocks, upper_blocks
from models.encoder_folder import refuse_fine_tuning
from models.layer_mix import FrameMixHead, MixOutput
from models.outputs import length_mask
from models.pretrained import SpeechEncoder

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
"""Names of the attention's projections in every encoder known here: what LoRA adds to."""


class WaveformStem(nn.Module):
    """What is before the first block of wav2vec 2.0 and its kin.

    Each utterance passes by itself, so that padding reaches neither the normalisation over time in
    some of these convolutions nor the positions at its end. The strided convolutions stay as they
    are; the projection after them and the convolution of positions may be trained.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.convolutions = model.feature_extractor
        self.projection = model.feature_projection
        self.positions = model.encoder.pos_conv_embed
        # with norms before each part of a block there is none here, but one after the last block
        stable = getattr(model.config, "do_stable_layer_norm", False)
        self.norm = None if stable else model.encoder.layer_norm
        self.dropout = model.encoder.dropout

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frames (batch, frames, width), which may be attended to, and how many are real."""
        found = [
            self._one(waveform[:length])
            for waveform, length in zip(waveforms, lengths.tolist(), strict=True)
        ]
        frames = nn.utils.rnn.pad_sequence(found, batch_first=True)
        real = torch.tensor([len(one) for one in found], device=frames.device)
        return frames, length_mask(real, frames.shape[1]), real

    def _one(self, waveform: Tensor) -> Tensor:
        with torch.no_grad():
            heard = self.convolutions(waveform[None]).transpose(1, 2)
        projected = self.projection(heard)
        # some give what they projected beside the projection
        frames = projected[0] if isinstance(projected, tuple) else projected
        frames = frames + self.positions(frames)
        if self.norm is not None:
            frames = self.norm(frames)
        found: Tensor = self.dropout(frames)[0]
        return found


class WhisperStem(nn.Module):
    """What is before Whisper's first block: two convolutions and positions, all left as they are.

    The blocks hear the whole window, speech and silence, as Whisper was trained to.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.first = model.conv1
        self.second = model.conv2
        self.positions = model.embed_positions
        self.dropout = model.dropout

    def forward(self, spectrograms: Tensor, lengths: Tensor) -> tuple[Tensor, None, Tensor]:
        """Frames (batch, frames, width) that may all be attended to, and how many are real."""
        with torch.no_grad():
            heard = F.gelu(self.second(F.gelu(self.first(spectrograms))))
            frames = heard.transpose(1, 2) + self.positions.weight
        return F.dropout(frames, p=self.dropout, training=self.training), None, lengths


class TrainedPart(nn.Module):
    """The part of an encoder that runs in a fold: blocks, and before them perhaps a stem."""

    def __init__(self, blocks: EncoderBlocks, stem: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = stem
        self.upper = blocks

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Hidden states from the first block's input on, trimmed, and how many frames are real."""
        if self.stem is None:
            frames = inputs[:, :, 0]
            mask: Tensor | None = length_mask(lengths, frames.shape[1])
        else:
            frames, mask, lengths = self.stem(inputs, lengths)
        longest = int(lengths.max())
        return [state[:, :longest] for state in self.upper(frames, mask)], lengths


class FineTuned(nn.Module):
    """A trainable part of an encoder, and a head on its hidden states. See ``top_layers``,
    ``full_model`` and ``low_rank``, which make it.

    Args:
        encoder: gives the hidden states.
        head: mixes, pools and classifies them.
        chosen: the places among the encoder's hidden states that are mixed.
        rate_factor: the encoder's learning rate over the head's.
    """

    def __init__(
        self,
        encoder: TrainedPart,
        head: FrameMixHead,
        *,
        chosen: Sequence[int],
        rate_factor: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.chosen = tuple(chosen)
        self.rate_factor = rate_factor
        kept_out = [name for name, part in self.named_parameters() if not part.requires_grad]
        kept_out += [f"encoder.{name}" for name, _ in encoder.named_buffers()]
        self._frozen = tuple(name for name in kept_out if name.startswith("encoder."))

    def rate_factors(self) -> dict[str, float]:
        """From a prefix of parameters' names to the factor on the learning rate."""
        return {"encoder.": self.rate_factor}

    def frozen_prefixes(self) -> tuple[str, ...]:
        """How the names of tensors begin that the pretrained encoder holds and nothing changes."""
        return self._frozen

    def forward(self, inputs: Tensor, lengths: Tensor) -> MixOutput:
        """Classify a padded batch.

        Args:
            inputs: what the first part reads: (batch, frames, 1, width) stored frames, or what
                ``SpeechEncoder.batch`` gives.
            lengths: (batch,), as they come with the inputs.
        """
        output: MixOutput = self.head(*self._states(inputs, lengths))
        return output

    def vectors(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """As ``FrameMixHead.vectors``: what its statistics are fitted to."""
        return self.head.vectors(*self._states(inputs, lengths))

    def mixed(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As ``FrameMixHead.mixed``: what a student's tokens match."""
        return self.head.mixed(*self._states(inputs, lengths))

    def _states(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        states, lengths = self.encoder(inputs, lengths)
        return torch.stack([states[place] for place in self.chosen], dim=2), lengths


def top_layers(encoder: SpeechEncoder, count: int, *, checkpointing: bool = False) -> TrainedPart:
    """The last ``count`` blocks, all trained, to run on the stored input of the first of them.

    On a waveform model's frames that is the encoder itself. Of Whisper these blocks hear only the
    utterance's own frames and not the silence that fills the window, unlike the blocks below them:
    a few seconds of speech then cost a tenth of a window of 30, and the blocks are trained to it.
    WavLM's embedding of relative positions stays as it is, for the blocks below were heard with it.
    """
    refuse_fine_tuning(encoder.model.config.model_type)
    blocks = upper_blocks(encoder.model, count, checkpointing=checkpointing).requires_grad_(True)
    for name, parameter in blocks.named_parameters():
        if "rel_attn_embed" in name:
            parameter.requires_grad_(False)
    return TrainedPart(blocks)


def full_model(encoder: SpeechEncoder, *, checkpointing: bool = False) -> TrainedPart:
    """Every block is trained, and what lies between the strided convolutions and the first."""
    part = _whole(encoder, checkpointing=checkpointing)
    part.requires_grad_(True)
    if isinstance(part.stem, WaveformStem):
        part.stem.convolutions.requires_grad_(False)
    else:
        assert isinstance(part.stem, WhisperStem)
        part.stem.requires_grad_(False)
    return part


def low_rank(
    encoder: SpeechEncoder,
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    checkpointing: bool = False,
) -> TrainedPart:
    """Low-rank additions to the attention's four projections in every block are trained.

    ``W x`` becomes ``W x + (alpha / rank) B A x`` with ``B`` zero and ``A`` random at first (Hu et
    al. 2022, section 4.1), through the ``peft`` library.

    Args:
        encoder: whose weights stay as they are.
        rank: rows of ``A``.
        alpha: scale of the addition.
        dropout: of the addition's input.
        checkpointing: as in ``EncoderBlocks``.
    """
    from peft import LoraConfig, inject_adapter_in_model

    part = _whole(encoder, checkpointing=checkpointing)
    part.requires_grad_(False)
    # the type says int, but alpha is only ever divided by the rank
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=list(PROJECTIONS),
    )
    inject_adapter_in_model(config, part.upper)
    return part


def _whole(encoder: SpeechEncoder, *, checkpointing: bool) -> TrainedPart:
    refuse_fine_tuning(encoder.model.config.model_type)
    model = encoder.model
    stem = WhisperStem if model.config.model_type == "whisper" else WaveformStem
    return TrainedPart(upper_blocks(model, checkpointing=checkpointing), stem(model))
