"""The stages' numbers, so that they do not change unless their versions do (law 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.store import STAGE_VERSIONS, Store
from orchestrator.training.fold_run import predict, run_fold
from orchestrator.training.knowledge import knowledge_artifact
from orchestrator.training.task import Silent, Unlabelled
from tests.training.tiny import Home, tensors


def without_genders(home: Home) -> Home:
    """Who validates is not what these numbers are about."""
    corpus = home.prepared.corpus
    unknown = replace(corpus, table=corpus.table.assign(gender=""))
    prepared, crowded = (replace(one, corpus=unknown) for one in (home.prepared, home.crowded))
    return replace(home, prepared=prepared, crowded=crowded)


@pytest.fixture(scope="module")
def folders(home: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Arrays of one fold run, by stage."""
    store: Store = home.store(tmp_path_factory.mktemp("golden") / "store")
    fold = without_genders(home).fold(
        training__augment={"noise": 0.1, "time_masks": 1, "frequency_masks": 1, "gain_db": 3.0},
        training__average_decay=0.5,
        feature_map__match="tokens",
        knowledge="cross-fitted",
    )
    teacher = run_fold(fold.task, store=store, reporter=Silent(), role="teacher").artifact
    knowledge = knowledge_artifact(fold.task, store, reporter=Silent())
    student = run_fold(fold.task, store=store, reporter=Silent()).artifact
    sealed = Unlabelled.of_table(fold.prepared.corpus.table, fold.fold.test)
    predictions = predict(fold.task, sealed, store=store, trained=student)
    return {
        "teacher": np.load(teacher.path / "validation_logits.npy")[0],
        "teacher weights": tensors(teacher)["network.head.weight"][0, :4].numpy(),
        "knowledge": np.load(knowledge.path / "logits.npy")[0],
        "knowledge pooled": np.load(knowledge.path / "pooled.npy")[0, :4],
        "student": np.load(student.path / "validation_logits.npy")[0],
        "student weights": tensors(student)["network.head.weight"][0, :4].numpy(),
        "predictions": np.load(predictions.path / "logits.npy")[0],
    }


GOLDEN = {
    "teacher": [0.1486, -0.4850, 0.4897, 0.4484],
    "teacher weights": [-0.1875, -0.1470, 0.0450, -0.1864],
    "knowledge": [0.1820, -0.6340, 0.7101, 0.4996],
    "knowledge pooled": [-0.4412, 0.0190, -1.1391, -1.0345],
    "student": [-0.7780, 0.3878, 1.2294, -0.2779],
    "student weights": [0.2919, 0.1470, 0.2850, -0.3175],
    "predictions": [-0.6827, 0.3741, 1.2327, -0.4506],
}
"""When these change, raise the version of the first stage that does, and of none before it."""


@pytest.mark.parametrize("what", GOLDEN)
def test_golden_numbers_of_these_stage_versions(folders: dict[str, np.ndarray], what: str) -> None:
    assert STAGE_VERSIONS[what.split()[0]] == 1
    np.testing.assert_allclose(folders[what], GOLDEN[what], atol=2e-3)


STUDENTS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "inverted transformer": (
        {
            "student": {
                "kind": "inverted-transformer",
                "window_seconds": 0.5,
                "dim": 8,
                "depth": 1,
                "heads": 2,
                "mlp_dim": 8,
            }
        },
        [0.2965, -1.3711, 0.3321, 0.1410],
    ),
    "supervised contrast": (
        {
            "objectives__supervised_contrastive": 0.5,
            "supervised_contrastive": {"temperature": 0.2, "dim": 4},
            "training__batches": "class-balanced",
        },
        [-0.7949, 0.3346, 1.3068, -0.3375],
    ),
    "curriculum temperature": (
        {"temperature": {"kind": "curriculum", "epochs": 2, "lr": 1.0, "per_instance": True}},
        [-0.7345, 0.3792, 1.3309, -0.4079],
    ),
    "data curriculum": (
        {"curriculum": {"kind": "data", "pacing": {"kind": "root", "start": 0.3}}},
        [-0.7450, 0.3868, 1.3351, -0.4189],
    ),
    "bilevel": (
        {"meta": {"kind": "bilevel", "interval": 1, "lr": 0.2}},
        [-0.7053, 0.3406, 1.3233, -0.4047],
    ),
    "learning to teach": (
        {"meta": {"kind": "learning-to-teach", "interval": 1, "lr": 0.01}},
        [-0.7647, 0.3855, 1.3181, -0.3638],
    ),
    "unlabelled mixed": (
        {"unlabelled": {"kind": "mixed", "batch_size": 4}},
        [-0.7391, 0.3718, 1.3270, -0.3995],
    ),
}
"""Ways to teach a student, and its logits of the first validation utterance."""


@pytest.fixture(scope="module")
def taught(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in which the students of one fold are trained, so that they share its teacher."""
    return home.store(tmp_path_factory.mktemp("golden") / "taught")


@pytest.mark.parametrize("what", STUDENTS)
def test_golden_numbers_of_students_taught_in_other_ways(
    home: Home, taught: Store, what: str
) -> None:
    recipe, golden = STUDENTS[what]
    task = without_genders(home).rich_task(**recipe)
    student = run_fold(task, store=taught, reporter=Silent()).artifact
    assert STAGE_VERSIONS["student"] == 1
    found = np.load(student.path / "validation_logits.npy")[0]
    np.testing.assert_allclose(found, golden, atol=2e-3)
    # and yet they tell that way from none
    plain = run_fold(without_genders(home).rich_task(), store=taught, reporter=Silent()).artifact
    assert np.abs(np.load(plain.path / "validation_logits.npy")[0] - golden).max() > 4e-3
