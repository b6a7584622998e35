"""Before any fold run: corpora, features and frozen encoder outputs, then the folds' tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.corpora import Corpus, load_corpus
from orchestrator.encoder_outputs import EncoderHandle, encoder_handle, encoder_shards
from orchestrator.errors import ProtocolError
from orchestrator.experiment import Experiment
from orchestrator.experiment.protocol import ProtocolSection
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
    labels: Mapping[str, str] | None = None
    """How the corpus's emotions were renamed or merged, if they were."""

    def describe(self, protocol: ProtocolSection) -> str:
        """The protocol string of results on this corpus (law 7)."""
        return protocol_string(
            protocol, self.corpus.table, name=self.corpus.name, labels=self.labels
        )


@dataclass(frozen=True)
class PlannedFold:
    """One fold and seed of a corpus: what is trained, and which utterances are sealed."""

    prepared: Prepared
    fold: Fold
    task: FoldTask


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


def read_corpora(experiment: Experiment, store: Store) -> tuple[Prepared, ...]:
    """Load and check every corpus and the teacher's folder; computes nothing yet.

    The handles say where features and encoder outputs will be once :func:`compute_inputs` has run.

    Raises:
        CorpusError: a corpus is missing or damaged.
        PretrainedError: the teacher's folder is no speech encoder.
    """
    teacher = experiment.recipe.teacher
    prepared = []
    for section in experiment.corpora:
        corpus = load_corpus(section)
        encoder = None
        if isinstance(teacher, PretrainedTeacher):
            encoder = encoder_handle(corpus, teacher, store=store, device=device_of(experiment))
        frames = pack_handle(corpus, experiment.features, store=store)
        prepared.append(Prepared(corpus, frames, encoder, section.labels))
    return tuple(prepared)


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
    for entry in prepared:
        corpus = entry.corpus
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
                planned.append(PlannedFold(prepared=entry, fold=fold, task=task))
    return planned
