"""How hard utterances are: found from the training speakers alone, and by whom (law 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import orchestrator.training.student as student_module
from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import DataCurriculum
from orchestrator.features import PackedFrames
from orchestrator.store import Artifact, Store
from orchestrator.training.difficulty import difficulty_inputs, fixed_difficulty, random_difficulty
from orchestrator.training.fold_run import run_fold
from orchestrator.training.knowledge import knowledge_artifact
from orchestrator.training.state import fold_run_state
from orchestrator.training.student import student_artifact, student_logits
from orchestrator.training.task import FoldTask, Silent, Utterances
from tests.training.tiny import (
    RICH,
    TRAINING,
    VIT,
    Home,
    disturbed,
    experiment,
    fold_of,
    prepared_again,
    relabelled,
)

NewStore = Callable[[], Store]


def difficulty(task: FoldTask, store: Store) -> np.ndarray:
    """That of the recipe's curriculum."""
    section = task.recipe.curriculum
    assert isinstance(section, DataCurriculum)
    with fold_run_state(seed=0, threads=1):
        return fixed_difficulty(
            task,
            section,
            store,
            student=lambda there: student_artifact(there, store, reporter=Silent()),
            logits=lambda there, artifact, heard: student_logits(
                there, store, artifact, heard
            ).numpy(),
        )


def by(asked: str, **options: Any) -> dict[str, Any]:
    return {"curriculum": {"kind": "data", "difficulty": asked, **options}}


# Labels that are wrong

WRONG = [1, 10, 19, 28, 37]


@pytest.fixture
def planted(home: Home, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FoldTask]:
    """A task of forty utterances that are easily told apart, five of them under a wrong label.

    Each emotion raises two of eight bins, and each utterance has a colour of its own.
    """
    draw = np.random.default_rng(0)
    frames, parts = [], []
    for speakers in ("abcde", "vw"):
        names = tuple(f"{speaker}-{number}" for speaker in speakers for number in range(8))
        labels = [number % 4 for _ in speakers for number in range(8)]
        for label in labels:
            colour = np.eye(4).repeat(2, axis=1)[label] + draw.normal(0.0, 0.15, 8)
            frames.append(colour + draw.normal(0.0, 0.1, (8, 8)))
        whose = tuple(name[0] for name in names)
        parts.append(Utterances(names, names, tuple(labels), whose))
    train, validation = parts
    ids = train.ids + validation.ids
    flat = np.concatenate(frames).astype(np.float32)
    pack = PackedFrames([(ids, np.arange(0, len(flat) + 1, 8), flat)])
    monkeypatch.setattr(PackedFrames, "open", classmethod(lambda cls, store, handle: pack))
    told = tuple((label + (row in WRONG)) % 4 for row, label in enumerate(train.labels))

    def task(*, epochs: int, dim: int, asked: str = "teacher-loss", knowledge: str) -> FoldTask:
        training = {**TRAINING, "epochs": epochs, "epoch_choice": "last"}
        size = {"dim": dim, "head_dim": 16, "mlp_dim": dim, "patch_frames": 4}
        there = home.task(
            teacher={**VIT, **size, "training": training}, **by(asked, knowledge=knowledge)
        )
        return dataclasses.replace(
            there, train=dataclasses.replace(train, labels=told), validation=validation
        )

    return task


def ranks(found: np.ndarray) -> list[int]:
    """Places of the wrong ones, the hardest utterance being at 0."""
    order = list(np.argsort(-found, kind="stable"))
    return sorted(order.index(row) for row in WRONG)


@pytest.mark.parametrize("asked", ["teacher-loss", "teacher-probability"])
def test_wrong_labels_are_hardest_to_teachers_that_did_not_hear_them(
    planted: Callable[..., FoldTask], store: Store, asked: str
) -> None:
    found = difficulty(planted(epochs=10, dim=16, asked=asked, knowledge="cross-fitted"), store)

    assert ranks(found) == [0, 1, 2, 3, 4]
    others = np.delete(found, WRONG)
    if asked == "teacher-loss":
        # the right label is the likelier one of two, the wrong one hardly possible
        assert found[WRONG].min() > 2.0 > 1.0 > others.max()
    else:
        assert (-1.0 <= found).all()
        assert found[WRONG].max() > -0.2 > -0.4 > np.median(others)


