"""Log-Mel features: computed once a shard of a corpus, packed, memory-mapped, gathered by index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.canonical import JSON, digest
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.log_mel import Frames, LogMel
from orchestrator.packing import (
    FRAMES,
    ArrayWriter,
    Handle,
    merged,
    one_thread,
    open_array,
    read_index,
    shards_of,
    utterance_inputs,
    write_index,
)
from orchestrator.store import Artifact, Store, environment_inputs

if TYPE_CHECKING:
    from orchestrator.corpora import Corpus

STD_FLOOR = 1e-5
"""A feature that varies less than this over training is centred and not scaled."""


class PackHandle(Handle):
    """Where the features of a corpus are."""


class PackedFrames:
    """Many utterances' frames in a few memory-mapped arrays. Open it where it is read.

    Attributes:
        ids: of all utterances, sorted.
        width: features of a frame (bins times channels).
        bytes: of all frames.
    """

    def __init__(self, shards: Iterable[tuple[Sequence[str], NDArray[np.int64], Frames]]) -> None:
        self._views: dict[str, Frames] = {}
        widths = set()
        for ids, offsets, frames in shards:
            widths.add(frames.shape[1])
            # views of a plain array are smaller, and quicker to make, than those of a map
            frames = np.asarray(frames)
            for place, name in enumerate(ids):
                self._views[name] = frames[offsets[place] : offsets[place + 1]]
        if len(widths) != 1:
            msg = f"packed frames need one width in all shards, but there are {sorted(widths)}"
            raise ValueError(msg)
        self.ids: tuple[str, ...] = tuple(sorted(self._views))
        self.width: int = widths.pop()
        self.bytes: int = sum(view.nbytes for view in self._views.values())

    @classmethod
    def open(cls, store: Store, handle: PackHandle) -> Self:
        """Open the features of ``handle``.

        Raises:
            StoreError: a shard is not (or no longer) in the store.
        """
        folders = [(store.get("features", key).path, before) for key, before in handle.shards()]
        return cls(
            (*read_index(folder, prefix=before), open_array(folder / FRAMES))
            for folder, before in folders
        )

    def length(self, id: str) -> int:
        """Frames of an utterance."""
        return len(self._views[id])

    def gather(self, ids: Sequence[str]) -> list[Frames]:
        """Frames ``(frames, width)`` of each of ``ids``, in that order: views, nothing is copied.

        Raises:
            KeyError: an id is not in the pack.
        """
        return [self._views[name] for name in ids]


@dataclass(frozen=True)
class FeatureShard:
    """One part of a corpus whose features are made together; picklable, callable anywhere."""

    part: Corpus
    section: LogMelFeatures
    store: Store

    @property
    def extraction(self) -> dict[str, JSON]:
        """What is done to every utterance: all inputs but the utterances."""
        parameters = self.section.model_dump(mode="json")
        return merged({"features": parameters, "threads": 1}, environment_inputs("cpu"))

    @property
    def inputs(self) -> dict[str, JSON]:
        """What the store's key is made of."""
        return merged(self.extraction, utterance_inputs(self.part))

    @property
    def key(self) -> str:
        """Key of the artifact, built or not."""
        return self.store.key("features", self.inputs)

    def obtain(self) -> Artifact:
        """The shard's frames, from the store or now.

        Raises:
            CorpusError: an audio file has gone.
            ExperimentError: the features cannot be computed as the section wants them.
            StoreError: the store cannot be written.
        """
        return self.store.obtain("features", self.inputs, self._build)

    def __call__(self) -> bool:
        """Make the shard unless the store has it; whether it had."""
        return self.obtain().reused

    def _build(self, folder: Path) -> None:
        ids = list(self.part.table["id"])
        width = self.section.bins * self.section.channels
        offsets = [0]
        log_mel = LogMel(self.section)

        def waveforms() -> Iterator[NDArray[np.float32]]:
            for name in ids:
                waveform = self.part.waveform(name, sample_rate=self.section.sample_rate)
                offsets.append(offsets[-1] + log_mel.count(len(waveform)))
                yield waveform

        with one_thread(), ArrayWriter(folder / FRAMES, shape=(width,), dtype=np.float32) as frames:
            # deltas look at neighbours, so they need an utterance by itself
            blocks = map(log_mel, waveforms()) if self.section.deltas else None
            for block in blocks or log_mel.static(waveforms()):
                frames.append(block)
        write_index(folder, ids, offsets)


def feature_shards(
    corpus: Corpus, section: LogMelFeatures, *, store: Store
) -> tuple[FeatureShard, ...]:
    """The parts of ``corpus``, each to be called here or on any worker."""
    return tuple(FeatureShard(part, section, store) for part in shards_of(corpus))


def pack_handle(corpus: Corpus, section: LogMelFeatures, *, store: Store) -> PackHandle:
    """Where the features of ``corpus`` are, once all its shards have been made."""
    shards = feature_shards(corpus, section, store=store)
    return PackHandle(
        keys=tuple(shard.key for shard in shards), identity=digest(shards[0].extraction)
    )


def extract_features(
    corpus: Corpus,
    section: LogMelFeatures,
    *,
    store: Store,
    progress: Callable[[int, int], None] | None = None,
) -> PackHandle:
    """Make every shard in this process, calling ``progress(shards done, shards)`` after each."""
    shards = feature_shards(corpus, section, store=store)
    for done, shard in enumerate(shards, start=1):
        shard()
        if progress is not None:
            progress(done, len(shards))
    return pack_handle(corpus, section, store=store)


def normalisation(pack: PackedFrames, ids: Iterable[str]) -> tuple[Frames, Frames]:
    """Mean and standard deviation ``(width,)`` over all frames of ``ids`` and no others (law 2).

    Sums are in double precision and in the order of the sorted ids, so that the order in which they
    are given changes nothing. The deviation is the population's; features that hardly vary get 1.

    Raises:
        KeyError: an id is not in the pack.
        ValueError: there are no ids.
    """
    views = pack.gather(sorted(set(ids)))
    if not views:
        msg = "normalisation needs at least one utterance"
        raise ValueError(msg)
    count = sum(len(view) for view in views)
    mean = sum(view.sum(axis=0, dtype=np.float64) for view in views) / count
    squares = sum(np.square(view - mean).sum(axis=0, dtype=np.float64) for view in views)
    std = np.sqrt(squares / count)
    std[std < STD_FLOOR] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)
