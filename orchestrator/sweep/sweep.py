"""The sweep: Tune over trials, each scored on the validation of its folds."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from ray import tune
from rich.console import Console

from orchestrator.capacity.memory_probe import MemoryProbe
from orchestrator.capacity.slots import Slots, process_asks
from orchestrator.cluster_session import connect, fold_runs_at_once, packed, shards_on_ray
from orchestrator.errors import ExperimentError, StoreError, UnderstudyError
from orchestrator.experiment import Experiment
from orchestrator.experiment.recipe import Recipe
from orchestrator.experiment.search import Search
from orchestrator.preparation import Prepared, compute_inputs, read_corpora
from orchestrator.progress import Progress
from orchestrator.recorded import ended_by_errors
from orchestrator.store import Store
from orchestrator.store.use import using
from orchestrator.sweep.budget import Budget
from orchestrator.sweep.checking import check_draws, check_search, refuse_resources
from orchestrator.sweep.nested import inner_planned, inner_protocols
from orchestrator.sweep.samplers import refuse_sampler
from orchestrator.sweep.scheduler import FoldScheduler
from orchestrator.sweep.search_run import SearchRun, tasks_by_place
from orchestrator.sweep.searcher import StudySearcher
from orchestrator.sweep.space_checks import checked_space
from orchestrator.sweep.study import carried_of, open_study
from orchestrator.sweep.summary import SweepSummary, summarise
from orchestrator.sweep.trial import TrialActor, TrialContext
from orchestrator.sweep.watch import Watch
from orchestrator.teachers_to_fit import teachers_of_trials
from orchestrator.tracking.service import start_tracking
from orchestrator.tracking.tree import RunTree
from orchestrator.training.task import FoldTask

Plan = Callable[[Store, tuple[Prepared, ...]], tuple[list[SearchRun], Sequence[Recipe]]]
"""The searches of a command, once the corpora are read, and recipes of random draws."""


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
    spent: bool = False
    """Whether ``search.max_hours`` have passed, so that no further trial begins."""

    @property
    def finished(self) -> bool:
        """Whether every planned trial has ended, or the hours are spent."""
        summary = self.summary
        return summary.ended >= summary.planned or (self.spent and not summary.running)


@dataclass(frozen=True)
class SearchesOutcome:
    """What became of the searches of one command."""

    searches: Mapping[str, SweepOutcome]
    """By name: the fold that a search is inside of. What was computed and reused is told of the
    first, for all of them together."""
    studies: Mapping[str, optuna.Study]

    @property
    def finished(self) -> bool:
        """Whether all of them are."""
        return all(outcome.finished for outcome in self.searches.values())


def run_sweep(experiment: Experiment, *, console: Console) -> SweepOutcome:
    """Run, or continue, the sweep of an experiment.

    The same command again goes on where a finished, failed or killed one stopped: ended trials
    count, unfinished ones keep their number and parameters, and their finished fold runs come from
    the store.

    Raises:
        ExperimentError: there is no search section, its space does not go with the recipe, or the
            study of this name belongs to another recipe, protocol or corpus.
        CorpusError, ProtocolError, PretrainedError: the input cannot be used.
        StoreError: the study cannot be written any more.
    """
    search = _search_of(experiment)
    refuse_resources(experiment.resources)
    space = checked_space(experiment)

    def plan(
        store: Store, prepared: tuple[Prepared, ...]
    ) -> tuple[list[SearchRun], Sequence[Recipe]]:
        probe, planned = check_search(experiment, prepared)
        study = open_study(experiment, store, prepared)
        protocol = search.protocol or experiment.protocol
        told = "; ".join(entry.describe(protocol) for entry in prepared)
        some = f" | some folds only: {', '.join(search.folds)}" if search.folds else ""
        run = SearchRun(
            study=study,
            space=space,
            tasks=tasks_by_place(planned),
            trials=search.trials,
            protocol=told + some,
            carried=carried_of(study),
        )
        return [run], probe.recipes

    (outcome,) = _run(experiment, console=console, root="sweep", plan=plan).searches.values()
    return outcome


def run_nested(experiment: Experiment, *, console: Console) -> SearchesOutcome:
    """Run, or continue, the search inside each fold of the evaluation (``selection: nested``).

    One Tune run serves them all, so that actors stay warm from one to the next.

    Raises:
        ExperimentError, CorpusError, ProtocolError, PretrainedError, StoreError: as
            :func:`run_sweep`.
    """
    inner_search = experiment.evaluate.inner_search
    search = _search_of(experiment).model_copy(update={"trials": inner_search.trials})
    refuse_resources(experiment.resources)
    refuse_sampler(search)
    space = replace(checked_space(experiment), search=search)

    def plan(
        store: Store, prepared: tuple[Prepared, ...]
    ) -> tuple[list[SearchRun], Sequence[Recipe]]:
        probe, _ = check_draws(experiment, prepared)
        inner = inner_planned(experiment, prepared)
        protocols = inner_protocols(experiment, inner)
        runs = []
        for place, planned in inner.items():
            study = open_study(experiment, store, prepared, inner=place)
            runs.append(
                SearchRun(
                    study=study,
                    space=space,
                    tasks=tasks_by_place(planned),
                    trials=search.trials,
                    protocol=protocols[place],
                    carried=carried_of(study),
                    name=place,
                )
            )
        return runs, probe.recipes

    return _run(experiment, console=console, root="nested", plan=plan)


def _search_of(experiment: Experiment) -> Search:
    if experiment.search is None:
        raise ExperimentError(
            f"{experiment.name}: there is no search section, so there is nothing to sweep; "
            "add one, or use `understudy evaluate`"
        )
    return experiment.search


def _run(experiment: Experiment, *, console: Console, root: str, plan: Plan) -> SearchesOutcome:
    """Run the searches that ``plan`` makes, one Tune run for all of them."""
    search = _search_of(experiment)
    store = Store(experiment.store, used_by=experiment.name)
    with (
        Progress(f"{root} {experiment.name}", console) as progress,
        contextlib.ExitStack() as stack,
    ):
        prepared = read_corpora(experiment, store, progress=progress.hearing)
        command = f"the {root} {experiment.name!r}"
        stack.enter_context(using(store, command=command, alone_as=f"{root}-{experiment.name}"))
        runs, recipes = plan(store, prepared)
        before = [_summary(run, search) for run in runs]
        remaining = sum(run.remaining for run in runs)
        budget = Budget(search.max_hours, [run.study for run in runs])
        working = remaining > 0 and not budget.spent
        tree = RunTree(store, experiment.name, root)
        if working:
            probe = MemoryProbe.of(experiment, prepared, memory=store.folder)
            stack.enter_context(probe)
        progress.enter("starting Ray")
        connect(experiment.resources)
        fold_runs_at_once(experiment.resources)  # raises where not one fits
        tracking = start_tracking(
            store.uri, uri=experiment.tracking.uri, experiment=experiment.name, prefix=tree.prefix
        )
        top = _start_runs(tree, experiment, runs, root=root)
        watch = Watch(progress, tree, search)
        watch.resume(before)
        earlier = [
            _fold_runs_of_ended(run, summary) for run, summary in zip(runs, before, strict=True)
        ]
        with ended_by_errors(top, tracking):
            if working:
                compute_inputs(
                    experiment,
                    prepared,
                    store,
                    run_shards=shards_on_ray(experiment.resources, progress),
                    tree=tree,
                )
                _fit_teachers(experiment, runs, recipes, store, progress)
                slots = packed(experiment.resources, probe, progress)
                progress.enter(
                    "trials",
                    fold_runs=sum(earlier) + sum(run.remaining * run.fold_runs for run in runs),
                    trials=sum(run.planned for run in runs),
                    earlier=sum(earlier),
                    trials_earlier=sum(run.planned - run.remaining for run in runs),
                )
                run_trials(
                    TrialContext(
                        experiment=experiment,
                        tasks={
                            run.name: {
                                place: _asking(tasks, slots) for place, tasks in run.tasks.items()
                            }
                            for run in runs
                        },
                        store=store,
                        tree=tree,
                    ),
                    StudySearcher(runs, listener=watch, budget=budget),
                    trials=remaining,
                    slots=slots,
                )
        after = [_summary(run, search) for run in runs]
        outcomes = [
            SweepOutcome(
                summary=summary,
                computed=watch.computed if place == 0 else 0,
                reused=watch.reused if place == 0 else 0,
                earlier=earlier[place],
                pending=0,
                spent=budget.spent,
            )
            for place, summary in enumerate(after)
        ]
        _end_runs(tree, top, runs, outcomes, search)
        pending = tracking.close(timeout=60.0)
    return SearchesOutcome(
        searches={
            run.name: replace(outcome, pending=pending)
            for run, outcome in zip(runs, outcomes, strict=True)
        },
        studies={run.name: run.study for run in runs},
    )


def _summary(run: SearchRun, search: Search) -> SweepSummary:
    return summarise(run.study, metric=search.metric, planned=run.planned, folds=len(run.tasks))


def _fold_runs_of_ended(run: SearchRun, summary: SweepSummary) -> int:
    """Fold runs that need not be asked for again."""
    return sum(
        len(run.tasks.get(place, ()))
        for trial in summary.trials
        if trial["ended"]
        for place in trial["folds"]
    )


def _fit_teachers(
    experiment: Experiment,
    runs: Sequence[SearchRun],
    recipes: Sequence[Recipe],
    store: Store,
    progress: Progress,
) -> None:
    """The teachers that all trials share, before any student: nobody waits for one in a trial."""
    tasks = [task for run in runs for seeds in run.tasks.values() for task in seeds]
    if fits := teachers_of_trials(tasks, recipes, store):
        shards_on_ray(experiment.resources, progress)("teachers", fits)


def run_trials(
    context: TrialContext, searcher: StudySearcher, *, trials: int, slots: Slots
) -> None:
    """Run trials in warm actors, as many at once as there are slots.

    Args:
        context: what the trials share.
        searcher: proposes them and is told of them.
        trials: the most that it will propose.
        slots: fold runs at once.

    Raises:
        StoreError: the study could not be read or written; what it held is kept.
        UnderstudyError: as it was raised in the space or the study.
    """
    searcher.budget.start()
    # its warnings advise Tuner.restore; ours is to run the same command again
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    bundle = process_asks(context.experiment.resources, slots)
    trainable = tune.with_resources(tune.with_parameters(TrialActor, context=context), bundle)
    with tempfile.TemporaryDirectory() as scratch:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=FoldScheduler(searcher.hear),
                num_samples=trials,
                # a custom searcher otherwise gets one pending trial at a time
                max_concurrent_trials=min(slots.at_once, trials),
                reuse_actors=True,
            ),
            # the study and the store are the state; what Tune writes beside them is not kept
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=2),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
            ),
        ).fit()
    problem = searcher.problem
    if isinstance(problem, UnderstudyError):
        raise problem
    if problem is not None:
        raise StoreError(
            f"the study could not be read or written ({type(problem).__name__}: {problem}); what "
            "it held is kept, and the same command goes on from there"
        ) from problem


def _start_runs(
    tree: RunTree, experiment: Experiment, runs: Sequence[SearchRun], *, root: str
) -> Any:
    search = _search_of(experiment)
    top = tree.journal()
    shared = {
        "space": search.space or "",
        "metric": search.metric,
        "sampler": search.sampler,
        "pruner": search.pruner.kind,
    }
    top.start(
        name=f"{root} {experiment.name}",
        parent=None,
        params=shared,
        tags={
            "understudy.kind": root,
            "understudy.protocol": "; ".join(run.protocol for run in runs),
        },
    )
    for run in runs:
        if run.name:
            tree.journal(run.name).start(
                name=f"search inside {run.name}",
                parent=tree.key(),
                params=shared,
                tags={"understudy.kind": "sweep", "understudy.protocol": run.protocol},
            )
    return top


def _end_runs(
    tree: RunTree,
    top: Any,
    runs: Sequence[SearchRun],
    outcomes: Sequence[SweepOutcome],
    search: Search,
) -> None:
    ends = []
    for run, outcome in zip(runs, outcomes, strict=True):
        summary = outcome.summary
        journal = tree.journal(run.name) if run.name else top
        counts = {
            f"trials/{state}": float(getattr(summary, state))
            for state in ("complete", "pruned", "infeasible", "failed")
        }
        best = summary.best_value
        leads = {} if best is None else {f"best/validation_{search.metric}": best}
        if summary.ended:
            journal.metrics(counts | leads, step=summary.ended)
        ends.append(_end(outcome))
        if run.name:
            journal.end(ends[-1][0], reason=ends[-1][1])
    worst = next((end for end in ends if end[0] == "KILLED"), None) or max(
        ends, key=lambda end: end[0] == "FAILED"
    )
    top.end(worst[0], reason=worst[1])


def _end(outcome: SweepOutcome) -> tuple[Any, str]:
    if not outcome.finished:
        return "KILLED", "interrupted; the same command goes on from here"
    if not outcome.summary.complete:
        return "FAILED", "no trial is complete"
    return "FINISHED", ""


def _asking(tasks: tuple[FoldTask, ...], slots: Slots) -> tuple[FoldTask, ...]:
    return tuple(replace(task, memory=slots.memory) for task in tasks)
