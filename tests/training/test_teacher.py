"""Law 2: the teacher of a fold knows only that fold's training speakers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import orchestrator.training.teacher as teacher_module
from orchestrator.encoder_outputs import EncoderOutputs
from orchestrator.errors import TrainingError
from orchestrator.experiment import Experiment
from orchestrator.features import PackedFrames
from orchestrator.preparation import PlannedFold, plan_folds, prepare
from orchestrator.protocols import inner_folds
from orchestrator.store import Artifact, Store
from orchestrator.training.files import read_json
from orchestrator.training.fold_run import run_fold
from orchestrator.training.loop import Fitted
from orchestrator.training.task import FoldTask, Silent
from orchestrator.training.teacher import load_teacher, teacher_artifact
from tests.training.tiny import (
    EXPERIMENT,
    PRETRAINED,
    TRAINING,
    Home,
    assert_same_tensors,
    disturbed,
    experiment,
    fold_of,
    prepared_again,
    recipe_of,
    speakers_of,
    tensors,
)

NewStore = Callable[[], Store]
VIT_TEACHER = EXPERIMENT["recipe"]["teacher"]


def of_kind(kind: str, **training: Any) -> Experiment:
    settings = {**TRAINING, **training}
    teacher = {**(VIT_TEACHER if kind == "vertical-vit" else PRETRAINED), "training": settings}
    return experiment(recipe=recipe_of(teacher))


@dataclasses.dataclass(frozen=True)
class Worlds:
    """The same fold of two corpora, prepared apart; the second is disturbed for some speakers."""

    wanted: Experiment
    as_it_is: PlannedFold
    stores: tuple[Store, Store]

    @classmethod
    def of(cls, wanted: Experiment, new_store: NewStore) -> Worlds:
        stores = new_store(), new_store()
        (prepared,) = prepare(wanted, stores[0])
        return cls(wanted, fold_of(wanted, prepared), stores)

    def speakers(self, role: str) -> set[str]:
        table = self.as_it_is.prepared.corpus.table
        return speakers_of(table, getattr(self.as_it_is.fold, role))

    def other(self, speakers: set[str]) -> PlannedFold:
        """The fold where ``speakers`` say something else under other labels."""
        corpus = disturbed(self.as_it_is.prepared.corpus, speakers)
        fold = fold_of(self.wanted, prepared_again(corpus, self.wanted, self.stores[1]))
        assert fold.fold == self.as_it_is.fold

        return fold

    def teachers(self, other: PlannedFold) -> tuple[Artifact, Artifact]:
        tasks = self.as_it_is.task, other.task
        one, two = (
            teacher_artifact(task, store, train=task.train, reporter=Silent())
            for task, store in zip(tasks, self.stores, strict=True)
        )
        assert not one.reused
        assert not two.reused

        return one, two


kinds = pytest.mark.parametrize("kind", ["vertical-vit", "pretrained"])


@kinds
@pytest.mark.usefixtures("fake_encoder")
def test_what_test_speakers_say_and_feel_changes_nothing(kind: str, new_store: NewStore) -> None:
    worlds = Worlds.of(of_kind(kind), new_store)
    one, two = worlds.teachers(worlds.other(worlds.speakers("test")))

    assert one.key == two.key
    assert_same_tensors(tensors(one), tensors(two))
    for name in ("facts.json", "history.json", "validation_logits.npy"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()


@kinds
@pytest.mark.usefixtures("fake_encoder")
def test_what_validation_speakers_say_and_feel_changes_no_weight_of_an_epoch(
    kind: str, new_store: NewStore
) -> None:
    """With the last epoch kept, nothing is left for validation to choose."""
    worlds = Worlds.of(of_kind(kind, epoch_choice="last"), new_store)
    one, two = worlds.teachers(worlds.other(worlds.speakers("validation")))

    assert one.key != two.key
    assert_same_tensors(tensors(one), tensors(two))
    assert (one.path / "validation_logits.npy").read_bytes() != (
        two.path / "validation_logits.npy"
    ).read_bytes()


@kinds
@pytest.mark.usefixtures("fake_encoder")
def test_validation_chooses_the_epoch_and_does_nothing_else(kind: str, new_store: NewStore) -> None:
    worlds = Worlds.of(of_kind(kind), new_store)
    one, two = worlds.teachers(worlds.other(worlds.speakers("validation")))
    histories = [read_json(artifact.path / "history.json") for artifact in (one, two)]

    for here, there in zip(*histories, strict=True):
        assert here["train/cross_entropy"] == there["train/cross_entropy"]
        assert here["validation/cross_entropy"] != there["validation/cross_entropy"]


@kinds
@pytest.mark.usefixtures("fake_encoder")
def test_what_training_speakers_say_changes_everything(kind: str, new_store: NewStore) -> None:
    """So the tests above would see a leak."""
    worlds = Worlds.of(of_kind(kind, epoch_choice="last"), new_store)
    one, two = worlds.teachers(worlds.other({min(worlds.speakers("train"))}))
    here, there = tensors(one), tensors(two)

    assert one.key != two.key
    for name in here:
        assert not torch.equal(here[name], there[name]), name


@kinds
@pytest.mark.usefixtures("fake_encoder")
def test_what_held_out_speakers_say_and_feel_changes_no_teacher_of_an_inner_fold(
    kind: str, new_store: NewStore
) -> None:
    worlds = Worlds.of(of_kind(kind), new_store)
    task = worlds.as_it_is.task
    table = worlds.as_it_is.prepared.corpus.table
    fitted, held = inner_folds(table, task.train.ids, folds=4, seed=0)[0]
    other = worlds.other(speakers_of(table, held)).task
    one, two = (
        teacher_artifact(it, store, train=it.train.subset(fitted), reporter=Silent())
        for it, store in zip((task, other), worlds.stores, strict=True)
    )

    assert one.key == two.key
    assert not two.reused
    assert_same_tensors(tensors(one), tensors(two))
    assert (one.path / "facts.json").read_bytes() == (two.path / "facts.json").read_bytes()


# Who is in which fold


def every_fold(home: Home) -> Iterator[PlannedFold]:
    protocols = (
        {"kind": "leave-one-speaker-out", "validation_speakers": 2},
        {"kind": "leave-one-session-out"},
        {"kind": "speaker-folds", "folds": 3, "validation_speakers": 2},
    )
    for protocol in protocols:
        wanted = experiment(protocol=protocol)
        yield from plan_folds(wanted, [home.prepared], protocol=wanted.protocol, seeds=range(4))


def test_no_fold_trains_on_speakers_of_its_test_or_validation(home: Home) -> None:
    """Must show 6, by the corpus table and not by what the task says of itself."""
    table = home.prepared.corpus.table
    checked = 0
    for entry in every_fold(home):
        task, sealed = entry.task, speakers_of(table, entry.fold.test)
        train = speakers_of(table, task.train.ids)
        validation = speakers_of(table, task.validation.ids)

        assert train == set(task.train.speakers)
        assert validation == set(task.validation.speakers)
        assert not train & sealed
        assert not train & validation
        assert not validation & sealed
        assert train | validation | sealed == set(table["speaker"])
        checked += 1
    assert checked == (8 + 4 + 3) * 4


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What every fit of a teacher is given."""
    seen: list[dict[str, Any]] = []
    real = teacher_module.fit

    def fit(network: Any, **given: Any) -> Fitted:
        seen.append(given)
        return real(network, **given)

    monkeypatch.setattr(teacher_module, "fit", fit)
    return seen


