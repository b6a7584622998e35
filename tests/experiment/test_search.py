"""What a search may say: objectives, constraints, pruners, and how its best trial is evaluated."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.experiment.evaluate import Evaluate, Nested
from orchestrator.experiment.pruners import HalvingPruner, WilcoxonPruner
from orchestrator.experiment.search import Search
from tests.experiment.test_experiment import EMODB, made, refused

SPACE = {"space": "distillation"}


def refused_search(**sections: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Search.model_validate(sections)
    return str(caught.value)


def test_a_search_needs_no_more_than_a_space_or_parameters() -> None:
    named = Search.model_validate(SPACE)
    bare = Search.model_validate({"parameters": {"recipe.training.lr": [1e-3, 1e-4]}})

    assert (named.trials, named.metric, named.sampler, named.pruner.kind) == (
        40,
        "macro_recall",
        "tpe",
        "none",
    )
    assert (named.objectives, named.constraints, named.max_hours) == (("macro_recall",), {}, None)
    assert bare.space is None


def test_pruners_are_told_apart_by_their_kind() -> None:
    halving = Search.model_validate(SPACE | {"pruner": {"kind": "halving", "keep": 0.5}}).pruner
    wilcoxon = Search.model_validate(SPACE | {"pruner": {"kind": "wilcoxon"}}).pruner

    assert halving == HalvingPruner(kind="halving", keep=0.5, first=2)
    assert wilcoxon == WilcoxonPruner(kind="wilcoxon", p=0.1)


def test_objectives_are_the_metric_and_then_the_costs() -> None:
    search = Search.model_validate(
        SPACE | {"metric": "accuracy", "minimise": ["parameters", "macs"]}
    )

    assert search.objectives == ("accuracy", "parameters", "macs")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, "neither a space nor parameters, so nothing is searched"),
        ({"space": None}, "neither a space nor parameters"),
        (SPACE | {"minimise": ["macs", "macs"]}, "each cost may stand once"),
        (SPACE | {"minimise": ["latency"]}, "minimise.0"),
        (SPACE | {"constraints": {"latency": 1.0}}, "constraints.latency"),
        (SPACE | {"constraints": {"macs": 0.0}}, "greater than 0"),
        (SPACE | {"constraints": {"macs": "plenty"}}, "valid number"),
        (SPACE | {"max_hours": 0.0}, "greater than 0"),
        (SPACE | {"trials": 0}, "greater than or equal to 1"),
        (SPACE | {"sampler": "cmaes"}, "'tpe', 'gp', 'nsga2', 'random', 'qmc' or 'grid'"),
        (SPACE | {"aggregate": "median"}, "'mean', 'rank', 'z' or 'worst'"),
        (SPACE | {"pruner": {"kind": "hyperband"}}, "'wilcoxon'"),
        (SPACE | {"pruner": {"p": 0.1}}, "kind"),
        (SPACE | {"pruner": {"kind": "none", "p": 0.1}}, "pruner.none.p"),
        (SPACE | {"pruner": {"kind": "wilcoxon", "p": 0.5}}, "less than 0.5"),
        (SPACE | {"pruner": {"kind": "wilcoxon", "p": 0.0}}, "greater than 0"),
        (SPACE | {"pruner": {"kind": "halving", "keep": 1.0}}, "less than 1"),
        (SPACE | {"pruner": {"kind": "halving", "first": 0}}, "greater than or equal to 1"),
        (SPACE | {"pruner": {"kind": "race", "level": 0.5}}, "greater than 0.5"),
        (SPACE | {"pruner": {"kind": "median", "after": 0}}, "greater than or equal to 1"),
        (SPACE | {"start": {"recipe.training.lr": 1e-3}}, "start"),
    ],
)
def test_a_search_that_contradicts_itself_is_refused(sections: dict[str, Any], said: str) -> None:
    assert said in refused_search(**sections)


@pytest.mark.parametrize("kind", ["wilcoxon", "halving", "race", "median"])
def test_a_pruner_does_not_go_with_several_objectives(kind: str) -> None:
    said = refused_search(**SPACE, minimise=["macs"], pruner={"kind": kind})

    assert f"search.pruner is '{kind}' but there are several objectives" in said
    assert "(macro_recall, macs)" in said
    assert "set search.pruner: {kind: none}" in said


@pytest.mark.parametrize(
    ("kind", "possible"),
    [("wilcoxon", False), ("race", False), ("halving", True), ("median", True), ("none", True)],
)
def test_folds_are_not_compared_where_the_worst_corpus_counts(kind: str, possible: bool) -> None:
    sections = SPACE | {"aggregate": "worst", "pruner": {"kind": kind}}

    if possible:
        assert Search.model_validate(sections).pruner.kind == kind
    else:
        assert "by plain scores, which is not what search.aggregate" in refused_search(**sections)


@pytest.mark.parametrize("selection", ["same-corpus", "per-fold", "nested"])
def test_a_selection_needs_a_search(selection: str) -> None:
    evaluate = {"selection": selection}

    assert f"selection is '{selection}' but there is no search section" in refused(
        EMODB, evaluate=evaluate
    )
    assert made(EMODB, evaluate=evaluate, search=SPACE).evaluate.selection == selection


@pytest.mark.parametrize("selection", ["per-fold", "nested"])
def test_no_fold_takes_the_best_of_several_objectives(selection: str) -> None:
    search = SPACE | {"minimise": ["macs"]}

    said = refused(EMODB, evaluate={"selection": selection}, search=search)

    assert (
        "the search has several objectives (macro_recall, macs), and no trial is the best" in said
    )


def test_nested_goes_with_its_selection_alone() -> None:
    nested = Evaluate.model_validate({"selection": "nested", "nested": {"trials": 5}})

    assert nested.nested == Nested(inner_folds=3, trials=5)
    assert Evaluate.model_validate({"selection": "nested"}).nested is None
    with pytest.raises(ValidationError, match="but evaluate.selection is 'fixed'"):
        Evaluate.model_validate({"nested": {"trials": 5}})
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        Evaluate.model_validate({"selection": "nested", "nested": {"inner_folds": 1}})


def test_each_seed_of_a_search_stands_once() -> None:
    assert "search.seeds [1, 1]" in refused(EMODB, search=SPACE | {"seeds": [1, 1]})
