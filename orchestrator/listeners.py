"""What a recipe wants to know of listeners, and whether a corpus has asked them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.corpora import Corpus
from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import ablation_recipes
from orchestrator.experiment.recipe import DataCurriculum, Recipe
from orchestrator.training.task import FoldTask


def refuse_unasked(experiment: Experiment, tasks: Iterable[tuple[Corpus, FoldTask]]) -> None:
    """Raise where the recipe, or an ablation's, needs votes or agreement that a corpus lacks.

    Args:
        experiment: has the recipes.
        tasks: fold runs, each with its corpus.

    Raises:
        ExperimentError: names the key, the corpus and the mend; of agreement, which every training
            utterance needs, how many lack it (law 8).
    """
    by_corpus: dict[str, tuple[Corpus, list[FoldTask]]] = {}
    for corpus, task in tasks:
        by_corpus.setdefault(corpus.name, (corpus, []))[1].append(task)
    recipes = {"": experiment.recipe}
    recipes |= {
        f"evaluate.ablations.{name}: ": recipe
        for name, recipe in ablation_recipes(experiment).items()
    }
    for where, recipe in recipes.items():
        for corpus, planned in by_corpus.values():
            for key in _learning_from_votes(recipe):
                _refuse_no_votes(corpus, where + key)
            if _by_agreement(recipe):
                _refuse_unknown_agreement(corpus, where, [it.with_recipe(recipe) for it in planned])


def _refuse_no_votes(corpus: Corpus, key: str) -> None:
    if not (corpus.table["votes"] != "").any():
        raise ExperimentError(
            f"{key} is 'votes', but corpus {corpus.name!r} has none; use targets: majority, or a "
            "corpus with annotators' votes"
        )


def _refuse_unknown_agreement(corpus: Corpus, where: str, tasks: Iterable[FoldTask]) -> None:
    trained = {name for task in tasks for name in task.train.ids}
    table = corpus.table[corpus.table["id"].isin(trained)]
    lacking = table["id"][table["agreement"].isna()]
    if len(lacking):
        raise ExperimentError(
            f"{where}recipe.curriculum.difficulty is 'agreement', but {len(lacking)} of the "
            f"{len(table)} training utterances of corpus {corpus.name!r} have none, such as "
            f"{min(lacking)!r}; use a corpus with votes or recognition rates, or another difficulty"
        )


def _learning_from_votes(recipe: Recipe) -> Iterator[str]:
    """Keys by which student or teacher learn from votes."""
    if recipe.training.targets == "votes":
        yield "recipe.training.targets"
    teacher = recipe.teacher
    if teacher is not None and teacher.training and teacher.training.targets == "votes":
        yield "recipe.teacher.training.targets"


def _by_agreement(recipe: Recipe) -> bool:
    curriculum = recipe.curriculum
    return isinstance(curriculum, DataCurriculum) and curriculum.difficulty == "agreement"