def test_a_teacher_is_fitted_to_the_folds_training_utterances_and_no_others(
    home: Home, store: Store, fits: list[dict[str, Any]]
) -> None:
    fold = home.fold(knowledge="cross-fitted")
    run_fold(fold.task, store=store, reporter=Silent())
    table = home.prepared.corpus.table
    sealed = speakers_of(table, fold.fold.test) | speakers_of(table, fold.fold.validation)

    # the fold's own, and one for each inner fold
    assert len(fits) == 5
    assert fits[0]["ids"] == fold.fold.train
    for given in fits:
        heard = set(given["data"].contents)
        by_content = dict(zip(table["content"], table["speaker"], strict=True))

        assert not speakers_of(table, given["ids"]) & sealed
        assert heard == set(table["content"][table["id"].isin(given["ids"])])
        assert not {by_content[content] for content in heard} & sealed


# Statistics and settings


def test_statistics_are_of_the_utterances_that_are_fitted(home: Home, store: Store) -> None:
    task = home.task()
    part = task.train.subset(task.train.ids[:6])
    found = tensors(teacher_artifact(task, store, train=part, reporter=Silent()))
    frames = np.concatenate(PackedFrames.open(store, task.frames).gather(part.ids))
    np.testing.assert_allclose(found["mean"], frames.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["std"], frames.std(0), rtol=1e-5)


@pytest.mark.usefixtures("fake_encoder")
def test_the_heads_statistics_are_of_the_utterances_that_are_fitted(new_store: NewStore) -> None:
    store = new_store()
    wanted = of_kind("pretrained")
    (prepared,) = prepare(wanted, store)
    task = fold_of(wanted, prepared).task
    artifact = teacher_artifact(task, store, train=task.train, reporter=Silent())
    assert task.encoder is not None
    pooled = np.stack(EncoderOutputs.open(store, task.encoder).pooled(task.train.ids))
    np.testing.assert_allclose(tensors(artifact)["network.mean"], pooled.mean(0), rtol=1e-5)