def test_a_teacher_that_learned_them_by_heart_finds_them_easy(
    planted: Callable[..., FoldTask], store: Store
) -> None:
    """What in-sample difficulty is a control for."""
    cross, own = (
        difficulty(planted(epochs=60, dim=32, knowledge=knowledge), store)
        for knowledge in ("cross-fitted", "in-sample")
    )

    assert own[WRONG].max() < 0.1 < 2.0 < cross[WRONG].min()
    # the others' teachers learned mistakes too, so they are not the five hardest any more
    assert np.median(ranks(cross)) < 5
    assert sum(ranks(cross)) < sum(ranks(own))


# By whom


@pytest.mark.parametrize("knowledge", ["in-sample", "cross-fitted"])
def test_whose_word_it_is_does_not_depend_on_whose_the_student_hears(
    home: Home, store: Store, knowledge: str
) -> None:
    kind: Any = knowledge
    found = []
    for heard in ("in-sample", "cross-fitted"):
        task = home.task(knowledge=heard, **by("teacher-loss", knowledge=knowledge))
        words = knowledge_artifact(task, store, reporter=Silent(), kind=kind)
        assert difficulty_inputs(task, store)["difficulty"] == words.key
        found.append(difficulty(task, store))
        said = torch.from_numpy(np.load(words.path / "logits.npy")).double()
        expected = torch.nn.functional.cross_entropy(
            said, torch.tensor(task.train.labels), reduction="none"
        )
        np.testing.assert_allclose(found[-1], expected, rtol=1e-6, atol=1e-7)

    np.testing.assert_array_equal(*found)


def test_probability_and_loss_agree_on_the_order(home: Home, store: Store) -> None:
    loss, probability = (
        difficulty(home.task(**by(asked)), store)
        for asked in ("teacher-loss", "teacher-probability")
    )

    np.testing.assert_allclose(np.exp(-loss), -probability)


def test_a_teacher_may_tell_what_is_hard_and_teach_nothing(home: Home, store: Store) -> None:
    task = home.task(objectives={"cross_entropy": 1.0}, **by("teacher-loss"))
    assert not task.recipe.needs_teacher

    assert np.isfinite(difficulty(task, store)).all()
    assert run_fold(task, store=store, reporter=Silent()).epoch >= 1


