"""A corpus of words that are tones, with transcripts: what a tiny recogniser learns in a moment."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from orchestrator.corpora import Corpus
from orchestrator.corpora.transcribed import load_transcribed
from orchestrator.experiment.corpus import TableCorpus
from orchestrator.experiment.experiment import Resources
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.sources import Recogniser
from orchestrator.features import extract_features
from orchestrator.speech_sources import heard_corpus, recogniser_task
from orchestrator.store import Store
from orchestrator.training.recogniser import RecogniserTask

WORDS = {"do": 400.0, "mi": 900.0, "sol": 2000.0}
"""Hz of each word."""
SPEAKERS = ("ann", "bob", "cem", "dan")
RATE = 8000
FEATURES: dict[str, Any] = {"bins": 8, "hop_seconds": 0.02, "sample_rate": RATE}
NETWORK: dict[str, Any] = {
    "stride": 2,
    "dim": 16,
    "levels": 1,
    "depth": 1,
    "heads": 2,
    "mlp_dim": 16,
    "dropout": 0.0,
}
"""A recogniser of some thousand weights."""
TRAINING: dict[str, Any] = {"epochs": 14, "batch_size": 4, "lr": 2e-2, "average_decay": 0.9}


def write_tones(
    folder: Path,
    *,
    speakers: Sequence[str] = SPEAKERS,
    utterances: int = 6,
    longest: int = 3,
    changes: Mapping[str, str] | None = None,
) -> Path:
    """A table of utterances of one to ``longest`` words, each 0.16 s long, and their audio.

    Args:
        folder: is made.
        speakers: each has a pitch of their own.
        utterances: of each speaker; all speakers say the same.
        longest: words of an utterance.
        changes: other transcripts for some ids, such as ``ann-0``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id,path,speaker,transcript"]
    for speaker in speakers:
        draw = np.random.default_rng(list(speaker.encode()))
        pitch = draw.uniform(0.95, 1.05)
        for number in range(utterances):
            said = [list(WORDS)[(number + place) % 3] for place in range(1 + number % longest)]
            audio = _spoken(said, pitch=pitch, draw=draw)
            name = f"{speaker}-{number}"
            soundfile.write(folder / f"{name}.wav", audio, RATE, subtype="PCM_16")
            text = (changes or {}).get(name, " ".join(said))
            lines.append(f"{name},{name}.wav,{speaker},{text}")
    file = folder / "tones.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def _spoken(words: Sequence[str], *, pitch: float, draw: np.random.Generator) -> np.ndarray:
    """The words with pauses of 0.08 s, in a little noise."""
    pause = np.zeros(round(0.08 * RATE))
    time = np.arange(round(0.16 * RATE)) / RATE
    parts = [pause]
    for word in words:
        parts += [0.4 * np.sin(2 * np.pi * pitch * WORDS[word] * time), pause]
    audio = np.concatenate(parts)
    return audio + draw.normal(scale=0.01, size=len(audio))


def section(file: Path, **more: Any) -> dict[str, Any]:
    """The corpus in an experiment file."""
    return {"kind": "table", "file": str(file), "name": "tones", "role": "transcribed", **more}


@dataclass(frozen=True)
class Toned:
    """The corpus with its features, made once; every test gets a store of its own."""

    source: Path
    corpus: Corpus

    @classmethod
    def build(cls, folder: Path) -> Toned:
        """Write the corpus and extract its features into ``folder``."""
        corpus = load(write_tones(folder / "tones", utterances=12))
        extract_features(corpus, LogMelFeatures(**FEATURES), store=Store(folder / "store"))
        return cls(folder / "store", corpus)

    def store(self, folder: Path) -> Store:
        """A new store with the features and nothing else."""
        shutil.copytree(self.source / "artifacts", folder / "artifacts")
        return Store(folder)

    def task(
        self,
        *,
        train: Sequence[str] = ("ann", "bob"),
        validation: Sequence[str] = ("cem",),
        seed: int = 0,
        **options: Any,
    ) -> RecogniserTask:
        """The fit of a recogniser.

        Args:
            train: speakers.
            validation: speakers.
            seed: of the fit.
            options: of the section by dotted name, dots as ``__``.
        """
        plain: dict[str, Any] = {
            "network": dict(NETWORK),
            "units": "words",
            "training": dict(TRAINING),
        }
        apply_overrides(plain, {name.replace("__", "."): value for name, value in options.items()})
        wanted = Recogniser.model_validate(plain)
        return recogniser_task(
            heard_corpus(self.corpus, wanted),
            wanted,
            features=LogMelFeatures(**FEATURES),
            resources=Resources(checkpoint_minutes=0.0),
            store=Store(self.source),
            train=train,
            validation=validation,
            seed=seed,
            device="cpu",
        )


def load(file: Path) -> Corpus:
    """The corpus of a table."""
    return load_transcribed(TableCorpus.model_validate(section(file)), labelled=())
