"""A fold run in miniature: an experiment's recipes on a few utterances that nobody spoke.

Every utterance is as long as the longest of the corpora, and every fit lasts two updates (the
second is the first with the optimiser's state in memory). All else is the fold run's own code, so
that it holds what a real one does where it holds most.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike

from orchestrator.canonical import JSON, digest
from orchestrator.encoder_outputs import EncoderHandle
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.recipe import (
    PretrainedSource,
    PretrainedTeacher,
    Recipe,
    RecogniserSource,
)
from orchestrator.features import PackHandle
from orchestrator.packing import FRAMES, ArrayWriter, write_index
from orchestrator.source_encoder import source_name, states_wanted
from orchestrator.store import Store
from orchestrator.teacher_encoder import (
    encoder_sample_rate,
    frozen_part,
    mixed_layers,
    teachers_weights,
)
from orchestrator.training.files import statistics_tensors, write_fitted
from orchestrator.training.fold_run import run_fold
from orchestrator.training.loop import Fitted
from orchestrator.training.networks import build_recogniser
from orchestrator.training.task import FoldTask, Silent, Unlabelled, UnlabelledSpeech, Utterances

SCORED = 64
"""Utterances that are scored at once, as ``scoring_batches`` has them."""

UPDATES = 2
SYMBOLS = 40
"""Of a recogniser that is a source: its last layer weighs nothing beside the others."""
SECONDS_PER_FRAME = 0.02
"""Of the encoders that are known here."""


@dataclass(frozen=True)
class Outline:
    """All of an experiment that the memory of its fold runs depends on, as JSON-able values."""

    recipes: tuple[dict[str, Any], ...]
    """As :func:`shrunk` gives them."""
    features: dict[str, Any]
    classes: int
    utterances: int
    """Of the largest corpus: there are never more in a batch."""
    seconds: float
    """Of the longest labelled utterance."""
    unlabelled_seconds: float
    """Of the longest unlabelled one; 0 if there are none."""
    threads: int
    gpu: bool
    deterministic: bool

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> Outline:
        """What :meth:`text` gave."""
        plain = json.loads(text)
        return cls(**plain | {"recipes": tuple(plain["recipes"])})


def shrunk(
    recipe: Recipe,
    *,
    teacher_workers: int = 1,
    student_workers: int = 1,
    utterances: int | None = None,
) -> dict[str, Any]:
    """The recipe with two updates a stage, as JSON-able values; a worker's part of each batch.

    What is fitted to inner speaker folds is of the fold's own networks, and left out.

    Args:
        recipe: of the experiment, or of an ablation.
        teacher_workers: of a teacher's fit.
        student_workers: of a student's.
        utterances: of the largest corpus, the most that a batch can have; default: any number.
    """
    plain = recipe.model_dump(mode="json")
    student = plain["training"]
    if plain["teacher"] is not None:
        plain["teacher"]["training"] = _brief(
            plain["teacher"]["training"] or student, workers=teacher_workers, most=utterances
        )
    plain["training"] = _brief(student, workers=student_workers, most=utterances)
    plain["knowledge"], plain["curriculum"] = "in-sample", {"kind": "none"}
    if "matching_epochs" in plain["schedule"]:
        plain["schedule"]["matching_epochs"] = 1
    if "interval" in plain["meta"]:
        plain["meta"]["interval"] = 1
    unlabelled = plain["unlabelled"]
    if "epochs" in unlabelled:
        unlabelled["epochs"] = 1
    if "batch_size" in unlabelled:
        unlabelled["batch_size"] = _part(unlabelled["batch_size"], student_workers)
    return plain


def _brief(training: dict[str, Any], *, workers: int, most: int | None) -> dict[str, Any]:
    size = training["batch_size"]
    part = _part(size if most is None else min(size, most), workers)
    micro = training["micro_batch"]
    return training | {
        "epochs": 1,
        "updates_per_epoch": UPDATES,
        "patience": None,
        # what makes a real fit diverge takes no more memory
        "lr": min(training["lr"], 1e-4),
        "augment": training["augment"] | {"noise": min(training["augment"]["noise"], 1.0)},
        "micro_batch": None if micro is None else min(micro, part),
        # compiling takes long, and memory of its own that the kernels then save
        "compile": False,
        "batch_size": part,
    }


def _part(size: int, workers: int) -> int:
    """A worker's part of a batch, which is still two utterances to compare where the whole was."""
    return max(min(2, size), -(-size // workers))


def run_miniatures(outline: Outline, folder: Path) -> None:
    """Fit every network of every recipe, one after another.

    Args:
        outline: of the experiment.
        folder: an empty one, for a store.
    """
    store = Store(folder)
    for plain in outline.recipes:
        recipe = Recipe.model_validate(plain)
        task = miniature(recipe, outline, store)
        if recipe.teacher is not None:
            run_fold(task, store=store, reporter=Silent(), role="teacher")
        run_fold(task, store=store, reporter=Silent())


def miniature(recipe: Recipe, outline: Outline, store: Store) -> FoldTask:
    """A fold run of ``recipe`` whose inputs are in ``store``."""
    features = LogMelFeatures.model_validate(outline.features)
    size = recipe.training.batch_size
    if recipe.teacher is not None and recipe.teacher.training is not None:
        size = max(size, recipe.teacher.training.batch_size)
    make = _Inputs(recipe, features, store)
    train = _utterances(min(max(size, SCORED), outline.utterances), outline.classes)
    task = FoldTask(
        corpus="miniature",
        fold="miniature",
        seed=0,
        recipe=recipe,
        features=features,
        emotions=tuple(f"emotion {place}" for place in range(outline.classes)),
        train=train,
        validation=train.subset(train.ids[:SCORED]),
        held=train.subset(train.ids[:SCORED]) if recipe.meta.kind != "none" else None,
        **make.all(train.ids, outline.seconds),
        recognisers=make.recognisers(),
        threads=outline.threads,
        device="cuda" if outline.gpu else "cpu",
        # with all of it nothing is made smaller to fit
        gpus=1.0 if outline.gpu else 0.0,
        deterministic=outline.deterministic,
        # what a checkpoint takes is taken
        checkpoint_minutes=0.0,
    )
    if recipe.unlabelled.kind == "none":
        return task
    size = max(SCORED, getattr(recipe.unlabelled, "batch_size", 0))
    heard = _utterances(size, 1, name="other")
    speech = UnlabelledSpeech(
        Unlabelled(heard.ids, heard.contents), **make.all(heard.ids, outline.unlabelled_seconds)
    )
    return replace(task, unlabelled=speech)


def _utterances(count: int, classes: int, *, name: str = "utterance") -> Utterances:
    places = range(max(count, classes))
    return Utterances(
        ids=tuple(f"{name} {place:06}" for place in places),
        contents=tuple(digest([name, place]) for place in places),
        labels=tuple(place % classes for place in places),
        speakers=tuple(f"speaker {place % 4}" for place in places),
    )


class _Inputs:
    """Makes what the networks of a recipe hear of utterances, unless the store has it."""

    def __init__(self, recipe: Recipe, features: LogMelFeatures, store: Store) -> None:
        self.recipe, self.features, self.store = recipe, features, store

    def all(self, ids: tuple[str, ...], seconds: float) -> dict[str, Any]:
        """By the names that a fold run has for them."""
        width = self.features.bins * self.features.channels
        frames = max(1, round(seconds / self.features.hop_seconds))
        made: dict[str, Any] = {"frames": self._pack("features", ids, (frames, width))}
        teacher, source = self.recipe.teacher, self.recipe.source
        if isinstance(teacher, PretrainedTeacher):
            if teacher.hears_waveforms:
                rate = encoder_sample_rate(teacher.root, teacher.revision)
                shape = (max(1, round(seconds * rate)),)
                made["waveforms"] = self._pack("waveforms", ids, shape, {"sample_rate": rate})
            else:
                made["encoder"] = self._encoder(frozen_part(teacher), ids, seconds)
        if isinstance(source, PretrainedSource) and self.recipe.needs_source:
            states = self._encoder(states_wanted(source), ids, seconds)
            made["attended"] = {source_name(source): states}
        return made

    def recognisers(self) -> dict[str, str]:
        """By ``source_name``, a recogniser with random weights, if the source is one."""
        source = self.recipe.source
        if not isinstance(source, RecogniserSource):
            return {}
        section = source.network

        def build(folder: Path) -> None:
            network = build_recogniser(section, features=self.features, symbols=SYMBOLS)
            fitted = Fitted(network.state_dict(), epoch=1, validation_logits=np.zeros((0, 4)))
            width = self.features.bins * self.features.channels
            statistics = statistics_tensors(np.zeros(width, "f4"), np.ones(width, "f4"))
            facts = {
                "network": section.model_dump(mode="json"),
                "units": "words",
                "symbols": [str(place) for place in range(SYMBOLS)],
            }
            write_fitted(folder, fitted, extra=statistics, facts=facts)

        name = source_name(source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return {name: self.store.obtain("recogniser", {"miniature": name}, build).key}

    def _pack(
        self, stage: str, ids: tuple[str, ...], shape: tuple[int, ...], facts: Any = None
    ) -> PackHandle:
        def build(folder: Path) -> None:
            _write_frames(folder, ids, shape, np.float32)
            if facts:
                (folder / "facts.json").write_text(json.dumps(facts))

        key = self._obtain(stage, ids, shape, build)
        return PackHandle(keys=(key,), identity=key)

    def _encoder(
        self, part: PretrainedTeacher, ids: tuple[str, ...], seconds: float
    ) -> EncoderHandle:
        from models import pretrained
        from models.encoder_attention import attention_width

        root = pretrained.resolve_root(part.root, part.revision)
        layers, width = mixed_layers(part, pretrained.block_count(root)), attention_width(root)
        both = 2 if part.pooling == "statistics" else 1
        shape = (max(1, round(seconds / SECONDS_PER_FRAME)), len(layers), width)

        def build(folder: Path) -> None:
            pooled = np.random.default_rng(0).standard_normal((len(ids), len(layers), both * width))
            np.save(folder / "pooled.npy", pooled.astype(np.float32))
            if part.frames:
                _write_frames(folder, ids, shape, np.float16)
            else:
                write_index(folder, list(ids), [0] * (len(ids) + 1))
            facts = {"layers": layers, "width": width, "seconds_per_frame": SECONDS_PER_FRAME}
            (folder / "facts.json").write_text(json.dumps(facts))

        key = self._obtain("encoder", ids, (*shape, both, part.frames), build)
        return EncoderHandle(keys=(key,), identity=key, weights=teachers_weights(part))

    def _obtain(
        self,
        stage: str,
        ids: tuple[str, ...],
        shape: tuple[int, ...],
        build: Callable[[Path], None],
    ) -> str:
        inputs: dict[str, JSON] = {"miniature": [digest(list(ids)), list(shape)]}
        return self.store.obtain(stage, inputs, build).key


def _write_frames(
    folder: Path, ids: tuple[str, ...], shape: tuple[int, ...], dtype: DTypeLike
) -> None:
    """Each utterance the same noise, a little louder than the one before."""
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def heard() -> Iterator[np.ndarray]:
        for place in range(len(ids)):
            yield noise * (1.0 + place / len(ids))

    with ArrayWriter(folder / FRAMES, shape=shape[1:], dtype=dtype) as writer:
        offsets = [0, *(writer.append(block) for block in heard())]
    write_index(folder, list(ids), offsets)
