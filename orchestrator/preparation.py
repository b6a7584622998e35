"""Before any fold run: corpora, features and frozen encoder outputs, then the folds' tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestrator.corpora import Corpus
from orchestrator.corpus_inputs import Build, Inputs, device_of, source_recipes, stages
from orchestrator.corpus_reading import joint_corpora, load_corpora, load_unlabelled
from orchestrator.encoder_outputs import EncoderHandle
from orchestrator.errors import ProtocolError
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import ablation_recipes
from orchestrator.experiment.protocol import Official, ProtocolSection
from orchestrator.features import PackHandle
from orchestrator.listeners import refuse_unasked
from orchestrator.protocols import Fold, make_folds, protocol_string
from orchestrator.source_encoder import refuse_heads
from orchestrator.speech_sources import PreparedSources, read_sources
from orchestrator.store import Store
from orchestrator.tracking.tree import RunTree
from orchestrator.training.task import FoldTask, Utterances
from orchestrator.unlabelled_speech import PreparedSpeech

RunShards = Callable[[str, Sequence[Build]], None]
"""Runs the shards of a named stage, wherever and however many at once."""


@dataclass(frozen=True)
class Prepared:
    """A corpus with its features, and what the recipe's encoder needs, if it has one."""

    corpus: Corpus
    frames: PackHandle
    encoder: EncoderHandle | None
    parts: tuple[Corpus, ...]
    """The corpora whose features make up ``frames``: itself, or those it joins."""
    waveforms: PackHandle | None = None
    attended: Mapping[str, EncoderHandle] = field(default_factory=dict)
    """What pretrained sources of attention hear, by ``source_name``."""
    unlabelled: PreparedSpeech | None = None
    """Shared by all corpora of the experiment."""
    sources: PreparedSources | None = None
    """Recognisers; shared likewise."""
    own_protocol: ProtocolSection | None = None
    """What its section says in place of the experiment's."""

    def protocol(self, general: ProtocolSection) -> ProtocolSection:
        """How this corpus becomes folds: by its own protocol, or else by the ``general`` one.

        Its own goes before that of a search too, whose folds might otherwise train on what an
        official split tests.
        """
        return self.own_protocol or general

    def describe(self, protocol: ProtocolSection) -> str:
        """The protocol string of results on this corpus (law 7).

        Args:
            protocol: of the experiment or the search; the corpus's own goes before it.
        """
        corpus = self.corpus
        told = protocol_string(
            self.protocol(protocol),
            corpus.table,
            name=corpus.name,
            labels=corpus.labels,
            said=corpus.said,
            not_used=corpus.not_used,
            set_aside=len(corpus.set_aside),
        )
        shared = (self.unlabelled, self.sources)
        return told + "".join(one.describe() for one in shared if one is not None)

    def unit(self, protocol: ProtocolSection) -> Literal["speaker", "dialogue"]:
        """What claims count: speakers, or dialogues where the protocol lets roles share speakers.

        Utterances of one speaker, or of one dialogue, are no independent observations.

        Args:
            protocol: as :meth:`describe`.
        """
        protocol = self.protocol(protocol)
        whole = bool((self.corpus.table["dialogue"] != "").all())
        return "dialogue" if isinstance(protocol, Official) and whole else "speaker"


@dataclass(frozen=True)
class PlannedFold:
    """One fold and seed of a corpus: what is trained, and which utterances are sealed."""

    prepared: Prepared
    fold: Fold
    task: FoldTask
    protocol: ProtocolSection

    @property
    def place(self) -> str:
        """Its corpus and fold, as sweeps and choices name them: ``emodb/speaker=03``."""
        return f"{self.task.corpus}/{self.fold.name}"


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
    unlabelled = load_unlabelled(experiment, corpora, memory=store.folder, progress=progress)
    speech = PreparedSpeech.of(unlabelled, experiment, store) if unlabelled else None
    refuse_heads(source_recipes(experiment).items())
    sources = read_sources(experiment, corpora, store, progress=progress)
    if len(together) < len(corpora):
        inputs = Inputs.joined(corpora, experiment, store)
        found = [_prepared(together[0], corpora, inputs, None)]
    else:
        found = [
            _prepared(corpus, (corpus,), Inputs.of(corpus, experiment, store), section.protocol)
            for corpus, section in zip(corpora, experiment.labelled, strict=True)
        ]
    return tuple(replace(entry, unlabelled=speech, sources=sources) for entry in found)


def _prepared(
    corpus: Corpus,
    parts: Sequence[Corpus],
    inputs: Inputs,
    protocol: ProtocolSection | None,
) -> Prepared:
    return Prepared(
        corpus=corpus,
        frames=inputs.frames,
        encoder=inputs.encoder,
        waveforms=inputs.waveforms,
        attended=inputs.attended,
        parts=tuple(parts),
        own_protocol=protocol,
    )


def compute_inputs(
    experiment: Experiment,
    prepared: Iterable[Prepared],
    store: Store,
    *,
    run_shards: RunShards = run_shards_here,
    tree: RunTree | None = None,
) -> None:
    """See to the features and encoder inputs of every corpus; what the store has is kept.

    Then the recognisers that students learn from are fitted.

    Args:
        tree: under whose top run a recogniser's course is told; default: nowhere.

    Raises:
        TrainingError: a recogniser cannot be fitted.
        PretrainedError: the encoder cannot be loaded, has no such layer, or is damaged.
        CorpusError: an audio file has gone.
    """
    prepared = tuple(prepared)
    labelled = [part for entry in prepared for part in entry.parts]
    speech = next((entry.unlabelled for entry in prepared if entry.unlabelled), None)
    for corpus in (*labelled, *(speech.corpora if speech else ())):
        for name, shards in stages(corpus, experiment, store):
            run_shards(name, shards)
    sources = next((entry.sources for entry in prepared if entry.sources), None)
    if sources is not None:
        for name, shards in sources.stages(experiment, store, tree=tree):
            run_shards(name, shards)


