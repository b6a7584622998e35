"""The sweep: Tune over trials, each scored on the validation of its folds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import ray
from rich.console import Console

from orchestrator.capacity.memory_probe import MemoryProbe
from orchestrator.capacity.slots import Slots
from orchestrator.cluster_session import connect, fold_runs_at_once, packed, shards_on_ray
from orchestrator.errors import ExperimentError, TrainingError
from orchestrator.experiment import Experiment
from orchestrator.experiment.recipe import Recipe
from orchestrator.experiment.search import Search
from orchestrator.preparation import Prepared, compute_inputs, read_corpora
from orchestrator.progress import Progress
from orchestrator.recorded import ended_by_errors
from orchestrator.run_origin import origin_tags
from orchestrator.store import Store
from orchestrator.store.use import using
from orchestrator.sweep.best_shown import show_best
from orchestrator.sweep.budget import Budget
from orchestrator.sweep.checking import check_draws, check_search, refuse_resources
from orchestrator.sweep.nested import inner_planned, inner_protocols
from orchestrator.sweep.outcome import SearchesOutcome, SweepOutcome
from orchestrator.sweep.samplers import refuse_sampler
from orchestrator.sweep.search_run import SearchRun, tasks_by_place
from orchestrator.sweep.searcher import StudySearcher
from orchestrator.sweep.space_checks import checked_space
from orchestrator.sweep.study import carried_of, open_study
from orchestrator.sweep.summary import SweepSummary, summarise
from orchestrator.sweep.top_runs import end_runs, start_runs
from orchestrator.sweep.trial import TrialContext
from orchestrator.sweep.tune_trials import run_trials
from orchestrator.sweep.watch import Watch
from orchestrator.teachers_to_fit import teachers_of_trials
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.service import start_tracking
from orchestrator.tracking.tree import RunTree
from orchestrator.training.task import FoldTask

Plan = Callable[[Store, tuple[Prepared, ...]], tuple[list[SearchRun], Sequence[Recipe]]]
"""The searches of a command, once the corpora are read, and recipes of random draws."""


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
    absolute_uri(experiment.tracking.uri)  # raises where runs can never be kept
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
        working = any(run.left for run in runs) or (remaining > 0 and not budget.spent)
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
        if tracking.problem:
            progress.note(f"{tracking.problem}; going on, what is recorded is kept and sent later")
        tags = origin_tags(prepared, protocols=[run.protocol for run in runs], seeds=search.seeds)
        earlier = [
            _fold_runs_of_ended(run, summary) for run, summary in zip(runs, before, strict=True)
        ]
        with ended_by_errors(tree.journal(), tracking):
            journals = start_runs(tree, experiment, runs, prepared, root=root, tags=tags)
            watch = Watch(progress, tree, search, above=journals, tags=tags)
            watch.resume({run.name: summary for run, summary in zip(runs, before, strict=True)})
            if working:
                compute_inputs(
                    experiment,
                    prepared,
                    store,
                    run_shards=shards_on_ray(experiment.resources, progress),
                    tree=tree,
                )
                _fit_teachers(experiment, runs, recipes, tree, progress)
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
            watch.flush()
            after = [_summary(run, search) for run in runs]
            outcomes = [
                SweepOutcome(
                    summary=summary,
                    computed=watch.computed if place == 0 else 0,
                    reused=watch.reused if place == 0 else 0,
                    earlier=earlier[place],
                    pending=0,
                    # of searches inside folds none may be shorter than the others
                    spent=budget.spent and root == "sweep",
                )
                for place, summary in enumerate(after)
            ]
            progress.enter("pictures and the best student")
            show_best(experiment, runs, after, tree=tree, journals=journals, note=progress.note)
            end_runs(journals, runs, outcomes, search)
        progress.enter("sending runs to MLflow")
        pending = tracking.close(timeout=60.0)
        if tracking.refused:
            progress.note(tracking.refused)
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
    tree: RunTree,
    progress: Progress,
) -> None:
    """The teachers that all trials share, before any student: nobody waits for one in a trial."""
    tasks = [task for run in runs for seeds in run.tasks.values() for task in seeds]
    try:
        if fits := teachers_of_trials(tasks, recipes, tree.store, tree=tree):
            shards_on_ray(experiment.resources, progress)("teachers", fits)
    except (TrainingError, ray.exceptions.RayTaskError):
        # not every trial may need it; those that do fit it again, and fail with its reason
        progress.note("a teacher could not be fitted; trials that need it will fail")


def _asking(tasks: tuple[FoldTask, ...], slots: Slots) -> tuple[FoldTask, ...]:
    return tuple(replace(task, memory=slots.memory) for task in tasks)
