"""The evaluate section: which selections go with which search."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.evaluate import Evaluate, Nested
from orchestrator.experiment.loading import override_recipe
from orchestrator.training.inputs import plain
from tests.training.tiny import experiment

SEARCH = {"space": "distillation"}
OTHER = {"kind": "speaker-folds", "folds": 4}
SAME = {"kind": "leave-one-speaker-out", "validation_speakers": 2}


def made(how: str, *, search: dict[str, Any], **sections: Any) -> Experiment:
    """An experiment of this selection, by the paragraph that a user would read."""
    evaluate = {"selection": how, **sections.pop("evaluate", {})}
    return override_recipe(experiment(search=search, **sections), {"evaluate": evaluate})


def test_what_came_later_is_no_part_of_an_evaluation_at_its_default() -> None:
    assert "nested" not in plain(Evaluate())
    assert plain(Evaluate(selection="nested", nested=Nested(trials=3)))["nested"] == {
        "inner_folds": 3,
        "trials": 3,
    }


def test_inner_searches_have_defaults() -> None:
    assert Evaluate(selection="nested").inner_search == Nested(inner_folds=3, trials=20)
    wanted = Nested(inner_folds=2, trials=5)
    assert Evaluate(selection="nested", nested=wanted).inner_search == wanted


def test_per_fold_wants_the_sweep_on_the_evaluations_folds() -> None:
    with pytest.raises(ExperimentError) as caught:
        made("per-fold", search={**SEARCH, "protocol": OTHER})
    said = str(caught.value)
    assert "search.protocol (speaker-folds, folds 4) makes other folds than protocol (" in said
    assert "leave search.protocol out, or set evaluate.selection: same-corpus, or nested" in said
    # said again, and of other folds for other selections
    assert made("per-fold", search={**SEARCH, "protocol": SAME})
    for how in ("fixed", "same-corpus", "nested"):
        assert made(how, search={**SEARCH, "protocol": OTHER})


def test_a_search_protocol_that_no_corpus_uses_is_in_nobodys_way() -> None:
    corpora = [{"kind": "synthetic", "protocol": {"kind": "leave-one-session-out"}}]
    assert made("per-fold", search={**SEARCH, "protocol": OTHER}, corpora=corpora)


@pytest.mark.parametrize(
    ("searched", "evaluated", "said"),
    [
        (["speaker=s1m"], [], "search.folds names speaker=s1m only and all folds are to be"),
        (["speaker=s1m"], ["speaker=s1m", "speaker=s2w"], "lacks 'speaker=s2w' of evaluate.folds"),
        (["speaker=s1m", "speaker=s2w"], ["speaker=s2w"], ""),
        ([], ["speaker=s2w"], ""),
    ],
)
def test_per_fold_wants_every_evaluated_fold_searched(
    searched: list[str], evaluated: list[str], said: str
) -> None:
    search, evaluate = {**SEARCH, "folds": searched}, {"folds": evaluated}
    assert made("same-corpus", search=search, evaluate=evaluate)
    if not said:
        assert made("per-fold", search=search, evaluate=evaluate)
        return
    with pytest.raises(ExperimentError, match=said):
        made("per-fold", search=search, evaluate=evaluate)
