"""What a sweep leaves to look at and to take away: pictures, and its best student as a model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.bundle.files import bundle_files
from orchestrator.evaluation.stored import stored_sweep
from orchestrator.evaluation.sweep_plots import plot_sweep
from orchestrator.experiment import Experiment
from orchestrator.sweep.fold_students import (
    FoldStudent,
    best_student,
    model_facts,
    show_students,
    students_of,
)
from orchestrator.sweep.search_run import SearchRun
from orchestrator.sweep.summary import SweepSummary
from orchestrator.sweep.trial import trial_place, trial_recipe
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tree import RunTree

SHOWN = 3
"""Trials of a front whose students are drawn."""
SHOWN_OF = "shown_of"
"""Attribute of a study: how many trials had ended when it was last shown."""
ALIAS = "best"
"""What the registry calls the newest version that a sweep has put there."""


def show_best(
    experiment: Experiment,
    runs: Sequence[SearchRun],
    summaries: Sequence[SweepSummary],
    *,
    tree: RunTree,
    journals: Mapping[str, Journal],
    note: Callable[[str], None],
) -> None:
    """Pictures of each search and of its best trial; of a plain sweep the best student, too.

    With several objectives the first trials of the front are shown, and none is registered: which
    of them is best is for somebody to say. What was shown of as many trials is not shown again.
    Nothing in here fails a sweep that has ended.

    Args:
        experiment: that was searched.
        runs: its searches.
        summaries: where they stand.
        tree: of the command.
        journals: of the runs above the trials, by the names of searches.
        note: is told what could not be made.
    """
    for run, summary in zip(runs, summaries, strict=True):
        if run.study.user_attrs.get(SHOWN_OF) == summary.ended:
            continue
        show = _Show(experiment, run, summary, tree=tree, top=journals[run.name])
        steps: dict[str, Callable[[], None]] = {"pictures of trials": show.trials}
        if not run.name and summary.complete:
            steps = {
                "the best student as a model": show.model,
                **steps,
                "pictures of the search": lambda: _show_search(experiment, journals[""]),
            }
        failed = [what for what, step in steps.items() if not _done(what, step, note)]
        if not failed:
            run.study.set_user_attr(SHOWN_OF, summary.ended)


def _done(what: str, step: Callable[[], None], note: Callable[[str], None]) -> bool:
    try:
        step()
    except Exception as error:
        note(f"{what} could not be made for MLflow: {error}")
        return False
    return True


class _Show:
    """What there is to see and to take away of one search."""

    def __init__(
        self,
        experiment: Experiment,
        run: SearchRun,
        summary: SweepSummary,
        *,
        tree: RunTree,
        top: Journal,
    ) -> None:
        self.experiment, self.run, self.summary = experiment, run, summary
        self.tree, self.top = tree, top

    def trials(self) -> None:
        """Pictures and tables of the best trial, or of the first of the front."""
        best = self.summary.best_number
        for number in self.summary.front[:SHOWN] if best is None else (best,):
            if students := self._students(number):
                title = f"{self.experiment.name}, trial {number}"
                own = self._journal(number)
                for journal in (own, self.top) if number == best else (own,):
                    show_students(journal, students, title=title)
                own.flush()

    def model(self) -> None:
        """The student of the best trial that did best on its own validation."""
        number = self.summary.best_number
        if number is None:
            return
        best = best_student(self._students(number), metric=self.summary.metric)
        if best is None:
            return
        facts = model_facts(best.task, best.validation) | {
            "experiment": self.experiment.name,
            "selection": f"trial {number} of a sweep by validation {self.summary.metric}, and of "
            "its fold runs the best on its own validation",
            "protocol": self.run.protocol,
        }
        own = self._journal(number)
        own.model(
            self.experiment.name,
            bundle_files(best.task, best.artifact, facts=facts),
            alias=ALIAS,
            tags={"fold_run": best.name, "trial": number},
        )
        own.flush()

    def _students(self, number: int) -> list[FoldStudent]:
        trial = next(row for row in self.summary.trials if row["number"] == number)
        recipe = trial_recipe(self.experiment, trial["overrides"])
        tasks = (task for seeds in self.run.tasks.values() for task in seeds)
        return students_of(tasks, recipe, self.tree.store)

    def _journal(self, number: int) -> Journal:
        return self.tree.journal(*trial_place(self.run.name, number))


def _show_search(experiment: Experiment, top: Journal) -> None:
    facts = stored_sweep(experiment)
    if facts is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        for picture in plot_sweep(facts, folder):
            name = picture.name.removeprefix(f"{experiment.name}-")
            top.artifact(f"search/{name}", Path(picture).read_bytes())