def corpora_of(prepared: Iterable[Prepared]) -> dict[str, Corpus]:
    """By name, every corpus that was read, those without labels too."""
    found: dict[str, Corpus] = {}
    for entry in prepared:
        heard = entry.unlabelled.corpora if entry.unlabelled else ()
        told = (entry.sources.transcribed,) if entry.sources else ()
        found |= {corpus.name: corpus for corpus in (entry.corpus, *heard, *told)}
    return found


def fingerprints_of(prepared: Iterable[Prepared]) -> dict[str, str]:
    """By name, the fingerprint of every corpus that was read, those without labels too."""
    return {name: corpus.fingerprint for name, corpus in corpora_of(prepared).items()}


def own_protocols(experiment: Experiment) -> dict[str, Any]:
    """By name, the protocols of corpora that have their own, as plain data."""
    return {
        section.title: section.protocol.model_dump(mode="json")
        for section in experiment.labelled
        if section.protocol is not None
    }


def plan_folds(
    experiment: Experiment,
    prepared: Iterable[Prepared],
    *,
    protocol: ProtocolSection,
    seeds: Iterable[int],
    only: Sequence[str] = (),
    key: str = "evaluate.folds",
) -> list[PlannedFold]:
    """Every (corpus, fold, seed) with its task, in that order.

    Args:
        protocol: of the experiment or the search; a corpus's own goes before it.
        only: names of the folds to keep, each of one corpus or several; default: all.
        key: of the experiment file that says ``only``, for messages.

    Raises:
        ProtocolError: the protocol cannot make valid folds, ``only`` names one that no corpus has,
            or a fold keeps no utterance apart for a recipe that needs some.
        ExperimentError: the recipe or an ablation asks for votes or agreement that a corpus lacks.
    """
    seeds, prepared = tuple(seeds), tuple(prepared)
    store = Store(experiment.store)
    recognisers = next((one.sources.keys(store) for one in prepared if one.sources), {})
    planned: list[PlannedFold] = []
    known: dict[str, list[str]] = {}
    for entry in prepared:
        own, table = entry.protocol(protocol), entry.corpus.table
        by_seed = [make_folds(table, own, seed=seed) for seed in seeds]
        known[entry.corpus.name] = [fold.name for fold in by_seed[0]]
        planned += [
            PlannedFold(
                entry,
                fold,
                _task(experiment, entry, fold, seed=seed, recognisers=recognisers),
                own,
            )
            for of_seeds in zip(*by_seed, strict=True)
            for seed, fold in zip(seeds, of_seeds, strict=True)
            if not only or fold.name in only
        ]
    for name in only:
        if not any(name in folds for folds in known.values()):
            told = "; ".join(f"{corpus}: {', '.join(folds)}" for corpus, folds in known.items())
            raise ProtocolError(f"{key}: there is no fold {name!r}; the folds of {told}")
    refuse_unasked(experiment, ((entry.prepared.corpus, entry.task) for entry in planned))
    recipes = (experiment.recipe, *ablation_recipes(experiment).values())
    if any(recipe.needs_held for recipe in recipes):
        _refuse_none_held(planned)
    return planned


def _refuse_none_held(planned: Iterable[PlannedFold]) -> None:
    """Raise where a share was to be kept apart and came to nothing."""
    for entry in planned:
        if not entry.fold.held:
            raise ProtocolError(
                f"{entry.task.corpus}, fold {entry.fold.name}: no training utterance is kept apart "
                "for recipe.meta; raise held_share (or held_speakers) of its protocol, or set "
                "recipe.meta: {kind: none}"
            )


def _task(
    experiment: Experiment,
    entry: Prepared,
    fold: Fold,
    *,
    seed: int,
    recognisers: Mapping[str, str],
) -> FoldTask:
    """What a fold run is given: nothing of the fold's test set."""
    emotions = entry.corpus.emotions
    resources = experiment.resources

    def utterances(ids: Sequence[str]) -> Utterances:
        return Utterances.of(entry.corpus.table, ids, emotions=emotions)

    return FoldTask(
        corpus=entry.corpus.name,
        fold=fold.name,
        seed=seed,
        recipe=experiment.recipe,
        features=experiment.features,
        emotions=emotions,
        train=utterances(fold.train),
        validation=utterances(fold.validation),
        frames=entry.frames,
        encoder=entry.encoder,
        waveforms=entry.waveforms,
        attended=entry.attended,
        recognisers=recognisers,
        held=utterances(fold.held) if fold.held else None,
        unlabelled=entry.unlabelled.speech if entry.unlabelled else None,
        threads=resources.trial.cpus,
        device=device_of(experiment),
        gpus=resources.trial.gpus,
        deterministic=resources.deterministic,
        device_share=resources.device_share,
        teacher_workers=resources.teacher_workers,
        student_workers=resources.student_workers,
        checkpoint_minutes=resources.checkpoint_minutes,
        checkpoint_epochs=resources.checkpoint_epochs,
    )
