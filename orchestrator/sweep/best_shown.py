"""What a sweep leaves to look at and to take away: pictures, and its best student as a model."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.bundle.files import bundle_files
from orchestrator.evaluation.stored import stored_sweep
from orchestrator.evaluation.sweep_plots import plot_sweep
from orchestrator.experiment import Experiment
from orchestrator.sweep.fold_students import best_student, model_facts, show_students, students_of
from orchestrator.sweep.search_run import SearchRun
from orchestrator.sweep.summary import SweepSummary
from orchestrator.sweep.trial import trial_place, trial_recipe
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tree import RunTree

SHOWN = 3
"""Trials of a front whose students are drawn."""
ALIAS = "best"
"""What the registry calls the newest version that a sweep has put there."""

log = logging.getLogger(__name__)


def show_best(
    experiment: Experiment,
    runs: Sequence[SearchRun],
    summaries: Sequence[SweepSummary],
    *,
    tree: RunTree,
    journals: Mapping[str, Journal],
) -> None:
    """Pictures of each search and of its best trial; of a plain sweep the best student, too.

    With several objectives the first trials of the front are shown, and none is registered: which
    of them is best is for somebody to say. Nothing in here fails a sweep that has ended.

    Args:
        experiment: that was searched.
        runs: its searches.
        summaries: where they stand.
        tree: of the command.
        journals: of the runs above the trials, by the names of searches.
    """
    for run, summary in zip(runs, summaries, strict=True):
        numbers = summary.front[:SHOWN]
        if summary.best_number is not None:
            numbers = (summary.best_number,)
        try:
            for number in numbers:
                _show_trial(experiment, run, summary, number, tree=tree, top=journals[run.name])
            if not run.name and summary.complete:
                _show_search(experiment, journals[""])
        except Exception as error:
            log.warning("pictures of %s could not be made: %s", run.name or "the sweep", error)


def _show_trial(
    experiment: Experiment,
    run: SearchRun,
    summary: SweepSummary,
    number: int,
    *,
    tree: RunTree,
    top: Journal,
) -> None:
    trial = next(row for row in summary.trials if row["number"] == number)
    recipe = trial_recipe(experiment, trial["overrides"])
    students = students_of(
        (task for seeds in run.tasks.values() for task in seeds), recipe, tree.store
    )
    if not students:
        return
    own = tree.journal(*trial_place(run.name, number))
    title = f"{experiment.name}, trial {number}"
    is_best = summary.best_number == number
    for journal in (own, top) if is_best else (own,):
        show_students(journal, students, title=title)
    if is_best and not run.name:
        best = best_student(students, metric=summary.metric)
        assert best is not None
        facts = model_facts(best) | {
            "experiment": experiment.name,
            "selection": f"trial {number} of a sweep by validation {summary.metric}, and of its "
            "fold runs the best on its own validation",
            "protocol": run.protocol,
        }
        own.model(
            experiment.name,
            bundle_files(best.task, best.artifact, facts=facts),
            alias=ALIAS,
            tags={"fold_run": best.name, "trial": number},
        )
    own.flush()


def _show_search(experiment: Experiment, top: Journal) -> None:
    facts = stored_sweep(experiment)
    if facts is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        for picture in plot_sweep(facts, folder):
            name = picture.name.removeprefix(f"{experiment.name}-")
            top.artifact(f"search/{name}", Path(picture).read_bytes())