def test_a_teacher_reads_the_recipes_training_unless_it_has_its_own(home: Home) -> None:
    own = {"teacher": {**VIT_TEACHER, "training": {**TRAINING, "epochs": 5}}}
    keys = {}
    for name, teacher in (("shared", VIT_TEACHER), ("own", own["teacher"])):
        for epochs in (3, 4):
            training = {**TRAINING, "epochs": epochs}
            wanted = experiment(recipe=recipe_of(teacher, training=training))
            keys[name, epochs] = teacher_module.teacher_inputs(
                fold_of(wanted, home.prepared).task, home.task().train
            )

    assert keys["shared", 3] != keys["shared", 4]
    assert keys["own", 3] == keys["own", 4]


@pytest.mark.usefixtures("fake_encoder")
@pytest.mark.parametrize(
    ("option", "value", "same"),
    [("root", "elsewhere", True), ("frames", False, True), ("pooling", "statistics", False)],
)
def test_where_an_encoder_lies_is_no_input_of_its_head(
    new_store: NewStore, option: str, value: Any, same: bool
) -> None:
    store = new_store()
    inputs = []
    for teacher in (PRETRAINED, {**PRETRAINED, option: value}):
        wanted = experiment(recipe=recipe_of(teacher))
        (prepared,) = prepare(wanted, store)
        task = fold_of(wanted, prepared).task
        inputs.append(teacher_module.teacher_inputs(task, task.train))

    assert (inputs[0] == inputs[1]) == same


def test_a_pretrained_teacher_without_outputs_is_refused(home: Home, store: Store) -> None:
    wanted = experiment(recipe=recipe_of(PRETRAINED))
    task = dataclasses.replace(home.task(), recipe=wanted.recipe)
    with pytest.raises(TrainingError, match="no outputs of the pretrained encoder"):
        run_fold(task, store=store, reporter=Silent(), role="teacher")


# What a loaded teacher says


def ask(task: FoldTask, store: Store) -> Any:
    artifact = teacher_artifact(task, store, train=task.train, reporter=Silent())
    return load_teacher(task, store, artifact), artifact


def test_a_loaded_teacher_says_what_the_fitted_one_said(home: Home, store: Store) -> None:
    task = home.task()
    teacher, artifact = ask(task, store)

    said = np.load(artifact.path / "validation_logits.npy")
    np.testing.assert_array_equal(teacher.logits(task.validation), said)


@kinds
@pytest.mark.usefixtures("fake_encoder")
def test_tokens_pooled_and_logits_belong_together(kind: str, new_store: NewStore) -> None:
    """Utterance by utterance, in the order of the utterances, whatever the order of scoring."""
    store = new_store()
    wanted = of_kind(kind)
    (prepared,) = prepare(wanted, store)
    task = fold_of(wanted, prepared).task
    teacher, _ = ask(task, store)
    logits, pooled = teacher.logits(task.train), teacher.pooled(task.train)
    tokens = teacher.tokens(task.train)
    head = teacher.network.head

    np.testing.assert_allclose(head(torch.from_numpy(pooled)).detach(), logits, atol=1e-5)
    assert len(tokens.flat) == int(tokens.lengths.sum())
    for row, name in enumerate(task.train.ids):
        alone = task.train.subset([name])
        start, length = int(tokens.starts[row]), int(tokens.lengths[row])
        own = teacher.tokens(alone)

        np.testing.assert_allclose(teacher.logits(alone)[0], logits[row], atol=1e-5)
        torch.testing.assert_close(own.flat, tokens.flat[start : start + length])
        assert own.extents.tolist() == tokens.extents[[row]].tolist()
    if kind == "pretrained":
        # the mean of the mixed frames is the mixed mean, but for half precision in the store
        first = tokens.flat[: int(tokens.lengths[0])].mean(0)
        np.testing.assert_allclose(first, pooled[0], atol=2e-2)


def test_tokens_of_patches_know_how_far_the_last_one_reaches(home: Home, store: Store) -> None:
    task = home.task()
    tokens = ask(task, store)[0].tokens(task.train)
    pack = PackedFrames.open(store, task.frames)
    frames = torch.tensor([pack.length(name) for name in task.train.ids])
    assert tokens.extents.tolist() == (frames / 4).tolist()
    assert tokens.lengths.tolist() == (-(-frames // 4)).tolist()
