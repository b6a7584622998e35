"""The sweep: Tune over trials, each scored on the validation of its folds."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import optuna
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from rich.console import Console

from orchestrator.capacity.memory_probe import MemoryProbe
from orchestrator.capacity.slots import Slots, process_asks
from orchestrator.cluster_session import connect, fold_runs_at_once, packed, shards_on_ray
from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.evaluate import Selected
from orchestrator.experiment.loading import override_recipe
from orchestrator.preparation import PlannedFold, compute_inputs, plan_folds, read_corpora
from orchestrator.progress import Progress
from orchestrator.recorded import ended_by_errors
from orchestrator.store import Store
from orchestrator.store.use import using
from orchestrator.sweep.searcher import StudySearcher
from orchestrator.sweep.study import (
    BELONGS_TO,
    SweepSummary,
    best_trial,
    load_study,
    open_study,
    overrides_of,
    recipe_and_features,
    summarise,
)
from orchestrator.sweep.trial import TrialActor, TrialContext, trial_recipe
from orchestrator.tracking.service import start_tracking
from orchestrator.tracking.tree import RunTree
from orchestrator.training.task import FoldTask
from search_spaces import SpaceError, get_space

_DRAWS = 64
"""Of a space, checked before a sweep begins."""


@dataclass(frozen=True)
class SweepOutcome:
    """A sweep's summary and what this call of it computed."""

    summary: SweepSummary
    computed: int
    """Fold runs trained now."""
    reused: int
    """Fold runs whose students the store already had."""
    earlier: int
    """Fold runs of trials that had ended before."""
    pending: int
    """Journal segments that have not reached MLflow."""

    @property
    def finished(self) -> bool:
        """Whether every planned trial has ended."""
        return self.summary.complete + self.summary.failed >= self.summary.planned


