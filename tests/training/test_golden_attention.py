"""The numbers of recognisers and of students that attend as they do (law 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.store import STAGE_VERSIONS, Store
from orchestrator.training.fold_run import run_fold
from orchestrator.training.recogniser import recognition_errors
from orchestrator.training.task import Silent
from tests.training.attending import AttendingHome
from tests.training.tiny import tensors


@pytest.fixture(scope="module")
def store(attending: AttendingHome, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return attending.store(tmp_path_factory.mktemp("golden") / "store")


def test_golden_numbers_of_a_recogniser(attending: AttendingHome, store: Store) -> None:
    assert attending.prepared.sources is not None
    (one,) = attending.prepared.sources.recognisers.values()
    fitted = store.get("recogniser", one.task.key(store))
    errors = recognition_errors(one.task, one.task.validation, store=store, trained=fitted)

    assert STAGE_VERSIONS["recogniser"] == STAGE_VERSIONS["recognition"] == 1
    np.testing.assert_allclose(
        tensors(fitted)["network.head.weight"][1, :4].numpy(), RECOGNISER, atol=2e-3
    )
    assert errors[:, 0].tolist() == LABELS


RECOGNISER = [-0.0143, 0.3496, 0.4319, -0.4818]
LABELS = [1, 2, 3, 1, 2, 3]

STUDENTS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "kl": ({}, [0.4836, 0.2005, 0.3613, 0.1880]),
    "similarity": (
        {"attention_transfer__match": "similarity"},
        [0.4818, 0.2442, 0.3070, 0.2092],
    ),
    "initialised": (
        {"initialise": "source", "objectives": {"cross_entropy": 1.0}},
        [0.2624, -0.2236, 0.3683, -0.6252],
    ),
    "alone": ({"objectives": {"cross_entropy": 1.0}}, [0.4819, 0.2225, 0.3355, 0.1588]),
}
"""Students, and their logits of the first validation utterance."""


@pytest.mark.parametrize("what", STUDENTS)
def test_golden_numbers_of_students_that_attend(
    attending: AttendingHome, store: Store, what: str
) -> None:
    recipe, golden = STUDENTS[what]
    student = run_fold(attending.task(**recipe), store=store, reporter=Silent()).artifact

    assert STAGE_VERSIONS["student"] == 1
    found = np.load(student.path / "validation_logits.npy")[0]
    np.testing.assert_allclose(found, golden, atol=2e-3)
