"""Before any fold run: corpora, features and frozen encoder outputs, then the folds' tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.corpora import Corpus, load_corpus
from orchestrator.corpora.joint import joined, prefix, settled, with_common_labels
from orchestrator.encoder_outputs import EncoderHandle, encoder_handle, encoder_shards
from orchestrator.errors import ExperimentError, ProtocolError
from orchestrator.experiment import Experiment
from orchestrator.experiment.protocol import CrossCorpus, Official, ProtocolSection
from orchestrator.experiment.recipe import PretrainedTeacher
from orchestrator.features import PackHandle, feature_shards, pack_handle
from orchestrator.protocols import Fold, make_folds, protocol_string
from orchestrator.store import Store
from orchestrator.training.task import FoldTask, Utterances

Build = Callable[[], bool]
"""Makes one shard unless the store has it; says whether it was reused."""
RunShards = Callable[[str, Sequence[Build]], None]
"""Runs the shards of a named stage, wherever and however many at once."""


@dataclass(frozen=True)
class Prepared:
    """A corpus with its features, and the frozen encoder's outputs if the recipe wants them."""

    corpus: Corpus
    frames: PackHandle
    encoder: EncoderHandle | None
    parts: tuple[Corpus, ...]
    """The corpora whose features make up ``frames``: itself, or those it joins."""

    def describe(self, protocol: ProtocolSection) -> str:
        """The protocol string of results on this corpus (law 7)."""
        corpus = self.corpus
        return protocol_string(
            protocol,
            corpus.table,
            name=corpus.name,
            labels=corpus.labels,
            said=corpus.said,
            not_used=corpus.not_used,
            set_aside=len(corpus.set_aside),
        )

    def unit(self, protocol: ProtocolSection) -> Literal["speaker", "dialogue"]:
        """What claims count: speakers, or dialogues where the protocol lets roles share speakers.

        Utterances of one speaker, or of one dialogue, are no independent observations.
        """
        whole = bool((self.corpus.table["dialogue"] != "").all())
        return "dialogue" if isinstance(protocol, Official) and whole else "speaker"


@dataclass(frozen=True)
class PlannedFold:
    """One fold and seed of a corpus: what is trained, and which utterances are sealed."""

    prepared: Prepared
    fold: Fold
    task: FoldTask
    protocol: ProtocolSection


def run_shards_here(stage: str, shards: Sequence[Build]) -> None:
    """One after another in this process."""
    for shard in shards:
        shard()


def prepare(
    experiment: Experiment, store: Store, *, run_shards: RunShards = run_shards_here
) -> tuple[Prepared, ...]:
    """Load every corpus and see to its features and encoder outputs.

    Raises:
        CorpusError: a corpus is missing or damaged.
        PretrainedError: the teacher's folder is no speech encoder.
    """
    prepared = read_corpora(experiment, store)
    compute_inputs(experiment, prepared, store, run_shards=run_shards)
    return prepared


def read_corpora(
    experiment: Experiment, store: Store, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Prepared, ...]:
    """Load and check every corpus and the teacher's folder; computes nothing yet.

    Under ``cross-corpus`` the corpora become one. The handles say where features and encoder
    outputs will be once :func:`compute_inputs` has run.

    Args:
        progress: called with (files heard, files) of each corpus.

    Raises:
        CorpusError: a corpus is missing or damaged, or the corpora have too few common emotions.
        PretrainedError: the teacher's folder is no speech encoder.
    """
    corpora = load_corpora(experiment, memory=store.folder, progress=progress)
    together = joint_corpora(experiment, corpora)
    if len(together) < len(corpora):
        return (_prepared(together[0], corpora, experiment, store),)
    return tuple(_prepared(corpus, (corpus,), experiment, store) for corpus in corpora)


def load_corpora(
    experiment: Experiment,
    *,
    memory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Corpus, ...]:
    """The experiment's corpora, with the emotions that all have where that is wanted.

    Raises:
        CorpusError: a corpus is missing or damaged, or they have too few common emotions.
    """
    corpora = tuple(
        load_corpus(section, memory=memory, progress=progress) for section in experiment.corpora
    )
    if experiment.common_labels or isinstance(experiment.protocol, CrossCorpus):
        return with_common_labels(corpora)
    return corpora


def joint_corpora(experiment: Experiment, corpora: Sequence[Corpus]) -> tuple[Corpus, ...]:
    """What folds are dealt from: one joint corpus under ``cross-corpus``, else each by itself.

    Raises:
        CorpusError: corpora that are joined share sounds.
    """
    if not isinstance(experiment.protocol, CrossCorpus):
        return tuple(corpora)
    return (settled(joined(corpora), experiment.corpora),)