class _Watch(tune.Callback):
    """Hands what Tune learns to the progress display."""

    def __init__(
        self, progress: Progress, study: optuna.Study, metric: str, *, folds: int, seeds: int
    ) -> None:
        self.progress = progress
        self.study = study
        self.metric = metric
        self.folds = folds
        self.seeds = seeds
        self.computed = 0
        self.reused = 0
        self._counted: dict[int, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that is never done here."""
        return {}

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """One fold of one trial is done."""
        number = trial.config["number"]
        if result.get("failed"):
            self._failed(number, result["failed"])
            return
        folds = len(json.loads(result["folds"]))
        if folds <= self._counted.get(number, 0):
            return  # a trial begun again after its node was lost
        self._counted[number] = folds
        self.computed += result["computed"]
        self.reused += result["reused"]
        for reused in [False] * result["computed"] + [True] * result["reused"]:
            self.progress.fold_run(reused=reused)
        for note in json.loads(result["notes"]):
            self.progress.note(f"trial {number}, {note}")

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """One trial has ended."""
        self._ended()

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """One trial is given up: its actor was lost again and again."""
        self._failed(trial.config["number"], "its actor was lost")
        self._ended()

    def _failed(self, number: int, reason: str) -> None:
        missing = self.folds - self._counted.get(number, 0)
        self.progress.failure(f"trial {number}: {reason}", dropped=missing * self.seeds)

    def _ended(self) -> None:
        best = best_trial(self.study)
        value = None if best is None else best.value
        self.progress.trial(
            best=""
            if best is None or value is None
            else f"{self.metric} {100 * value:.1f} (trial {best.number}, validation)"
        )


def run_sweep(experiment: Experiment, *, console: Console) -> SweepOutcome:
    """Run, or continue, the sweep of an experiment.

    The same command again goes on where a finished, failed or killed one stopped: ended trials
    count, unfinished ones keep their number and parameters, and their finished fold runs come from
    the store.

    Raises:
        ExperimentError: there is no search section, the space is unknown, or the study of this name
            belongs to another recipe, protocol or corpus.
        CorpusError, ProtocolError, PretrainedError: the input cannot be used.
    """
    search = experiment.search
    if search is None:
        raise ExperimentError(
            f"{experiment.name}: there is no search section, so there is nothing to sweep; "
            "add one, or use `understudy evaluate`"
        )
    space = _checked_space(experiment)
    protocol = search.protocol or experiment.protocol
    store = Store(experiment.store, used_by=experiment.name)
    with (
        Progress(f"sweep {experiment.name}", console) as progress,
        contextlib.ExitStack() as stack,
    ):
        prepared = read_corpora(experiment, store, progress=progress.hearing)
        planned = plan_folds(experiment, prepared, protocol=protocol, seeds=search.seeds)
        command = f"the sweep {experiment.name!r}"
        stack.enter_context(using(store, command=command, alone_as=f"sweep-{experiment.name}"))
        study = open_study(experiment, store, prepared)
        searcher = StudySearcher(study, space, sampler=search.sampler, seed=search.seed)
        before = summarise(study, metric=search.metric, planned=search.trials)
        remaining = max(0, search.trials - before.complete - before.failed)
        tree = RunTree(store, experiment.name, "sweep")
        if remaining:
            probe = MemoryProbe.of(experiment, prepared, memory=store.folder)
            stack.enter_context(probe)
        progress.enter("starting Ray")
        connect(experiment.resources)
        fold_runs_at_once(experiment.resources)  # raises where not one fits
        tracking = start_tracking(
            store.uri, uri=experiment.tracking.uri, experiment=experiment.name, prefix=tree.prefix
        )
        top = tree.journal()
        top.start(
            name=f"sweep {experiment.name}",
            parent=None,
            params={"space": search.space, "metric": search.metric, "sampler": search.sampler},
            tags={
                "understudy.kind": "sweep",
                "understudy.protocol": "; ".join(entry.describe(protocol) for entry in prepared),
            },
        )
        tasks = _tasks(planned)
        watch = _Watch(progress, study, search.metric, folds=len(tasks), seeds=len(search.seeds))
        folds_earlier = sum(len(trial["folds"]) for trial in before.trials if trial["ended"])
        earlier = folds_earlier * len(search.seeds)
        with ended_by_errors(top, tracking):
            if remaining:
                compute_inputs(
                    experiment,
                    prepared,
                    store,
                    run_shards=shards_on_ray(experiment.resources, progress),
                    tree=tree,
                )
                slots = packed(experiment.resources, probe, progress)
                progress.enter(
                    "trials",
                    fold_runs=earlier + remaining * len(planned),
                    trials=search.trials,
                    earlier=earlier,
                    trials_earlier=search.trials - remaining,
                )
                _run_trials(
                    TrialContext(
                        experiment=experiment,
                        tasks={name: _asking(own, slots) for name, own in tasks.items()},
                        store=store,
                        tree=tree,
                    ),
                    searcher,
                    watch,
                    remaining=remaining,
                    slots=slots,
                    experiment=experiment,
                )
        summary = summarise(study, metric=search.metric, planned=search.trials)
        if summary.best_value is not None:
            top.metrics(
                {
                    f"best/validation_{search.metric}": summary.best_value,
                    "trials/complete": float(summary.complete),
                    "trials/failed": float(summary.failed),
                },
                step=summary.complete + summary.failed,
            )
        if summary.complete + summary.failed < search.trials:
            top.end("KILLED", reason="interrupted; the same command goes on from here")
        elif not summary.complete:
            top.end("FAILED", reason="every trial failed")
        else:
            top.end("FINISHED")
        pending = tracking.close(timeout=60.0)
    return SweepOutcome(
        summary=summary,
        computed=watch.computed,
        reused=watch.reused,
        earlier=earlier,
        pending=pending,
    )


def _run_trials(
    context: TrialContext,
    searcher: StudySearcher,
    watch: _Watch,
    *,
    remaining: int,
    slots: Slots,
    experiment: Experiment,
) -> None:
    resources = experiment.resources
    bundle = process_asks(resources, slots)
    # its warnings advise Tuner.restore; ours is to run the same command again
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    trainable = tune.with_resources(tune.with_parameters(TrialActor, context=context), bundle)
    with tempfile.TemporaryDirectory() as scratch:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=remaining,
                # a custom searcher otherwise gets one pending trial at a time
                max_concurrent_trials=min(slots.at_once, remaining),
                reuse_actors=True,
            ),
            # the study and the store are the state; what Tune writes beside them is not kept
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                verbose=0,
                callbacks=[watch],
                failure_config=tune.FailureConfig(max_failures=2),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
            ),
        )
        tuner.fit()


def _tasks(planned: list[PlannedFold]) -> dict[str, tuple[Any, ...]]:
    tasks = defaultdict(list)
    for entry in planned:
        tasks[f"{entry.task.corpus}/{entry.task.fold}"].append(entry.task)
    return {name: tuple(seeds) for name, seeds in tasks.items()}


def _asking(tasks: tuple[FoldTask, ...], slots: Slots) -> tuple[FoldTask, ...]:
    return tuple(replace(task, memory=slots.memory) for task in tasks)


def _checked_space(experiment: Experiment) -> Any:
    """The space, after draws that make valid recipes: what is wrong shows before any work.

    A conditional space has many branches, so there are many draws.
    """
    assert experiment.search is not None
    try:
        space = get_space(experiment.search.space)
    except SpaceError as error:
        raise ExperimentError(f"search.space: {error}") from error
    sampler = optuna.samplers.RandomSampler(seed=0)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    for _ in range(_DRAWS):
        trial_recipe(experiment, dict(space(study.ask())))
    return space


def best_of(experiment: Experiment, *, name: str) -> Experiment:
    """The experiment with the recipe of the best trial of sweep ``name``.

    Raises:
        ExperimentError: there is no such sweep, or none of its trials is complete.
    """
    store = Store(experiment.store)
    study = load_study(experiment, store, name=name)
    best = best_trial(study)
    if best is None:
        raise ExperimentError(
            f"no trial of the sweep {name!r} is complete, so there is no best one; "
            "look at why they failed in `understudy report FILE`, and sweep under a new name or "
            "with more search.trials"
        )
    swept = study.user_attrs.get(BELONGS_TO, {})
    ours = recipe_and_features(experiment)
    changed = [part for part in ours if swept.get(part) != ours[part]]
    if changed:
        raise ExperimentError(
            f"the sweep {name!r} searched around another {' and '.join(changed)} than the file "
            "has now, so its best trial says nothing about it; undo the change, sweep again under "
            "a new name, or evaluate without --best-of"
        )
    chosen = override_recipe(experiment, overrides_of(best))
    evaluate = chosen.evaluate.model_copy(update={"selection": "same-corpus"})
    selected = Selected.model_validate(
        {
            "sweep": name,
            "trial": best.number,
            "protocol": swept["search"]["protocol"],
            "protocols": swept["search"]["protocols"],
            "seeds": swept["search"]["seeds"],
            "fingerprints": swept["corpora"],
        }
    )
    return chosen.model_copy(update={"evaluate": evaluate, "selected": selected})
