"""Waveforms at an encoder's rate: read once a shard of a corpus, packed, gathered by index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.canonical import JSON, digest
from orchestrator.features import PackHandle
from orchestrator.packing import (
    FRAMES,
    ArrayWriter,
    merged,
    one_thread,
    open_array,
    read_index,
    shards_of,
    utterance_inputs,
    write_index,
)
from orchestrator.store import Artifact, Store, environment_inputs
from orchestrator.teacher_encoder import encoder_sample_rate

if TYPE_CHECKING:
    from orchestrator.corpora import Corpus

__all__ = [
    "PackedWaveforms",
    "WaveformShard",
    "encoder_sample_rate",
    "waveform_handle",
    "waveform_shards",
]

Waveform = NDArray[np.float32]

_FACTS = "facts.json"


class PackedWaveforms:
    """Many utterances' waveforms in a few memory-mapped arrays. Open it where it is read.

    Attributes:
        ids: of all utterances, sorted.
        sample_rate: Hz.
    """

    def __init__(self, folders: Iterable[tuple[Path, str]]) -> None:
        self._views: dict[str, Waveform] = {}
        rates = set()
        for folder, before in folders:
            rates.add(int(json.loads((folder / _FACTS).read_text())["sample_rate"]))
            ids, offsets = read_index(folder, prefix=before)
            samples = open_array(folder / FRAMES)
            for place, name in enumerate(ids):
                self._views[name] = samples[offsets[place] : offsets[place + 1]]
        if len(rates) != 1:
            msg = f"packed waveforms need one rate in all shards, but there are {sorted(rates)}"
            raise ValueError(msg)
        self.ids: tuple[str, ...] = tuple(sorted(self._views))
        self.sample_rate: int = rates.pop()

    @classmethod
    def open(cls, store: Store, handle: PackHandle) -> Self:
        """Open the waveforms of ``handle``.

        Raises:
            StoreError: a shard is not (or no longer) in the store.
        """
        return cls((store.get("waveforms", key).path, before) for key, before in handle.shards())

    def gather(self, ids: Sequence[str]) -> list[Waveform]:
        """Samples ``(samples,)`` of each of ``ids``, in that order: views, nothing is copied.

        Raises:
            KeyError: an id is not in the pack.
        """
        return [self._views[name] for name in ids]


@dataclass(frozen=True)
class WaveformShard:
    """One part of a corpus whose waveforms are packed together; picklable, callable anywhere."""

    part: Corpus
    sample_rate: int
    store: Store

    @property
    def reading(self) -> dict[str, JSON]:
        """What is done to every utterance: all inputs but the utterances."""
        return merged(
            {"sample_rate": self.sample_rate, "threads": 1, "dtype": "float32"},
            environment_inputs("cpu"),
        )

    @property
    def inputs(self) -> dict[str, JSON]:
        """What the store's key is made of."""
        return merged(self.reading, utterance_inputs(self.part))

    @property
    def key(self) -> str:
        """Key of the artifact, built or not."""
        return self.store.key("waveforms", self.inputs)

    def obtain(self) -> Artifact:
        """The shard's waveforms, from the store or now.

        Raises:
            CorpusError: an audio file has gone.
            StoreError: the store cannot be written.
        """
        return self.store.obtain("waveforms", self.inputs, self._build)

    def __call__(self) -> bool:
        """Make the shard unless the store has it; whether it had."""
        return self.obtain().reused

    def _build(self, folder: Path) -> None:
        ids = list(self.part.table["id"])
        offsets = [0]
        with one_thread(), ArrayWriter(folder / FRAMES, shape=(), dtype=np.float32) as samples:
            for name in ids:
                waveform = self.part.waveform(name, sample_rate=self.sample_rate)
                offsets.append(samples.append(waveform))
        write_index(folder, ids, offsets)
        (folder / _FACTS).write_text(json.dumps({"sample_rate": self.sample_rate}))


def waveform_shards(corpus: Corpus, *, sample_rate: int, store: Store) -> tuple[WaveformShard, ...]:
    """The parts of ``corpus``, each to be called here or on any worker.

    Args:
        corpus: whose audio is read.
        sample_rate: Hz; ``encoder_sample_rate`` says what an encoder hears.
        store: where the waveforms go.
    """
    return tuple(WaveformShard(part, sample_rate, store) for part in shards_of(corpus))


def waveform_handle(corpus: Corpus, *, sample_rate: int, store: Store) -> PackHandle:
    """Where the waveforms of ``corpus`` are, once all its shards have been made."""
    shards = waveform_shards(corpus, sample_rate=sample_rate, store=store)
    return PackHandle(keys=tuple(shard.key for shard in shards), identity=digest(shards[0].reading))
