"""What networks on a speech encoder's outputs, or on the encoder itself, read of utterances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.encoder_outputs import HalfFrames
from orchestrator.errors import PretrainedError, TrainingError
from orchestrator.training.augment import Window
from orchestrator.training.data import Batch
from orchestrator.waveforms import PackedWaveforms

if TYPE_CHECKING:
    from models.pretrained import SpeechEncoder


class EncoderFrames:
    """Stored frames of an encoder's layers, padded when drawn; they stay in the memory map.

    Args:
        frames: of each utterance, half precision ``(frames, layers, width)``.
        device: where batches go.
    """

    def __init__(self, frames: Sequence[HalfFrames], *, device: str = "cpu") -> None:
        self.frames = frames
        self.device = device
        self.lengths = torch.tensor([len(one) for one in frames])

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.frames)

    def batch(self, rows: Tensor, *, epoch: int | None = None) -> Batch:
        """Frames ``(batch, frames, layers, width)`` float32 and lengths; never augmented."""
        drawn = [torch.from_numpy(self.frames[row].astype(np.float32)) for row in rows.tolist()]
        padded = nn.utils.rnn.pad_sequence(drawn, batch_first=True)
        return _whole(rows, padded.to(self.device), self.lengths[rows].to(self.device))


class WaveformData:
    """Packed waveforms, made into an encoder's input when drawn.

    Args:
        pack: holds the utterances.
        ids: of the utterances.
        encoder: says what its model reads of a waveform.

    Raises:
        TrainingError: the waveforms were packed at another rate than the encoder hears.
        PretrainedError: an utterance is longer than the encoder takes at once.
    """

    def __init__(
        self, pack: PackedWaveforms, ids: Sequence[str], *, encoder: SpeechEncoder
    ) -> None:
        if pack.sample_rate != encoder.sample_rate:
            raise TrainingError(
                f"the waveforms were packed at {pack.sample_rate} Hz, but the encoder hears "
                f"{encoder.sample_rate} Hz; pack them with sample_rate={encoder.sample_rate}"
            )
        self.encoder = encoder
        self.waveforms = pack.gather(ids)
        self.lengths = torch.tensor([len(waveform) for waveform in self.waveforms])
        if encoder.longest is not None and len(ids):
            row = int(self.lengths.argmax())
            if self.lengths[row] > encoder.longest:
                raise PretrainedError(
                    f"utterance {ids[row]!r} lasts {self.lengths[row] / pack.sample_rate:.1f} s, "
                    f"but a fine-tuned Whisper hears {encoder.longest / pack.sample_rate:.1f} s at "
                    "once; use recipe.teacher.mode frozen or top-n, which take longer ones, or "
                    "leave the utterance out of the corpus"
                )

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.waveforms)

    def batch(self, rows: Tensor, *, epoch: int | None = None) -> Batch:
        """What ``SpeechEncoder.batch`` gives; never augmented."""
        return _whole(rows, *self.encoder.batch([self.waveforms[row] for row in rows.tolist()]))


def _whole(rows: Tensor, *inputs: Tensor) -> Batch:
    whole = Window(start=torch.zeros(len(rows)), span=torch.ones(len(rows)))
    return Batch(rows, inputs, whole)
