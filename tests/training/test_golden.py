"""The stages' numbers, so that they do not change unless their versions do (law 4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.store import STAGE_VERSIONS, Store
from orchestrator.training.fold_run import predict, run_fold
from orchestrator.training.knowledge import knowledge_artifact
from orchestrator.training.task import Silent, Unlabelled
from tests.training.tiny import Home, tensors


@pytest.fixture(scope="module")
def folders(home: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Arrays of one fold run, by stage."""
    store: Store = home.store(tmp_path_factory.mktemp("golden") / "store")
    # without genders: who validates is not what these numbers are about
    corpus = home.prepared.corpus
    unknown = replace(corpus, table=corpus.table.assign(gender=""))
    home = replace(home, prepared=replace(home.prepared, corpus=unknown))
    fold = home.fold(
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
