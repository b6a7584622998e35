"""A speech recogniser, fitted to the transcripts of some speakers and judged by those of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from models.macs import count_parameters
from models.speech_recogniser import (
    Recognition,
    SpeechRecogniser,
    ctc_loss,
    edit_distance,
    greedy_decode,
)
from orchestrator.canonical import JSON, digest
from orchestrator.errors import TrainingError
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.sources import Recogniser, RecogniserSource, RecogniserTraining
from orchestrator.features import PackedFrames, PackHandle, normalisation
from orchestrator.store import Artifact, Store, environment_inputs
from orchestrator.training.checkpoint import Checkpoint
from orchestrator.training.data import Batch, Data, FrameData, scoring_batches
from orchestrator.training.files import read_json, read_weights, statistics_tensors, write_fitted
from orchestrator.training.inputs import mode_inputs, plain, upstream
from orchestrator.training.judges import Judge, Judged
from orchestrator.training.loop import fit
from orchestrator.training.networks import build_recogniser
from orchestrator.training.ranks import Ranks
from orchestrator.training.stage import Losses, Stage
from orchestrator.training.state import derived_seed, fold_run_state
from orchestrator.training.task import Reporter, Unlabelled


@dataclass(frozen=True)
class Transcribed(Unlabelled):
    """Utterances with what is said in them, sorted by id."""

    transcripts: tuple[str, ...]
    speakers: tuple[str, ...]

    @classmethod
    def of(cls, table: pd.DataFrame, speakers: Sequence[str]) -> Transcribed:
        """All utterances of ``speakers`` in a corpus table."""
        rows = table[table["speaker"].isin(set(speakers))].sort_values("id")
        return cls(
            ids=tuple(rows["id"]),
            contents=tuple(rows["content"]),
            transcripts=tuple(rows["transcript"]),
            speakers=tuple(rows["speaker"]),
        )

    def key(self) -> dict[str, Any]:
        """What a store key needs of them."""
        said = digest([list(self.ids), list(self.contents), list(self.transcripts)])
        return {"n": len(self.ids), "speakers": sorted(set(self.speakers)), "digest": said}


@dataclass(frozen=True)
class RecogniserTask:
    """One recogniser to fit."""

    corpus: str
    section: Recogniser
    features: LogMelFeatures
    frames: PackHandle
    train: Transcribed
    validation: Transcribed
    seed: int
    threads: int = 1
    device: str = "cpu"
    gpus: float = 0.0
    deterministic: bool = True
    checkpoint_minutes: float = 5.0
    checkpoint_epochs: int | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        """What the store's key is made of."""
        recogniser = {name: plain(getattr(self.section, name)) for name in ("network", "training")}
        return {
            "recogniser": recogniser | {"units": self.section.units},
            # strings are in the utterances' contents
            "features": plain(self.features),
            **upstream("features"),
            "train": self.train.key(),
            "validation": self.validation.key(),
            "seed": self.seed,
            "threads": self.threads,
            "environment": environment_inputs(self.device),
            **mode_inputs(self.device, deterministic=self.deterministic),
        }

    def key(self, store: Store) -> str:
        """Key of the fitted recogniser, fitted or not."""
        return store.key("recogniser", self.inputs)


def units_of(transcript: str, units: str) -> list[str]:
    """A transcript in the units that are recognised: words, or characters with spaces between.

    >>> units_of("Seven, two", "words"), units_of("Oh no", "characters")
    (['seven,', 'two'], ['o', 'h', ' ', 'n', 'o'])
    """
    words = transcript.lower().split()
    return words if units == "words" else list(" ".join(words))


class Symbols:
    """The labels of a recogniser: a number from 1 for each unit of the training transcripts."""

    def __init__(self, units: str, symbols: Sequence[str]) -> None:
        self.units = units
        self.symbols = tuple(symbols)
        self._number = {symbol: place for place, symbol in enumerate(self.symbols, start=1)}

    @classmethod
    def of(cls, transcripts: Sequence[str], units: str) -> Symbols:
        """Every unit that occurs, sorted."""
        return cls(units, sorted({unit for text in transcripts for unit in units_of(text, units)}))

    def __len__(self) -> int:
        """Number of symbols, without the blank."""
        return len(self.symbols)

    def labels(self, transcript: str) -> list[int]:
        """Numbers of a transcript's units; one that training never heard cannot be recognised, and
        counts as an error: -1.
        """
        return [self._number.get(unit, -1) for unit in units_of(transcript, self.units)]


