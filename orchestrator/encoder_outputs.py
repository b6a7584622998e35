"""What a frozen speech encoder makes of a corpus: computed once, pooled, and by frame if wanted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.canonical import JSON, digest
from orchestrator.errors import PretrainedError
from orchestrator.experiment.recipe import PretrainedTeacher
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
from orchestrator.teacher_encoder import (
    frozen_part,
    load_teachers_encoder,
    mixed_layers,
    teachers_weights,
)

if TYPE_CHECKING:
    from orchestrator.corpora import Corpus

Pooled = NDArray[np.float32]
HalfFrames = NDArray[np.float16]

_POOLED, _FACTS = "pooled.npy", "facts.json"


@dataclass(frozen=True)
class EncoderHandle(Handle):
    """Where an encoder's outputs for a corpus are."""

    weights: str = field(kw_only=True)
    """Hash of the encoder's weights and configuration, which ``identity`` holds too."""


class EncoderOutputs:
    """An encoder's stored outputs for a corpus. Open it where it is read.

    Attributes:
        ids: of all utterances, sorted.
        layers: the hidden states that were kept, 0 being the input of the first block.
        width: of a hidden state; pooled vectors are twice as wide under ``statistics``.
        seconds_per_frame: of the encoder.
    """

    def __init__(self, folders: Iterable[tuple[Path, str]]) -> None:
        self._pooled: dict[str, Pooled] = {}
        self._frames: dict[str, HalfFrames] = {}
        facts: dict[str, Any] = {}
        for folder, before in folders:
            facts = json.loads((folder / _FACTS).read_text())
            ids, offsets = read_index(folder, prefix=before)
            # views of a plain array are smaller, and quicker to make, than those of a map
            pooled = np.asarray(open_array(folder / _POOLED))
            self._pooled |= dict(zip(ids, pooled, strict=True))
            if (folder / FRAMES).exists():
                frames = np.asarray(open_array(folder / FRAMES))
                for place, name in enumerate(ids):
                    self._frames[name] = frames[offsets[place] : offsets[place + 1]]
        self.ids: tuple[str, ...] = tuple(sorted(self._pooled))
        self.layers: tuple[int, ...] = tuple(facts["layers"])
        self.width: int = facts["width"]
        self.seconds_per_frame: float = facts["seconds_per_frame"]

    @classmethod
    def open(cls, store: Store, handle: EncoderHandle) -> Self:
        """Open the outputs of ``handle``.

        Raises:
            StoreError: a shard is not (or no longer) in the store.
        """
        return cls((store.get("encoder", key).path, before) for key, before in handle.shards())

    def pooled(self, ids: Sequence[str]) -> list[Pooled]:
        """Vectors pooled over time of each of ``ids``, ``(layers, width)``, or ``2 * width`` for
        statistics: views, no copies.

        Raises:
            KeyError: an id is not among the outputs.
        """
        return [self._pooled[name] for name in ids]

    def frames(self, ids: Sequence[str]) -> list[HalfFrames]:
        """Half-precision frames ``(frames, layers, width)`` of each of ``ids``: views, no copies.

        Raises:
            KeyError: an id is not among the outputs.
            ValueError: frames were not kept (``teacher.frames`` was false).
        """
        if not self._frames:
            msg = "the encoder's frames were not kept; set recipe.teacher.frames to true"
            raise ValueError(msg)
        return [self._frames[name] for name in ids]