def test_no_student_grades_a_speaker_whom_it_heard(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: dict[str, set[str]] = {}
    reused: list[bool] = []
    asked: list[str] = []
    make, listen = student_artifact, student_logits

    def student(task: FoldTask, store: Store, *, reporter: Any) -> Artifact:
        artifact = make(task, store, reporter=reporter)
        trained[artifact.key] = set(task.train.speakers)
        reused.append(artifact.reused)
        assert task.held is None
        assert not task.recipe.needs_teacher
        return artifact

    def logits(task: FoldTask, store: Store, artifact: Artifact, heard: Utterances) -> Any:
        assert not trained[artifact.key] & set(heard.speakers)
        asked.extend(heard.ids)
        return listen(task, store, artifact, heard)

    monkeypatch.setattr(student_module, "student_artifact", student)
    monkeypatch.setattr(student_module, "student_logits", logits)
    task = home.rich_task(meta={"kind": "bilevel"}, **by("cross-validated-loss"))
    make(task, store, reporter=Silent())

    assert sorted(asked) == list(task.train.ids)
    # four training speakers in four inner folds
    assert sorted(map(len, trained.values())) == [3, 3, 3, 3]
    assert reused == [False] * 4
    # another student of the same fold, with the same networks alone, finds them in the store
    other = home.rich_task(
        meta={"kind": "bilevel"}, objectives__distillation=0.25, **by("cross-validated-loss")
    )
    make(other, store, reporter=Silent())
    assert reused == [False] * 4 + [True] * 4


def test_a_student_is_the_same_whether_others_were_trained_before_it(
    home: Home, new_store: NewStore
) -> None:
    """Dropout's masks must not depend on what the store already has."""
    recipe: dict[str, Any] = {
        "student__dropout": 0.3,
        "unlabelled": {"kind": "mixed"},
        **by("cross-validated-loss"),
    }
    task = home.rich_task(**recipe)
    first, second = new_store(), new_store()
    # leaves others' students and the teacher's word on unlabelled speech behind
    before = home.rich_task(**recipe, objectives__distillation=0.25)
    run_fold(before, store=second, reporter=Silent())
    found = [run_fold(task, store=store, reporter=Silent()).artifact for store in (first, second)]
    logits = [np.load(one.path / "validation_logits.npy") for one in found]

    np.testing.assert_array_equal(*logits)


# From training speakers alone


ASKED = ["teacher-loss", "cross-validated-loss", "random", "agreement"]


@pytest.mark.parametrize("change", [relabelled, disturbed])
@pytest.mark.parametrize("asked", ASKED)
def test_nobody_but_training_speakers_matters(
    home: Home, new_store: NewStore, asked: str, change: Callable[..., Any]
) -> None:
    """Every network keeps its last epoch here: else validation, rightly, chooses it."""
    last = {**TRAINING, "epochs": 2, "epoch_choice": "last"}
    recipe = {"recipe.training": last, "recipe.curriculum": by(asked)["curriculum"]}
    wanted = experiment(recipe, **RICH)
    corpus = with_agreement(home.prepared.corpus)
    task = fold_of(wanted, dataclasses.replace(home.prepared, corpus=corpus)).task
    assert task.held is not None
    others = {"s1m", *task.validation.speakers, *task.held.speakers}
    assert not others & set(task.train.speakers)
    found = []
    for spoken in (corpus, change(corpus, others)):
        store = new_store()
        there = fold_of(wanted, prepared_again(spoken, wanted, store)).task
        assert there.train == task.train
        found.append(difficulty(there, store))

    assert len(set(found[0].tolist())) > 1
    np.testing.assert_array_equal(*found)


def with_agreement(corpus: Any) -> Any:
    """The corpus with shares of listeners that differ by utterance."""
    shares = np.linspace(0.4, 1.0, len(corpus.table))
    return dataclasses.replace(corpus, table=corpus.table.assign(agreement=shares))


# Random and agreement


def test_random_depends_on_seed_fold_and_utterance_but_not_on_its_row(home: Home) -> None:
    task = home.task(**by("random"))
    found = random_difficulty(task)
    backwards = dataclasses.replace(
        task.train,
        **{
            name: getattr(task.train, name)[::-1]
            for name in ("ids", "contents", "labels", "speakers", "votes")
        },
    )
    assert len(set(found.tolist())) == len(found)
    np.testing.assert_array_equal(
        random_difficulty(dataclasses.replace(task, train=backwards)), found[::-1]
    )
    for other in (dataclasses.replace(task, seed=1), dataclasses.replace(task, fold="speaker=x")):
        assert list(np.argsort(random_difficulty(other))) != list(np.argsort(found))


def agreeing(home: Home, *shares: float) -> FoldTask:
    # a fold of a corpus that has none is not planned with this recipe
    task = home.task(**by("random"))
    asked = DataCurriculum(kind="data", difficulty="agreement")
    recipe = task.recipe.model_copy(update={"curriculum": asked})
    train = dataclasses.replace(task.train, agreement=shares)
    return dataclasses.replace(task, recipe=recipe, train=train)


def test_the_more_listeners_agree_the_easier(home: Home, store: Store) -> None:
    shares = np.linspace(0.3, 1.0, 20)

    np.testing.assert_array_equal(difficulty(agreeing(home, *shares), store), -shares)


def test_another_agreement_is_another_student(home: Home, store: Store) -> None:
    one, other = (
        difficulty_inputs(agreeing(home, *shares), store)
        for shares in (np.linspace(0.3, 1.0, 20).tolist(), np.linspace(0.4, 1.0, 20).tolist())
    )

    assert one["curriculum"] == other["curriculum"]
    assert one["difficulty"] != other["difficulty"]


@pytest.mark.parametrize(("shares", "count"), [((), 20), ((float("nan"),) * 3 + (0.5,) * 17, 3)])
def test_agreement_that_some_do_not_have_is_refused(
    home: Home, store: Store, shares: tuple[float, ...], count: int
) -> None:
    told = rf"'agreement', but {count} of 20 training utterances of synthetic, speaker=s1m, have"
    with pytest.raises(TrainingError, match=told):
        difficulty(agreeing(home, *shares), store)
    with pytest.raises(TrainingError, match=told):
        run_fold(agreeing(home, *shares), store=store, reporter=Silent())
