"""Which teachers a set of fold runs will ask for, and which of them the store has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.experiment.recipe import DataCurriculum, Recipe
from orchestrator.store import Store
from orchestrator.teacher_runs import TeacherRun
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import Role
from orchestrator.training.knowledge import inner_parts
from orchestrator.training.state import fold_run_state
from orchestrator.training.task import FoldTask, Silent, Utterances
from orchestrator.training.teacher import teacher_artifact, teacher_inputs


@dataclass(frozen=True)
class Networks:
    """Networks that fold runs need beside their own."""

    teachers: int
    """Distinct teachers of folds."""
    inner_teachers: int
    """Those of inner speaker folds, for cross-fitted knowledge or difficulty."""
    inner_students: int
    """Students of inner speaker folds, for difficulty by cross-validated loss."""
    present: int | None
    """Teachers of both kinds that the store has; None where that is not known beforehand: the
    store is remote, or trials have teachers of their own."""
    varied: bool = False
    """Whether each trial may have teachers of its own, so that the counts are the most there may
    be."""


def present(store: Store, stage: str, keys: Iterable[str]) -> int | None:
    """How many artifacts the store has; None for a remote one, where looking is fetching."""
    if "://" in store.uri:
        return None
    return sum(store.find(stage, key) is not None for key in keys)


def asks_teacher(recipe: Recipe) -> bool:
    """Whether a student, or the difficulty of what it hears, depends on a teacher."""
    return recipe.needs_teacher or _by_teacher(recipe)


def _by_teacher(recipe: Recipe) -> bool:
    curriculum = recipe.curriculum
    return isinstance(curriculum, DataCurriculum) and curriculum.difficulty in (
        "teacher-loss",
        "teacher-probability",
    )


def _cross_fits(recipe: Recipe) -> bool:
    if recipe.objectives.distillation and recipe.knowledge == "cross-fitted":
        return True
    curriculum = recipe.curriculum
    return (
        isinstance(curriculum, DataCurriculum)
        and _by_teacher(recipe)
        and curriculum.knowledge == "cross-fitted"
    )


def _cross_validates(recipe: Recipe) -> bool:
    curriculum = recipe.curriculum
    return isinstance(curriculum, DataCurriculum) and (
        curriculum.difficulty == "cross-validated-loss"
    )


def networks_of(tasks: Iterable[tuple[FoldTask, Role]], store: Store) -> Networks:
    """What these fold runs need; each network is counted once, whoever shares it."""
    own: set[str] = set()
    inner: dict[str, tuple[str, ...]] = {}
    students = 0
    for task, role in tasks:
        recipe = task.recipe
        if role == "teacher" or asks_teacher(recipe):
            key = store.key("teacher", teacher_inputs(task, task.train))
            own.add(key)
            if role == "student" and key not in inner and _cross_fits(recipe):
                inner[key] = tuple(
                    store.key("teacher", teacher_inputs(task, fitted))
                    for fitted, _ in inner_parts(task)
                )
        if role == "student" and _cross_validates(recipe):
            students += sum(1 for _ in inner_parts(task))
    beside = {key for keys in inner.values() for key in keys}
    return Networks(
        teachers=len(own),
        inner_teachers=len(beside),
        inner_students=students,
        present=present(store, "teacher", own | beside),
    )


def networks_of_trials(
    tasks: Sequence[FoldTask], recipes: Iterable[Recipe], *, trials: int, store: Store
) -> Networks:
    """What the trials of a sweep need, as far as random draws from its space tell.

    Args:
        tasks: every fold run of one trial, whatever their recipes.
        recipes: of the draws.
        trials: how many there will be.
        store: where teachers are looked for, if all trials share them.
    """
    recipes = tuple(recipes)
    asking = [recipe for recipe in recipes if asks_teacher(recipe)]
    crossing = [recipe for recipe in asking if _cross_fits(recipe)]
    validating = [recipe for recipe in recipes if _cross_validates(recipe)]
    students = _most_parts(tasks, validating) * trials
    asked = _sharing(tasks, asking, store)
    if asked is None:
        return Networks(
            teachers=len(tasks) * trials,
            inner_teachers=_most_parts(tasks, crossing) * trials,
            inner_students=students,
            present=None,
            varied=True,
        )
    return replace(
        networks_of([(task, "student") for task in asked], store), inner_students=students
    )


def _sharing(
    tasks: Sequence[FoldTask], asking: Sequence[Recipe], store: Store
) -> list[FoldTask] | None:
    """Fold runs that between them ask for every teacher of all; None if recipes differ in theirs.

    Args:
        tasks: every fold run of one trial.
        asking: recipes that depend on a teacher.
        store: whose keys tell teachers apart.
    """
    if len({_teacher_alone(tasks[0], recipe, store) for recipe in asking}) > 1:
        return None
    # the first of each kind stands for all: their teachers differ in what they are fitted to alone
    kinds: dict[tuple[bool, bool], Recipe] = {}
    for recipe in asking:
        kinds.setdefault((_cross_fits(recipe), _on_held(recipe)), recipe)
    return [task.with_recipe(recipe) for recipe in kinds.values() for task in tasks]


def _on_held(recipe: Recipe) -> bool:
    return getattr(recipe.meta, "train_on_held", False)


def _most_parts(tasks: Sequence[FoldTask], recipes: Iterable[Recipe]) -> int:
    """Inner folds of all ``tasks``, by that of ``recipes`` which makes the most; 0 by none."""
    # they depend on who trains alone; and too few speakers for them are an error, so that they are
    # not to be dealt for a recipe without
    kinds = {_on_held(recipe): recipe for recipe in recipes}
    return max(
        (
            sum(1 for task in tasks for _ in inner_parts(task.with_recipe(recipe)))
            for recipe in kinds.values()
        ),
        default=0,
    )


def _teacher_alone(task: FoldTask, recipe: Recipe, store: Store) -> str:
    """A key that is another for another teacher, whatever it is fitted to."""
    first = task.train.subset(task.train.ids[:1])
    small = replace(task.with_recipe(recipe), train=first, validation=first)
    return store.key("teacher", teacher_inputs(small, first))


@dataclass(frozen=True)
class TeacherFit:
    """One teacher to fit before the students that listen to it; a shard of a stage."""

    task: FoldTask
    train: Utterances
    store: Store
    tree: RunTree | None = None
    """Of the command, in whose record the fit of a fold's own teacher is told; none: nowhere."""

    @property
    def threads(self) -> int:
        """That it computes with."""
        return self.task.threads

    def __call__(self) -> bool:
        """Fit it unless the store has it; whether the store had it."""
        task = self.task
        told = None
        if self.tree is not None and self.train.ids == task.train.ids:
            told = TeacherRun(task, store=self.store, tree=self.tree)
        try:
            with fold_run_state(
                seed=task.seed,
                threads=task.threads,
                deterministic=task.deterministic,
                gpus=task.gpus,
            ):
                fitted = teacher_artifact(
                    task, self.store, train=self.train, reporter=told or Silent()
                )
        except Exception as error:
            if told is not None:
                told.fail(f"{type(error).__name__}: {error}")
            raise
        if told is not None:
            told.end()
        return fitted.reused


def teachers_of_trials(
    tasks: Sequence[FoldTask],
    recipes: Iterable[Recipe],
    store: Store,
    *,
    tree: RunTree | None = None,
) -> list[TeacherFit]:
    """The teachers that every trial of a sweep shares, those of inner speaker folds among them.

    Empty where trials have teachers of their own, which are fitted in the trial, or where a teacher
    is trained by several workers.

    Args:
        tasks: every fold run of one trial, whatever their recipes.
        recipes: of random draws from the space.
        store: that has them, or will.
        tree: of the command, for their runs; default: they are told of nowhere.
    """
    asking = [recipe for recipe in recipes if asks_teacher(recipe)]
    if any(task.teacher_workers > 1 for task in tasks):
        return []
    found: dict[str, TeacherFit] = {}
    for task in _sharing(tasks, asking, store) or ():
        fitted = [task.train]
        if _cross_fits(task.recipe):
            fitted += [inner for inner, _ in inner_parts(task)]
        for train in fitted:
            key = store.key("teacher", teacher_inputs(task, train))
            found.setdefault(key, TeacherFit(task, train, store, tree))
    return list(found.values())
