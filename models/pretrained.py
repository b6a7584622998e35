"""Speech encoders from a local ``transformers`` folder: Whisper, wav2vec 2.0 and its kin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from models.encoder_folder import (
    NotAnEncoderError,
    block_count,
    model_type,
    refuse_fine_tuning,
    sample_rate,
    weights_hash,
)
from models.hub import resolve_root
from models.layer_mix import LayerMixHead, MixOutput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PretrainedConfig

__all__ = [
    "LayerMixHead",
    "MixOutput",
    "NotAnEncoderError",
    "SpeechEncoder",
    "block_count",
    "load_encoder",
    "model_type",
    "refuse_fine_tuning",
    "resolve_root",
    "sample_rate",
    "weights_hash",
]

NOT_NEEDED = ("masked_spec_embed",)
"""Weights that only pre-training uses; many published checkpoints lack them."""


class SpeechEncoder:
    """A frozen encoder in float32 evaluation mode. Made by ``load_encoder``.

    Each utterance is encoded by itself, so that its numbers depend on nothing else.
    """

    model: Any
    """The ``transformers`` module that fine-tuning takes its blocks from."""
    sample_rate: int
    """Hz of the waveforms that it expects."""
    layers: int
    """Hidden states it gives: the input of the first block, then the output of each block."""
    width: int
    """Features of a hidden state."""
    seconds_per_frame: float
    """Time from one frame to the next."""
    longest: int | None = None
    """Samples that ``batch`` takes of one utterance at most; None: any number."""

    def __init__(self, model: Any, extractor: Any, *, device: str) -> None:
        self.model = model.eval().requires_grad_(False).to(torch.device(device))
        self._extractor = extractor
        self._device = device
        self.sample_rate = int(extractor.sampling_rate)
        self.layers = int(model.config.num_hidden_layers) + 1
        self.width = int(model.config.hidden_size)

    def hidden_states(self, waveforms: Sequence[NDArray[np.float32]]) -> list[Tensor]:
        """Encode waveforms.

        Args:
            waveforms: each (samples,) float32 mono at ``sample_rate``.

        Returns:
            For each, (layers, frames, width) float32 on the encoder's device, trimmed to the
            utterance's real length, at least one frame.

        Raises:
            ValueError: a waveform is empty or not one-dimensional.
        """
        _refuse_no_waveform(waveforms)
        with torch.no_grad():
            return [self._encode(np.asarray(waveform, dtype=np.float32)) for waveform in waveforms]

    def batch(self, waveforms: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        """What ``models.fine_tuned.FineTuned`` reads of waveforms: inputs and their real lengths.

        Args:
            waveforms: each (samples,) float32 mono at ``sample_rate``, none above ``longest``.

        Returns:
            For waveform models what the extractor makes of each, (batch, samples), and lengths in
            samples; for Whisper (batch, mels, spectrogram frames) of whole windows, and lengths in
            the encoder's frames. All on the encoder's device.
        """
        raise NotImplementedError

    def _encode(self, waveform: NDArray[np.float32]) -> Tensor:
        raise NotImplementedError

    def _run(self, heard: Tensor) -> Tensor:
        """Hidden states (layers, frames, width) of one input of the model (1, ...)."""
        states = self.model(heard.to(self._device), output_hidden_states=True).hidden_states
        return torch.cat(tuple(states))


class WaveformEncoder(SpeechEncoder):
    """wav2vec 2.0 and its relatives: strided convolutions over the waveform, then a transformer."""

    def __init__(self, model: Any, extractor: Any, *, device: str) -> None:
        super().__init__(model, extractor, device=device)
        kernels, strides = model.config.conv_kernel, model.config.conv_stride
        self.seconds_per_frame = math.prod(strides) / self.sample_rate
        # Samples that one frame is made of, from the last convolution back to the first.
        samples = 1
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            samples = (samples - 1) * stride + kernel
        self._least_samples = samples

    def batch(self, waveforms: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        """Normalised waveforms (batch, samples) as the extractor says, and lengths in samples."""
        heard = [self._heard(waveform)[0] for waveform in waveforms]
        lengths = torch.tensor([len(waveform) for waveform in heard])
        padded = nn.utils.rnn.pad_sequence(heard, batch_first=True)
        return padded.to(self._device), lengths.to(self._device)

    def _encode(self, waveform: NDArray[np.float32]) -> Tensor:
        return self._run(self._heard(waveform))

    def _heard(self, waveform: NDArray[np.float32]) -> Tensor:
        short = self._least_samples - len(waveform)
        if short > 0:
            waveform = np.pad(waveform, (0, short))
        inputs = self._extractor(
            waveform, sampling_rate=self.sample_rate, return_tensors="pt", padding=False
        )
        heard: Tensor = inputs["input_values"]
        return heard


class WhisperFrames(SpeechEncoder):
    """Whisper's encoder, which was trained on windows of 30 s filled up with silence.

    A longer utterance is cut into the fewest windows of equal length. Only frames that begin within
    the utterance are kept.
    """

    def __init__(self, model: Any, extractor: Any, *, device: str) -> None:
        super().__init__(model, extractor, device=device)
        # Dither is noise: the same utterance would not give the same numbers twice.
        extractor.dither = 0.0
        # The second convolution of the encoder halves the spectrogram's rate.
        self._frame_samples = 2 * int(extractor.hop_length)
        self._window_samples = int(model.config.max_source_positions) * self._frame_samples
        self.longest = self._window_samples
        self.seconds_per_frame = self._frame_samples / self.sample_rate

    def batch(self, waveforms: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        """Spectrograms (batch, mels, frames) of whole windows, and lengths in encoder frames."""
        frames = [math.ceil(len(waveform) / self._frame_samples) for waveform in waveforms]
        # on the device, where a batch's spectrograms take less time than the network's step on it
        heard = [self._heard(waveform, device=self._device) for waveform in waveforms]
        return torch.cat(heard), torch.tensor(frames, device=self._device)

    def _encode(self, waveform: NDArray[np.float32]) -> Tensor:
        frames = math.ceil(len(waveform) / self._frame_samples)
        windows = math.ceil(len(waveform) / self._window_samples)
        step = math.ceil(frames / windows)
        pieces = []
        for start in range(0, frames, step):
            piece = waveform[start * self._frame_samples : (start + step) * self._frame_samples]
            pieces.append(self._run(self._heard(piece))[:, : min(step, frames - start)])
        return torch.cat(pieces, dim=1)

    def _heard(self, piece: NDArray[np.float32], *, device: str = "cpu") -> Tensor:
        inputs = self._extractor(
            piece,
            sampling_rate=self.sample_rate,
            return_tensors="pt",
            padding="max_length",
            max_length=self._window_samples,
            device=device,
        )
        heard: Tensor = inputs["input_features"]
        return heard


def _refuse_no_waveform(waveforms: Sequence[NDArray[np.float32]]) -> None:
    for index, waveform in enumerate(waveforms):
        if waveform.ndim != 1 or not len(waveform):
            raise ValueError(
                f"waveform {index} has shape {waveform.shape}; "
                "an encoder takes (samples,) with at least one sample"
            )


def load_encoder(root: str | Path, *, device: str = "cpu") -> SpeechEncoder:
    """Load a speech encoder from a folder; nothing is fetched and no code of the folder is run.

    Whisper checkpoints may hold the encoder alone or the whole model; wav2vec 2.0, HuBERT, WavLM,
    data2vec-audio, UniSpeech, UniSpeech-SAT and wav2vec2-conformer checkpoints may carry heads,
    which are left out. Weights are read from safetensors, else with ``weights_only``.

    Args:
        root: folder with ``config.json``, ``preprocessor_config.json`` and the weights.
        device: where it runs, as torch names it; default ``cpu``.

    Raises:
        NotAnEncoderError: the folder or one of its files is missing or damaged, the model is of
            another kind, or the weights do not fill the encoder.
    """
    root = Path(root)
    kind = model_type(root)
    import transformers
    from transformers.utils import logging as module

    logging: Any = module

    # Whisper's decoder and heads are left out on purpose: no report of unused weights.
    verbosity = logging.get_verbosity()
    progress = logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.ERROR)
    logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(root, local_files_only=True)
        extractors: Any = transformers.AutoFeatureExtractor
        extractor = extractors.from_pretrained(root, local_files_only=True)
        if kind == "whisper":
            return WhisperFrames(_load_whisper(root, config), extractor, device=device)
        model, missing = _load(transformers.AutoModel, root, config)
        _refuse_missing(root, missing)
        return WaveformEncoder(model, extractor, device=device)
    except NotAnEncoderError:
        raise
    except Exception as error:
        # transformers, safetensors and torch raise a dozen kinds for damaged files.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise NotAnEncoderError(f"{root}: cannot be loaded as a {kind} encoder: {reason[0]}") from (
            error
        )
    finally:
        logging.set_verbosity(verbosity)
        if progress:
            logging.enable_progress_bar()


def _load(cls: Any, root: Path, config: PretrainedConfig) -> tuple[Any, list[str]]:
    """Load a model in float32 and list the weights that the folder did not fill."""
    model, info = cls.from_pretrained(
        root,
        config=config,
        local_files_only=True,
        weights_only=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    return model, sorted(info["missing_keys"])


def _load_whisper(root: Path, config: PretrainedConfig) -> Any:
    """Load the encoder of a checkpoint that holds the encoder alone or more than it."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperModel

    alone = "WhisperEncoder" in (config.architectures or ())
    if alone:
        encoder, missing = _load(WhisperEncoder, root, config)
    else:
        whole, missing = _load(WhisperModel, root, config)
        encoder = whole.encoder
        missing = [name for name in missing if name.startswith("encoder.")]
    _refuse_missing(root, missing)
    return encoder


def _refuse_missing(root: Path, missing: Sequence[str]) -> None:
    """Raise if weights that matter were left at random."""
    lacking = [name for name in missing if not name.endswith(NOT_NEEDED)]
    if lacking:
        raise NotAnEncoderError(
            f"{root}: the weights lack {len(lacking)} of the encoder's tensors, "
            f"such as {lacking[0]!r}"
        )
