"""Learning from the label, or from the shares of its votes."""

from __future__ import annotations

import numpy as np
import torch

from orchestrator.experiment.recipe import Training
from orchestrator.training.files import VALIDATION
from orchestrator.training.fold_run import run_fold
from orchestrator.training.targets import target_inputs, training_targets
from orchestrator.training.task import Silent, Utterances
from tests.training.tiny import Home

VOTED = Utterances(("a", "b"), ("aa", "bb"), (0, 1), ("s1", "s2"), votes=((0.75, 0.25), (0.0, 1.0)))


def test_votes_are_read_only_where_they_are_wanted() -> None:
    labels = training_targets(VOTED, Training(), device="cpu")
    shares = training_targets(VOTED, Training(targets="votes"), device="cpu")

    assert labels.tolist() == [0, 1]
    assert labels.dtype == torch.int64
    assert shares.tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_votes_are_in_the_key_only_where_they_are_wanted() -> None:
    other = Utterances(
        ("a", "b"), ("aa", "bb"), (0, 1), ("s1", "s2"), votes=((0.5, 0.5), (0.0, 1.0))
    )
    votes = Training(targets="votes")

    assert target_inputs(VOTED, Training()) == target_inputs(other, Training()) == {}
    assert target_inputs(VOTED, votes) != target_inputs(other, votes)


def test_a_student_of_votes_is_not_that_of_labels(home: Home, tmp_path: object) -> None:
    store = home.store(tmp_path / "store")  # type: ignore[operator]
    plain = home.task(objectives__distillation=0.0, objectives__feature_map=0.0)
    voted = home.task(
        objectives__distillation=0.0, objectives__feature_map=0.0, training__targets="votes"
    )
    logits = [
        np.load(run_fold(task, store=store, reporter=Silent()).artifact.path / VALIDATION)
        for task in (plain, voted)
    ]

    assert not np.allclose(logits[0], logits[1])