class RecogniserJudge(Judge):
    """CTC loss, or error rate, of best-path decoding.

    Args:
        data: utterances, in the order of ``transcripts``; None: nobody chooses, and the last epoch
            is kept.
        transcripts: what is said in them.
        symbols: of the recogniser.
        by: says what decides.
    """

    def __init__(
        self,
        data: Data | None,
        transcripts: Sequence[str],
        *,
        symbols: Symbols,
        by: RecogniserTraining,
    ) -> None:
        self.data = data
        self.symbols = symbols
        self.references = [symbols.labels(text) for text in transcripts]
        self.by_errors = by.epoch_choice == "validation-error-rate"
        # a loss that is not finite is never hidden by an error rate
        self.name = "ctc"
        self.last = by.epoch_choice == "last"

    def __call__(self, network: nn.Module) -> Judged:
        """CTC loss and error rate; ``logits`` holds, of each utterance, labels, substitutions,
        deletions and insertions.
        """
        if self.data is None:
            # nobody was kept apart: the last epoch is kept
            return Judged({}, 0.0, np.zeros((0, 4), dtype=np.int64))
        edits = np.zeros((len(self.data), 4), dtype=np.int64)
        total = 0.0
        for rows, said in _recognised(network, self.data):
            references = [self.references[row] for row in rows.tolist()]
            known = [[label for label in one if label > 0] for one in references]
            total += float(ctc_loss(said, *padded(known, device=said.logits.device)).sum())
            edits[rows] = _edits(said, references)
        loss = total / len(self.data)
        told, *errors = edits.sum(0).tolist()
        rate = sum(errors) / max(1, told)
        row = {"validation/ctc": loss, "validation/error_rate": rate}
        return Judged(row, rate if self.by_errors and np.isfinite(loss) else loss, edits)


@torch.no_grad()
def _recognised(network: nn.Module, data: Data) -> Iterator[tuple[Tensor, Recognition]]:
    """Rows of ``data``, and what the network says of them."""
    network.eval()
    # losses are added in this order, which their last digits depend on
    for rows in reversed(scoring_batches(data.lengths)):
        yield rows, network(*data.batch(rows).inputs)


def _edits(said: Recognition, references: Sequence[Sequence[int]]) -> np.ndarray:
    """Labels, substitutions, deletions and insertions of each utterance, ``(batch, 4)``."""
    edits = []
    heard = greedy_decode(said.logits, said.token_lengths)
    for reference, labels in zip(references, heard, strict=True):
        one = edit_distance(reference, labels)
        edits.append((len(reference), one.substitutions, one.deletions, one.insertions))
    return np.asarray(edits, dtype=np.int64)


