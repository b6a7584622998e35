"""What an experiment would run, on what, and what of it the store has; nothing is run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from models.macs import count_parameters
from models.satn import Satn
from orchestrator.capacity.memory_probe import MemoryProbe
from orchestrator.capacity.resources_plan import ResourcesPlan, resources_plan
from orchestrator.capacity.step_time import StudentClock
from orchestrator.evaluation.sealed import evaluation_jobs
from orchestrator.evaluation.selection import promised
from orchestrator.experiment import Experiment
from orchestrator.packing import Handle
from orchestrator.planned_folds import FoldsPlan, folds_planned
from orchestrator.preparation import Prepared, plan_folds, read_corpora
from orchestrator.store import Store
from orchestrator.sweep.nested import NestedCost, inner_planned, nested_cost
from orchestrator.sweep.plan import PrunerPlan, SearchPlan, plan_search
from orchestrator.sweep.probing import probe_space
from orchestrator.sweep.space import SearchSpace
from orchestrator.sweep.space_checks import checked_space
from orchestrator.teachers_to_fit import Networks, networks_of, networks_of_trials, present
from orchestrator.tracking.address import absolute_uri
from orchestrator.training.networks import build_network
from orchestrator.training.student import student_key
from orchestrator.training.task import UnlabelledSpeech


@dataclass(frozen=True)
class CorpusPlan:
    """A corpus as it will be used."""

    name: str
    utterances: int
    speakers: int
    emotions: Mapping[str, int]
    """Utterances of each."""
    mean_seconds: float
    stored: Mapping[str, tuple[int | None, int]]
    """Of features, and of encoder outputs or waveforms: shards that the store has (None: a remote
    store is not searched), and shards in all."""


@dataclass(frozen=True)
class UnlabelledPlan:
    """Speech without labels that students may hear."""

    utterances: Mapping[str, int]
    """Of each corpus."""
    stored: Mapping[str, tuple[int | None, int]]
    """As for a corpus."""


@dataclass(frozen=True)
class NestedPlan:
    """What the searches inside the folds of an evaluation would run."""

    cost: NestedCost
    pruner: PrunerPlan
    """On the inner folds of one fold."""
    constrained: bool
    """Whether a trial may be beyond a constraint, and run nothing."""
    networks: Networks
    student_seconds: float | None
    """As of a sweep: by the recipe as written."""


@dataclass(frozen=True)
class EvaluationPlan:
    """What the evaluation would run."""

    selection: str
    promised: str
    """Where each fold has a recipe of its own: what may be expected of its scores; else empty."""
    nested: NestedPlan | None
    folds: tuple[FoldsPlan, ...]
    fold_runs: Mapping[str, int]
    """Of each system."""
    students: tuple[int | None, int]
    """Distinct students of the recipe as written that the store has (None: a remote store is not
    searched), and all of them."""
    networks: Networks
    student_seconds: float | None
    """Of the students, those that the store has among them."""


@dataclass(frozen=True)
class StudentPlan:
    """The student of the recipe as written."""

    kind: str
    parameters: int
    receptive_frames: int | None
    """What one step of its convolutions over time hears; None where it has none such."""
    receptive_seconds: float | None


@dataclass(frozen=True)
class RecogniserPlan:
    """A speech recogniser that students learn to attend from."""

    corpus: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    """Speakers."""
    utterances: tuple[int, int]
    """Of both, or strings of them."""
    heard: str
    """Which of the two: ``utterances`` or ``strings of utterances``."""
    updates: int
    present: bool | None
    """Whether the store has it; None where that cannot be seen."""


@dataclass(frozen=True)
class Plan:
    """What an experiment would run."""

    experiment: str
    variant: str | None
    corpora: tuple[CorpusPlan, ...]
    unlabelled: UnlabelledPlan | None
    student: StudentPlan
    recognisers: tuple[RecogniserPlan, ...]
    search: SearchPlan | None
    evaluation: EvaluationPlan
    resources: ResourcesPlan

    def facts(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


def plan(experiment: Experiment, *, progress: Callable[[int, int], None] | None = None) -> Plan:
    """Read the corpora, deal the folds, probe the space, and count; nothing is trained or stored.

    A few updates of the student are timed on synthetic frames, for a rough time, and a fold run in
    miniature shows what memory a real one needs, unless the store's folder remembers that.

    Args:
        experiment: stays as it is.
        progress: called with (files heard, files) of each corpus.

    Raises:
        ExperimentError: the space is unknown or does not go with the recipe, nothing in it meets
            the constraints, or the study of this name belongs to another recipe, search or corpus.
        InputError: runs can never be kept at the tracking URI.
        CorpusError, ProtocolError, PretrainedError: the input cannot be used.
    """
    absolute_uri(experiment.tracking.uri)  # raises where runs can never be kept
    space = None if experiment.search is None else checked_space(experiment)
    store = Store(experiment.store)
    prepared = read_corpora(experiment, store, progress=progress)
    lengths = {entry.corpus.name: _mean_seconds(entry) for entry in prepared}
    clock = StudentClock(experiment.resources, lengths)
    with MemoryProbe.of(experiment, prepared, memory=store.folder) as probe:
        return _plan(experiment, prepared, space=space, store=store, clock=clock, probe=probe)


def _plan(
    experiment: Experiment,
    prepared: tuple[Prepared, ...],
    *,
    space: SearchSpace | None,
    store: Store,
    clock: StudentClock,
    probe: MemoryProbe,
) -> Plan:
    return Plan(
        experiment=experiment.name,
        variant=experiment.variant,
        corpora=tuple(_corpus(entry, store) for entry in prepared),
        unlabelled=_unlabelled(prepared, store),
        student=_student(experiment, classes=len(prepared[0].corpus.emotions)),
        recognisers=_recognisers(prepared, store),
        search=None
        if space is None
        else plan_search(experiment, prepared, space=space, store=store, clock=clock),
        evaluation=_evaluation(experiment, prepared, store=store, clock=clock),
        # last, since it is measured meanwhile
        resources=resources_plan(experiment.resources, clock.unmeasured, probe),
    )


def _corpus(entry: Prepared, store: Store) -> CorpusPlan:
    table = entry.corpus.table
    return CorpusPlan(
        name=entry.corpus.name,
        utterances=len(table),
        speakers=int(table["speaker"].nunique()),
        emotions={name: int((table["emotion"] == name).sum()) for name in entry.corpus.emotions},
        mean_seconds=_mean_seconds(entry),
        stored=_stored(entry, store),
    )


def _mean_seconds(entry: Prepared) -> float:
    return float(entry.corpus.table["duration"].mean())


def _unlabelled(prepared: Iterable[Prepared], store: Store) -> UnlabelledPlan | None:
    speech = next((entry.unlabelled for entry in prepared if entry.unlabelled), None)
    if speech is None:
        return None
    return UnlabelledPlan(
        utterances={corpus.name: len(corpus.table) for corpus in speech.corpora},
        stored=_stored(speech.speech, store),
    )


def _student(experiment: Experiment, *, classes: int) -> StudentPlan:
    section = experiment.recipe.student
    with torch.random.fork_rng():
        network = build_network(section, features=experiment.features, classes=classes)
    frames = network.encoder.tcn.receptive_field if isinstance(network, Satn) else None
    features = experiment.features
    return StudentPlan(
        kind=section.kind,
        parameters=count_parameters(network),
        receptive_frames=frames,
        receptive_seconds=None
        if frames is None
        else (frames - 1) * features.hop_seconds + features.window_seconds,
    )


def _recognisers(prepared: Iterable[Prepared], store: Store) -> tuple[RecogniserPlan, ...]:
    sources = next((entry.sources for entry in prepared if entry.sources), None)
    found = []
    for one in sources.recognisers.values() if sources else ():
        task, settings = one.task, one.task.section.training
        per_epoch = math.ceil(len(task.train.ids) / settings.batch_size)
        there = present(store, "recogniser", {task.key(store)})
        found.append(
            RecogniserPlan(
                corpus=task.corpus,
                train=tuple(sorted(set(task.train.speakers))),
                validation=tuple(sorted(set(task.validation.speakers))),
                utterances=(len(task.train.ids), len(task.validation.ids)),
                heard="strings of utterances" if task.section.strings else "utterances",
                updates=settings.epochs * (settings.updates_per_epoch or per_epoch),
                present=None if there is None else bool(there),
            )
        )
    return tuple(found)


def _stored(inputs: Prepared | UnlabelledSpeech, store: Store) -> dict[str, tuple[int | None, int]]:
    stages: dict[str, tuple[str, Handle | None]] = {
        "features": ("features", inputs.frames),
        "encoder outputs": ("encoder", inputs.encoder),
        "waveforms": ("waveforms", inputs.waveforms),
        **{
            f"states of attention source {number}": ("encoder", handle)
            for number, handle in enumerate(inputs.attended.values(), start=1)
        },
    }
    return {
        what: (present(store, stage, set(handle.keys)), len(set(handle.keys)))
        for what, (stage, handle) in stages.items()
        if handle is not None
    }


def _evaluation(
    experiment: Experiment, prepared: tuple[Prepared, ...], *, store: Store, clock: StudentClock
) -> EvaluationPlan:
    settings = experiment.evaluate
    planned = plan_folds(
        experiment,
        prepared,
        protocol=experiment.protocol,
        seeds=settings.seeds,
        only=settings.folds,
    )
    jobs = evaluation_jobs(experiment, planned)
    students = {student_key(job.task, store) for job in jobs if job.role == "student"}
    return EvaluationPlan(
        selection=settings.selection,
        promised=_promised(experiment),
        nested=_nested(experiment, prepared, store=store, clock=clock),
        folds=folds_planned(planned, experiment.protocol),
        fold_runs=dict(Counter(str(job.system) for job in jobs)),
        students=(present(store, "student", students), len(students)),
        networks=networks_of([(job.task, job.role) for job in jobs], store),
        student_seconds=clock.of(job.task for job in jobs if job.role == "student"),
    )


def _promised(experiment: Experiment) -> str:
    how, search = experiment.evaluate.selection, experiment.search
    if search is None or how not in ("per-fold", "nested"):
        return ""
    told = {"sweep": experiment.name, "sampler": search.sampler, "pruner": search.pruner.kind}
    return promised(told, how)


def _nested(
    experiment: Experiment, prepared: tuple[Prepared, ...], *, store: Store, clock: StudentClock
) -> NestedPlan | None:
    search = experiment.search
    if experiment.evaluate.selection != "nested" or search is None:
        return None
    trials = experiment.evaluate.inner_search.trials
    inner = inner_planned(experiment, prepared)
    tasks = [entry.task for planned in inner.values() for entry in planned]
    probe = probe_space(experiment)
    seconds = clock.of(task.with_recipe(experiment.recipe) for task in tasks)
    return NestedPlan(
        cost=nested_cost(experiment, prepared),
        pruner=PrunerPlan.of(search, folds=experiment.evaluate.inner_search.inner_folds),
        constrained=bool(search.constraints),
        networks=networks_of_trials(tasks, probe.recipes, trials=trials, store=store),
        student_seconds=None if seconds is None else seconds * trials,
    )
