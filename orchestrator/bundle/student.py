"""A student out of its folder: it hears audio files and says what emotion is in them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from orchestrator.bundle.files import EMOTION, FACTS, FORMAT, WEIGHTS, probability_columns
from orchestrator.corpora.audio import AudioError, FileSource, resample
from orchestrator.errors import BundleError
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.networks import StudentNet
from orchestrator.features import PackedFrames
from orchestrator.log_mel import LogMel
from orchestrator.training.data import FrameData
from orchestrator.training.judges import predict_logits
from orchestrator.training.networks import build_network
from orchestrator.training.task import Unlabelled

Audio = bytes | Path
"""An audio file: its bytes, or where it lies."""


class _Told(BaseModel):
    """What ``student.json`` says, as far as hearing needs it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    network: StudentNet
    features: LogMelFeatures
    emotions: tuple[str, ...]


@dataclass(frozen=True)
class Student:
    """A trained student on the CPU, in evaluation mode. Made by :func:`load_bundle`."""

    emotions: tuple[str, ...]
    """Its classes, in the order of its logits."""
    facts: dict[str, Any]
    """All that ``student.json`` says: ``protocol``, ``provenance`` and what it is built of."""
    features: LogMelFeatures = field(repr=False)
    network: nn.Module = field(repr=False)
    mean: NDArray[np.float32] = field(repr=False)
    std: NDArray[np.float32] = field(repr=False)

    def logits(self, audio: Sequence[Audio]) -> NDArray[np.float32]:
        """Logits ``(utterances, classes)`` of audio files, as an evaluation computes them.

        Args:
            audio: of each utterance, the bytes of a file that libsndfile reads (WAV, FLAC, Ogg,
                MP3), or its path; any rate, channels are averaged.

        Raises:
            AudioError: one cannot be heard; says which and why.
        """
        if not audio:
            return np.zeros((0, len(self.emotions)), dtype=np.float32)
        log_mel = LogMel(self.features)
        frames = [log_mel(waveform) for waveform in self._waveforms(audio)]
        ids = tuple(str(place) for place in range(len(frames)))
        offsets = np.cumsum([0, *map(len, frames)])
        data = FrameData(
            PackedFrames([(ids, offsets, np.concatenate(frames))]),
            Unlabelled(ids=ids, contents=ids),
            mean=self.mean,
            std=self.std,
            channels=self.features.channels,
            hop_seconds=self.features.hop_seconds,
        )
        found: NDArray[np.float32] = predict_logits(self.network, data).numpy()
        return found

    def predict(self, audio: Sequence[Audio]) -> pd.DataFrame:
        """The likeliest emotion of each utterance and the probability of every class.

        Args:
            audio: as :meth:`logits`.

        Returns:
            A row an utterance, in their order: ``emotion``, then ``probability_<class>`` in
            [0, 1], one for each of ``emotions``. They are the network's own softmax, not calibrated
            to how often it is right.

        Raises:
            AudioError: one cannot be heard.
        """
        logits = self.logits(audio)
        shares = torch.from_numpy(logits).double().softmax(dim=1).numpy()
        table = pd.DataFrame(shares, columns=probability_columns(self.emotions))
        likeliest = [self.emotions[place] for place in logits.argmax(axis=1)]
        table.insert(0, EMOTION, pd.Series(likeliest, dtype="str"))
        return table

    def _waveforms(self, audio: Sequence[Audio]) -> Iterator[NDArray[np.float32]]:
        """Mono ``(samples,)`` of each file at the rate of the features."""
        for place, one in enumerate(audio):
            name = str(one) if isinstance(one, Path) else f"audio {place}"
            samples, rate = _read(one, name)
            if not len(samples):
                raise AudioError(f"{name} holds no samples", kind="zero-length")
            if not np.isfinite(samples).all():
                raise AudioError(
                    f"{name} holds samples that are not finite numbers", kind="not-finite"
                )
            yield resample(samples, rate=rate, to=self.features.sample_rate)


def _read(audio: Audio, name: str) -> tuple[NDArray[np.float32], int]:
    """Mono audio and its rate in Hz, decoded as that of a corpus is."""
    if isinstance(audio, Path):
        return FileSource().read(str(audio))
    # by way of a file of our own, so that bytes and paths give the same numbers and refusals
    with tempfile.NamedTemporaryFile(prefix="understudy-") as held:
        held.write(audio)
        held.flush()
        try:
            return FileSource().read(held.name)
        except AudioError as error:
            raise AudioError(str(error).replace(held.name, name), kind=error.kind) from error


def load_bundle(folder: str | Path) -> Student:
    """The student whose files lie in a folder.

    Raises:
        BundleError: the folder holds none, or one that is damaged or of a later Understudy.
    """
    folder = Path(folder)
    facts = _facts(folder)
    try:
        told = _Told.model_validate(facts)
        network = build_network(told.network, features=told.features, classes=len(told.emotions))
        tensors = load_file(folder / WEIGHTS)
        mean, std = (tensors.pop(name).numpy() for name in ("mean", "std"))
        network.load_state_dict(
            {name.removeprefix("network."): value for name, value in tensors.items()}
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(f"{folder / FACTS}: {place}: {first['msg']}; {_AGAIN}") from error
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BundleError(
            f"{folder / WEIGHTS} does not hold the weights of the network that {FACTS} describes "
            f"({reason}); {_AGAIN}"
        ) from error
    return Student(
        emotions=told.emotions,
        facts=facts,
        features=told.features,
        network=network.eval(),
        mean=mean,
        std=std,
    )


_AGAIN = "take the folder whole from where the student was kept"


def _facts(folder: Path) -> dict[str, Any]:
    """What ``student.json`` says, once it is known to be of this format."""
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"{folder} is no student's folder: it has no {FACTS}; give one that holds {FACTS} and "
            f"{WEIGHTS}"
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / FACTS} cannot be read ({error}); {_AGAIN}") from error
    written = facts.get("format") if isinstance(facts, dict) else None
    if written != FORMAT:
        raise BundleError(
            f"{folder / FACTS}: format {written!r} is not the one that this Understudy reads "
            f"({FORMAT}); use the version of Understudy that wrote it, or a later one"
        )
    return dict(facts)