def padded(
    labels: Sequence[Sequence[int]], *, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Labels ``(batch, longest)`` and how many each has, ``(batch,)``."""
    lengths = torch.tensor([len(one) for one in labels])
    rows = torch.zeros(len(labels), max(1, int(lengths.max())), dtype=torch.long)
    for row, one in zip(rows, labels, strict=True):
        row[: len(one)] = torch.tensor(list(one), dtype=torch.long)
    return rows.to(device), lengths.to(device)


def recogniser_artifact(task: RecogniserTask, store: Store, *, reporter: Reporter) -> Artifact:
    """The fitted recogniser, from the store or now.

    Raises:
        TrainingError: a loss is not finite, or a transcript is too long for its utterance.
    """
    checkpoint = Checkpoint(
        store,
        "recogniser",
        task.inputs,
        minutes=task.checkpoint_minutes,
        epochs=task.checkpoint_epochs,
    )
    build = partial(_fit, task, store, checkpoint, reporter)
    with _state(task):
        artifact = store.obtain("recogniser", task.inputs, build)
    checkpoint.remove()
    return artifact


def _fit(
    task: RecogniserTask, store: Store, checkpoint: Checkpoint, reporter: Reporter, folder: Path
) -> None:
    settings = task.section.training
    pack = PackedFrames.open(store, task.frames)
    mean, std = normalisation(pack, task.train.ids)
    symbols = Symbols.of(task.train.transcripts, task.section.units)
    _refuse_crowded(task, pack, symbols)
    torch.manual_seed(derived_seed("recogniser", task.seed))
    network = build_recogniser(task.section.network, features=task.features, symbols=len(symbols))
    network.to(task.device)
    train = _data(task, pack, task.train, mean=mean, std=std, augmented=True)
    kept = task.validation
    validation = _data(task, pack, kept, mean=mean, std=std) if kept.ids else None
    judge = RecogniserJudge(validation, task.validation.transcripts, symbols=symbols, by=settings)
    targets = [symbols.labels(text) for text in task.train.transcripts]
    fitted = fit(
        network,
        data=train,
        ids=task.train.ids,
        judge=judge,
        stages=[Stage("recogniser", settings.epochs, _losses(targets))],
        settings=settings,
        seed=derived_seed("recogniser", task.seed),
        ranks=Ranks(),
        reporter=reporter,
        checkpoint=checkpoint,
        key=f"{_place(task.section)}.training",
    )
    facts = {
        "parameters": count_parameters(network),
        "network": plain(task.section.network),
        "units": symbols.units,
        "symbols": list(symbols.symbols),
    }
    write_fitted(folder, fitted, extra=statistics_tensors(mean, std), facts=facts)


def _state(task: RecogniserTask) -> AbstractContextManager[None]:
    return fold_run_state(
        seed=task.seed, threads=task.threads, deterministic=task.deterministic, gpus=task.gpus
    )


def _place(section: Recogniser) -> str:
    """Where the experiment file has it, for messages."""
    return "recipe.source" if isinstance(section, RecogniserSource) else "recogniser"


def _losses(targets: Sequence[Sequence[int]]) -> Losses:
    def losses(output: Any, batch: Batch) -> Mapping[str, Tensor]:
        told = [targets[row] for row in batch.rows.tolist()]
        labels = padded(told, device=output.logits.device)
        return {"ctc": ctc_loss(output, *labels)}

    return losses


def _data(
    task: RecogniserTask,
    pack: PackedFrames,
    utterances: Unlabelled,
    *,
    mean: np.ndarray,
    std: np.ndarray,
    augmented: bool = False,
) -> FrameData:
    return FrameData(
        pack,
        utterances,
        mean=mean,
        std=std,
        channels=task.features.channels,
        hop_seconds=task.features.hop_seconds,
        augment=task.section.training.augment if augmented else None,
        seed=task.seed,
        device=task.device,
    )


def _refuse_crowded(task: RecogniserTask, pack: PackedFrames, symbols: Symbols) -> None:
    """Raise where a transcript has more labels than its utterance has steps (CTC needs as many)."""
    stretch = task.section.training.augment.time_stretch
    stride = task.section.network.stride
    # only what is trained on is ever sped up
    for role, faster in ((task.train, 1.0 + stretch), (task.validation, 1.0)):
        for name, text in zip(role.ids, role.transcripts, strict=True):
            labels = symbols.labels(text)
            alike = sum(one == other for one, other in zip(labels, labels[1:], strict=False))
            frames = pack.length(name)
            steps = (int(frames / faster) + stride - 1) // stride
            if steps < len(labels) + alike:
                sped_up = f" where time_stretch {stretch:g} speeds it up" if faster > 1.0 else ""
                raise TrainingError(
                    f"corpus {task.corpus!r}, utterance {name!r}: its transcript {text!r} has "
                    f"{len(labels)} {task.section.units}, {alike} of them like the one before, and "
                    f"needs {len(labels) + alike} steps, but its {frames} frames make {steps}"
                    f"{sped_up} (network.stride is {stride}); lower the recogniser's "
                    "network.stride or training.augment.time_stretch, or take it out of the corpus"
                )


@dataclass(frozen=True)
class FittedRecogniser:
    """A recogniser from the store."""

    network: SpeechRecogniser
    symbols: Symbols
    mean: np.ndarray
    std: np.ndarray


def load_recogniser(
    artifact: Artifact, *, features: LogMelFeatures, device: str = "cpu"
) -> FittedRecogniser:
    """The recogniser of an artifact, in evaluation mode."""
    from orchestrator.experiment.networks import SatnNetwork

    facts = read_json(artifact.path / "facts.json")
    state, extra = read_weights(artifact.path)
    symbols = Symbols(facts["units"], facts["symbols"])
    section = SatnNetwork.model_validate(facts["network"])
    network = build_recogniser(section, features=features, symbols=len(symbols))
    network.load_state_dict(state)
    return FittedRecogniser(
        network=network.to(device).eval().requires_grad_(False),
        symbols=symbols,
        mean=extra["mean"].numpy(),
        std=extra["std"].numpy(),
    )


def recognition_errors(
    task: RecogniserTask, utterances: Transcribed, *, store: Store, trained: Artifact
) -> np.ndarray:
    """Labels, substitutions, deletions and insertions of each of ``utterances``,
    ``(utterances, 4)``, from the store or now.

    A stage of its own: what is tested is no part of the recogniser's key. An utterance with more
    labels than it has steps is no error here: what cannot be recognised is counted.
    """
    inputs: dict[str, JSON] = {"trained": trained.key, "utterances": utterances.key()}

    def build(folder: Path) -> None:
        fitted = load_recogniser(trained, features=task.features, device=task.device)
        pack = PackedFrames.open(store, task.frames)
        data = _data(task, pack, utterances, mean=fitted.mean, std=fitted.std)
        references = [fitted.symbols.labels(text) for text in utterances.transcripts]
        edits = np.zeros((len(data), 4), dtype=np.int64)
        for rows, said in _recognised(fitted.network, data):
            edits[rows] = _edits(said, [references[row] for row in rows.tolist()])
        np.save(folder / "edits.npy", edits)

    with _state(task):
        artifact = store.obtain("recognition", inputs, build)
    found: np.ndarray = np.load(artifact.path / "edits.npy")
    return found