def _prepared(
    corpus: Corpus, parts: Sequence[Corpus], experiment: Experiment, store: Store
) -> Prepared:
    teacher, features = experiment.recipe.teacher, experiment.features
    before = [prefix(part) for part in parts]
    packs = [pack_handle(part, features, store=store) for part in parts]
    outputs: list[EncoderHandle] = []
    if isinstance(teacher, PretrainedTeacher):
        device = device_of(experiment)
        outputs = [encoder_handle(part, teacher, store=store, device=device) for part in parts]
    if len(parts) == 1:
        frames, encoder = packs[0], next(iter(outputs), None)
    else:
        frames = PackHandle.joined(packs, prefixes=before)
        encoder = EncoderHandle.joined(outputs, prefixes=before) if outputs else None
    return Prepared(corpus, frames, encoder, tuple(parts))


def compute_inputs(
    experiment: Experiment,
    prepared: Iterable[Prepared],
    store: Store,
    *,
    run_shards: RunShards = run_shards_here,
) -> None:
    """See to the features and encoder outputs of every corpus; what the store has is kept.

    Raises:
        PretrainedError: the encoder cannot be loaded, has no such layer, or is damaged.
        CorpusError: an audio file has gone.
    """
    teacher = experiment.recipe.teacher
    for corpus in (part for entry in prepared for part in entry.parts):
        run_shards(
            f"features of {corpus.name}", feature_shards(corpus, experiment.features, store=store)
        )
        if isinstance(teacher, PretrainedTeacher):
            device = device_of(experiment)
            run_shards(
                f"encoder outputs of {corpus.name}",
                encoder_shards(corpus, teacher, store=store, device=device),
            )


def device_of(experiment: Experiment) -> str:
    """The device that fold runs of this experiment compute on."""
    return "cuda" if experiment.resources.trial.gpus else "cpu"


def plan_folds(
    experiment: Experiment,
    prepared: Iterable[Prepared],
    *,
    protocol: ProtocolSection,
    seeds: Iterable[int],
    only: Sequence[str] = (),
) -> list[PlannedFold]:
    """Every (corpus, fold, seed) with its task, in that order.

    Args:
        only: names of the folds to keep; default: all.

    Raises:
        ProtocolError: the protocol cannot make valid folds, or ``only`` names one it has not.
    """
    seeds = tuple(seeds)
    _refuse_no_votes(experiment, prepared := tuple(prepared))
    resources = experiment.resources
    planned: list[PlannedFold] = []
    for entry in prepared:
        table = entry.corpus.table
        by_seed = {seed: make_folds(table, protocol, seed=seed) for seed in seeds}
        names = [fold.name for fold in by_seed[seeds[0]]]
        for name in only:
            if name not in names:
                raise ProtocolError(
                    f"evaluate.folds: {entry.corpus.name} has no fold {name!r}; "
                    f"its folds: {', '.join(names)}"
                )
        for index, name in enumerate(names):
            if only and name not in only:
                continue
            for seed in seeds:
                fold = by_seed[seed][index]
                task = FoldTask(
                    corpus=entry.corpus.name,
                    fold=fold.name,
                    seed=seed,
                    recipe=experiment.recipe,
                    features=experiment.features,
                    emotions=entry.corpus.emotions,
                    train=Utterances.of(table, fold.train, emotions=entry.corpus.emotions),
                    validation=Utterances.of(
                        table, fold.validation, emotions=entry.corpus.emotions
                    ),
                    frames=entry.frames,
                    encoder=entry.encoder,
                    threads=resources.trial.cpus,
                    device=device_of(experiment),
                    teacher_workers=resources.teacher_workers,
                    student_workers=resources.student_workers,
                )
                planned.append(PlannedFold(prepared=entry, fold=fold, task=task, protocol=protocol))
    return planned


def _refuse_no_votes(experiment: Experiment, prepared: Sequence[Prepared]) -> None:
    """Raise where a recipe learns from votes and a corpus has none."""
    recipe = experiment.recipe
    wanted = {"recipe.training.targets": recipe.training.targets}
    if recipe.teacher is not None and recipe.teacher.training is not None:
        wanted["recipe.teacher.training.targets"] = recipe.teacher.training.targets
    for key, targets in wanted.items():
        for corpus in (entry.corpus for entry in prepared):
            if targets == "votes" and not (corpus.table["votes"] != "").any():
                raise ExperimentError(
                    f"{key} is 'votes', but corpus {corpus.name!r} has none; use targets: "
                    "majority, or a corpus with annotators' votes"
                )
