"""What networks on a speech encoder's outputs, or on the encoder itself, read of utterances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from orchestrator.encoder_outputs import HalfFrames
from orchestrator.errors import PretrainedError, TrainingError
from orchestrator.training.arrays import MappedArrays, arrays_on
from orchestrator.training.augment import whole_window
from orchestrator.training.data import Batch
from orchestrator.training.residency import SHARE, moved
from orchestrator.waveforms import PackedWaveforms

if TYPE_CHECKING:
    from models.pretrained import SpeechEncoder


class EncoderFrames:
    """Stored frames of an encoder's layers, padded when drawn.

    Args:
        frames: of each utterance, half precision ``(frames, layers, width)``.
        device: where batches go.
        share: of the device's memory, what data may fill.
    """

    def __init__(
        self, frames: Sequence[HalfFrames], *, device: str = "cpu", share: float = SHARE
    ) -> None:
        mapped = MappedArrays(frames, shape=frames[0].shape[1:] if frames else ())
        self.arrays = arrays_on(mapped, device=device, share=share)
        self.lengths = mapped.lengths
        self.device = device

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.lengths)

    def batch(self, rows: Tensor, *, epoch: int | None = None) -> Batch:
        """Frames ``(batch, frames, layers, width)`` float32 and lengths; never augmented."""
        frames = self.arrays.padded(rows).float()
        return Batch(rows, (frames, moved(self.lengths[rows], self.device)), whole_window(rows))


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
        heard = self.encoder.batch([self.waveforms[row] for row in rows.tolist()])
        return Batch(rows, heard, whole_window(rows))
