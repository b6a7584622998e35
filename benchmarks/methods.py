"""What each system of an experiment costs to train, beside plain distillation.

Run from a checkout, on a machine that does nothing else::

    python -m benchmarks.methods experiments/synthetic-zhao2025.yaml
    python -m benchmarks.methods experiments/emodb-zhao2025.yaml --json methods.json

For one fold, the students of all systems of ``evaluate`` (the distilled one, the student alone and
every ablation) are trained for a few epochs in turns, each turn beginning with another. A ratio is
to the distilled student of the same turn. Everything that is made once and kept (features, encoder
outputs, teachers, knowledge, difficulties) is made before the clock starts; what a system needs of
it beside plain distillation is timed apart, once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InputError, UnderstudyError
from orchestrator.evaluation.sealed import system_recipes
from orchestrator.experiment import load_experiment
from orchestrator.experiment.recipe import Recipe
from orchestrator.preparation import compute_inputs, plan_folds, read_corpora
from orchestrator.store import Store
from orchestrator.training.checkpoint import Checkpoint
from orchestrator.training.ranks import Ranks
from orchestrator.training.state import fold_run_state
from orchestrator.training.student import fit_student, student_difficulty
from orchestrator.training.task import FoldTask, Silent

BASE = "distilled"


@dataclass(frozen=True)
class Cost:
    """What a system costs.

    Attributes:
        seconds: of wall time a student of so many epochs, the median over turns.
        ratio: to the distilled student of the same turn, the median.
        lowest: of the ratios.
        highest: of the ratios.
        prepared: seconds of wall time for what is made once and kept, beyond what systems before it
            in the table had made already.
    """

    system: str
    seconds: float
    ratio: float
    lowest: float
    highest: float
    prepared: float


def measure(
    task: FoldTask, recipes: dict[str, Recipe], store: Store, *, epochs: int, turns: int
) -> list[Cost]:
    """Train every system's student in turns.

    Args:
        task: of one fold and seed.
        recipes: of the systems; one is ``distilled``.
        store: has the features and encoder outputs, and gets the teachers.
        epochs: of each fit.
        turns: how often each system is trained on the clock.
    """
    tasks = {name: task.with_recipe(_short(recipe, epochs)) for name, recipe in recipes.items()}
    # the first fit makes what is kept, and warms up
    first, difficulties = {}, {}
    for name, one in tasks.items():
        began = time.perf_counter()
        with fold_run_state(seed=one.seed, threads=one.threads):
            difficulties[name] = student_difficulty(one, store)
        found = time.perf_counter() - began
        first[name] = found + _seconds(one, store, difficulties[name])
    names = list(tasks)
    timed: list[dict[str, float]] = []
    for turn in range(turns):
        begin = turn % len(names)
        order = names[begin:] + names[:begin]
        timed.append({name: _seconds(tasks[name], store, difficulties[name]) for name in order})
    costs = []
    for name in names:
        seconds = statistics.median(row[name] for row in timed)
        ratios = [row[name] / row[BASE] for row in timed]
        costs.append(
            Cost(
                system=name,
                seconds=seconds,
                ratio=statistics.median(ratios),
                lowest=min(ratios),
                highest=max(ratios),
                prepared=max(0.0, first[name] - seconds),
            )
        )
    return costs


def table(costs: Sequence[Cost]) -> str:
    """The costs as Markdown."""
    lines = [
        "| system | seconds | beside distilled | lowest to highest | prepared once (s) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.system} | {one.seconds:.2f} | {one.ratio:.2f} | "
        f"{one.lowest:.2f} to {one.highest:.2f} | {one.prepared:.1f} |"
        for one in costs
    ]
    return "\n".join(lines) + "\n"


def _short(recipe: Recipe, epochs: int) -> Recipe:
    changed = {"training": recipe.training.model_copy(update={"epochs": epochs})}
    return recipe.model_copy(update=changed)


def _seconds(task: FoldTask, store: Store, difficulty: NDArray[np.float64] | None) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "fitted").mkdir()
        never = Checkpoint(Store(folder / "store"), "student", {}, minutes=60.0)
        began = time.perf_counter()
        with fold_run_state(seed=task.seed, threads=task.threads):
            fit_student(task, store, never, difficulty, folder / "fitted", Silent(), Ranks())
        return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", help="the experiment file")
    parser.add_argument("overrides", nargs="*", help="key=value, as for an evaluation")
    parser.add_argument("--variant", help="of the file")
    parser.add_argument("--fold", help="name of the fold; default: the first")
    parser.add_argument("--epochs", type=int, default=4, help="of each fit; default 4")
    parser.add_argument("--turns", type=int, default=3, help="default 3")
    parser.add_argument("--json", help="a file to write the figures into")
    given = parser.parse_intermixed_args(arguments)
    try:
        costs = _measured(given)
    except UnderstudyError as error:
        print(f"methods: {error}", file=sys.stderr)
        return error.exit_code
    print(table(costs), end="")
    if given.json:
        found = {"rows": [asdict(one) for one in costs]}
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _measured(given: argparse.Namespace) -> list[Cost]:
    if given.epochs < 1 or given.turns < 1:
        raise InputError(f"--epochs {given.epochs}, --turns {given.turns}: give at least 1 of each")
    experiment = load_experiment(given.file, overrides=given.overrides, variant=given.variant)
    recipes = {n: r for n, r in system_recipes(experiment).items() if n != "teacher"}
    if BASE not in recipes:
        raise InputError(
            f"{given.file}: there is no distilled student to compare with; add it to "
            "evaluate.systems, and a teacher to the recipe"
        )
    store = Store(experiment.store)
    prepared = read_corpora(experiment, store)
    only = [given.fold] if given.fold else []
    planned = plan_folds(experiment, prepared, protocol=experiment.protocol, seeds=[0], only=only)
    compute_inputs(experiment, prepared, store)
    return measure(planned[0].task, recipes, store, epochs=given.epochs, turns=given.turns)


if __name__ == "__main__":
    sys.exit(main())