@dataclass(frozen=True)
class EncoderShard:
    """One part of a corpus that is encoded together; picklable, callable anywhere."""

    part: Corpus
    teacher: PretrainedTeacher
    """As ``frozen_part`` gives it."""
    store: Store
    device: str
    weights: str
    """Hash of the encoder's weights and configuration."""

    @property
    def encoding(self) -> dict[str, JSON]:
        """What is done to every utterance: all inputs but the utterances."""
        return merged(
            {
                "encoder": self.weights,
                "layers": self.teacher.layers,
                "pooling": self.teacher.pooling,
                "threads": 1,
                "dtype": "float32",
            },
            environment_inputs(self.device),
        )

    @property
    def inputs(self) -> dict[str, JSON]:
        """What the store's key is made of."""
        return merged(self.encoding, {"frames": self.teacher.frames}, utterance_inputs(self.part))

    @property
    def key(self) -> str:
        """Key of the artifact, built or not."""
        return self.store.key("encoder", self.inputs)

    def obtain(self) -> Artifact:
        """The shard's outputs, from the store or now.

        Raises:
            PretrainedError: the folder is no encoder, has other weights here, has no such layer,
                or its outputs are not finite.
            CorpusError: an audio file has gone.
            StoreError: the store cannot be written.
        """
        return self.store.obtain("encoder", self.inputs, self._build)

    def __call__(self) -> bool:
        """Make the shard unless the store has it; whether it had."""
        return self.obtain().reused

    def _build(self, folder: Path) -> None:
        encoder = load_teachers_encoder(self.teacher, device=self.device, weights=self.weights)
        layers = list(mixed_layers(self.teacher, encoder.layers - 1))
        ids = list(self.part.table["id"])
        pooled, offsets = [], [0]
        with contextlib.ExitStack() as stack:
            stack.enter_context(one_thread())
            kept = None
            if self.teacher.frames:
                shape = (len(layers), encoder.width)
                kept = stack.enter_context(
                    ArrayWriter(folder / FRAMES, shape=shape, dtype=np.float16)
                )
            for name in ids:
                waveform = self.part.waveform(name, sample_rate=encoder.sample_rate)
                # (layers, frames, width) from the encoder; time first in the store
                states = encoder.hidden_states([waveform])[0][layers].transpose(0, 1)
                frames: Pooled = np.ascontiguousarray(states.cpu().numpy())
                self._check(frames, name)
                pooled.append(pool(frames, statistics=self.teacher.pooling == "statistics"))
                offsets.append(offsets[-1] + len(frames))
                if kept is not None:
                    kept.append(frames)
        np.save(folder / _POOLED, np.stack(pooled))
        write_index(folder, ids, offsets)
        facts = {
            "layers": layers,
            "width": encoder.width,
            "seconds_per_frame": encoder.seconds_per_frame,
        }
        (folder / _FACTS).write_text(json.dumps(facts, indent=1))

    def _check(self, frames: Pooled, name: str) -> None:
        if not np.isfinite(frames).all():
            msg = (
                f"{self.teacher.place}.root {self.teacher.root!r}: the encoder's output for "
                f"utterance {name!r} is not finite; its weights are damaged"
            )
            raise PretrainedError(msg)
        largest = float(np.abs(frames).max())
        if self.teacher.frames and largest > float(np.finfo(np.float16).max):
            msg = (
                f"{self.teacher.place}.root {self.teacher.root!r}: the encoder's output for "
                f"utterance {name!r} reaches {largest:.3g}, beyond half precision; leave the layer "
                f"out of {self.teacher.place}.layers, or set recipe.teacher.frames to false"
            )
            raise PretrainedError(msg)


def encoder_shards(
    corpus: Corpus, teacher: PretrainedTeacher, *, store: Store, device: str = "cpu"
) -> tuple[EncoderShard, ...]:
    """The parts of ``corpus``, each to be called here or on any worker.

    Of a teacher whose last layers are fine-tuned, the outputs are the input of these layers.

    Raises:
        PretrainedError: ``teacher.root`` is no speech encoder, or has no such layers.
    """
    weights = teachers_weights(teacher)
    frozen = frozen_part(teacher)
    return tuple(
        EncoderShard(part, frozen, store, device, weights=weights) for part in shards_of(corpus)
    )


def encoder_handle(
    corpus: Corpus, teacher: PretrainedTeacher, *, store: Store, device: str = "cpu"
) -> EncoderHandle:
    """Where the outputs for ``corpus`` are, once all its shards have been made.

    Raises:
        PretrainedError: ``teacher.root`` is no speech encoder, or has no such layers.
    """
    shards = encoder_shards(corpus, teacher, store=store, device=device)
    return EncoderHandle(
        keys=tuple(shard.key for shard in shards),
        identity=digest(shards[0].encoding),
        weights=shards[0].weights,
    )


def encode_corpus(
    corpus: Corpus,
    teacher: PretrainedTeacher,
    *,
    store: Store,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> EncoderHandle:
    """Make every shard in this process, calling ``progress(shards done, shards)`` after each."""
    shards = encoder_shards(corpus, teacher, store=store, device=device)
    for done, shard in enumerate(shards, start=1):
        shard()
        if progress is not None:
            progress(done, len(shards))
    return encoder_handle(corpus, teacher, store=store, device=device)


def pool(frames: Pooled, *, statistics: bool = False) -> Pooled:
    """Pool ``(frames, layers, width)`` over time to the mean ``(layers, width)``.

    ``statistics`` appends the population's standard deviation: ``(layers, 2 * width)``.
    """
    parts = [frames.mean(axis=0, dtype=np.float64)]
    if statistics:
        parts.append(frames.std(axis=0, dtype=np.float64))
    pooled: Pooled = np.concatenate(parts, axis=-1).astype(np.float32)
    return pooled
