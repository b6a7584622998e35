"""What the teacher passes on, and that nobody is graded by a teacher who heard them (law 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import orchestrator.training.knowledge as knowledge_module
from orchestrator.errors import ProtocolError
from orchestrator.features import PackedFrames
from orchestrator.store import Artifact, Store
from orchestrator.training.knowledge import Knowledge, knowledge_artifact, load_knowledge
from orchestrator.training.task import FoldTask, Silent, Unlabelled, Utterances
from orchestrator.training.teacher import Teacher, load_teacher, teacher_artifact
from tests.training.tiny import Home, experiment, fold_of, prepared_again, relabelled, speakers_of

NewStore = Callable[[], Store]


def stored(task: FoldTask, store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Logits and pooled vectors as they lie in the store."""
    folder = knowledge_artifact(task, store, reporter=Silent()).path
    return np.load(folder / "logits.npy"), np.load(folder / "pooled.npy")


def own_teacher(task: FoldTask, store: Store) -> Teacher:
    artifact = teacher_artifact(task, store, train=task.train, reporter=Silent())
    return load_teacher(task, store, artifact)


# In-sample and cross-fitted


def test_in_sample_knowledge_is_the_folds_own_teachers_word(home: Home, store: Store) -> None:
    task = home.task()
    logits, pooled = stored(task, store)
    teacher = own_teacher(task, store)

    np.testing.assert_array_equal(logits, teacher.logits(task.train))
    np.testing.assert_array_equal(pooled, teacher.pooled(task.train))


def test_no_logits_come_from_a_teacher_that_heard_the_speaker(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 2, by watching who is fitted to whom and who is asked about whom."""
    fold = home.fold(knowledge="cross-fitted")
    table = home.prepared.corpus.table
    fitted: dict[str, set[str]] = {}
    asked: list[str] = []

    def obtain(task: FoldTask, store: Store, *, train: Utterances, reporter: Any) -> Artifact:
        artifact = teacher_artifact(task, store, train=train, reporter=reporter)
        fitted[artifact.key] = speakers_of(table, train.ids)
        return artifact

    def load(task: FoldTask, store: Store, artifact: Artifact) -> Teacher:
        teacher = load_teacher(task, store, artifact)
        answer = teacher.logits

        def logits(utterances: Unlabelled) -> np.ndarray:
            assert not fitted[artifact.key] & speakers_of(table, utterances.ids)
            asked.extend(utterances.ids)
            return answer(utterances)

        monkeypatch.setattr(teacher, "logits", logits)
        return teacher

    monkeypatch.setattr(knowledge_module, "teacher_artifact", obtain)
    monkeypatch.setattr(knowledge_module, "load_teacher", load)
    found, _ = stored(fold.task, store)

    assert sorted(asked) == list(fold.fold.train)
    assert found.shape == (20, 4)
    assert np.isfinite(found).all()
    # five training speakers in four inner folds: each teacher heard three or four of them
    assert sorted(map(len, fitted.values())) == [3, 4, 4, 4, 5]


def test_a_speakers_own_labels_never_reach_their_cross_fitted_logits(
    home: Home, new_store: NewStore
) -> None:
    """Law 2 again, from outside: under other labels they are spoken of in the same words."""
    wanted = experiment()
    cross = experiment({"recipe.knowledge": "cross-fitted"})
    who = home.task().train.speakers[0]
    rows = [row for row, name in enumerate(home.task().train.speakers) if name == who]
    other_corpus = relabelled(home.prepared.corpus, {who})
    stores = new_store(), new_store()
    homes = home.prepared, prepared_again(other_corpus, wanted, stores[1])
    found = {
        kind: [
            stored(fold_of(it, prepared).task, store)[0]
            for prepared, store in zip(homes, stores, strict=True)
        ]
        for kind, it in (("in-sample", wanted), ("cross-fitted", cross))
    }

    np.testing.assert_array_equal(*(logits[rows] for logits in found["cross-fitted"]))
    # and yet others, whose teachers did hear them, are spoken of differently
    assert not np.array_equal(*found["cross-fitted"])
    assert not np.array_equal(*(logits[rows] for logits in found["in-sample"]))


def test_cross_fitted_logits_go_with_the_folds_own_features(home: Home, store: Store) -> None:
    in_sample, cross = home.task(), home.task(knowledge="cross-fitted")
    (logits, pooled), (other, same) = stored(in_sample, store), stored(cross, store)

    np.testing.assert_array_equal(pooled, same)
    assert not np.array_equal(logits, other)


def test_one_training_speaker_cannot_be_cross_fitted(home: Home, store: Store) -> None:
    task = home.task(knowledge="cross-fitted")
    alone = task.train.subset(
        [name for name in task.train.ids if name.startswith(task.train.speakers[0])]
    )
    keys = r"recipe\.knowledge.*recipe\.curriculum\.knowledge.*recipe\.curriculum\.difficulty"
    with pytest.raises(ProtocolError, match=f"two training speakers.*{keys}.*in-sample"):
        knowledge_artifact(dataclasses.replace(task, train=alone), store, reporter=Silent())


# As the student gets it


def loaded(home: Home, store: Store, **recipe: Any) -> tuple[FoldTask, Knowledge]:
    task = home.task(**recipe)
    return task, load_knowledge(task, store, reporter=Silent())


def test_features_are_standardised_over_training_and_logits_are_not(
    home: Home, store: Store
) -> None:
    task, knowledge = loaded(home, store, feature_map__match="tokens")
    logits, pooled = stored(task, store)
    assert knowledge.tokens is not None
    everyone = torch.arange(len(pooled))
    steps, lengths = knowledge.tokens.batch(everyone)
    flat = torch.cat([one[:length] for one, length in zip(steps, lengths, strict=True)])
    for features in (knowledge.pooled[everyone], flat):
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        torch.testing.assert_close(mean, torch.zeros(12), atol=1e-5, rtol=0)
        torch.testing.assert_close(deviation, torch.ones(12), atol=1e-4, rtol=0)
    expected = (pooled - pooled.mean(0)) / pooled.std(0)

    np.testing.assert_allclose(knowledge.pooled[everyone], expected, atol=1e-4)
    np.testing.assert_array_equal(knowledge.logits, logits)


def test_a_feature_that_never_varies_is_only_centred() -> None:
    features = torch.tensor([[1.0, 5.0], [3.0, 5.0]])

    assert knowledge_module.Scale.of(features)(features).tolist() == [[-1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("match", "weight", "there"),
    [("tokens", 1.0, True), ("tokens", 0.0, False), ("pooled", 1.0, False)],
)
def test_tokens_are_computed_only_where_they_are_matched(
    home: Home, store: Store, match: str, weight: float, there: bool
) -> None:
    task, knowledge = loaded(home, store, feature_map__match=match, objectives__feature_map=weight)

    assert (knowledge.tokens is not None) == there
    if knowledge.tokens is not None:
        pack = PackedFrames.open(store, task.frames)
        extents = [pack.length(name) / 4 for name in task.train.ids]
        assert knowledge.tokens.extents.tolist() == extents
