"""A fit that was killed goes on, and nobody can tell from what it leaves."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from orchestrator.errors import StoreError
from orchestrator.experiment.recipe import Training
from orchestrator.preparation import prepare
from orchestrator.store import Artifact, Store
from orchestrator.store.publication import LocalFiles
from orchestrator.training.checkpoint import Checkpoint
from orchestrator.training.data import Batch, PooledData
from orchestrator.training.fold_run import Role, run_fold
from orchestrator.training.judges import EmotionJudge
from orchestrator.training.loop import Fitted, fit
from orchestrator.training.ranks import Ranks
from orchestrator.training.stage import Companion, Extra, Speech, Stage
from orchestrator.training.task import FoldTask, Silent
from tests.models.encoders import save_waveform_model, save_whisper
from tests.training.tiny import TRAINING, Home, experiment, fold_of, recipe_of, tensors

NewStore = Callable[[], Store]

ROWS = 10
LABELS = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


class KilledError(Exception):
    """As if the process had gone."""


class KillsAt:
    """A reporter that ends everything when it hears of some epoch, and remembers the others."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.rows: dict[int, dict[str, float]] = {}

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        if step == self.epoch:
            raise KilledError
        self.rows[step] = dict(values)


class Small(nn.Module):
    """A linear layer with dropout and a buffer that counts."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, pooled: Tensor) -> SimpleNamespace:
        if self.training:
            self.seen += len(pooled)
        hidden = nn.functional.dropout(self.encoder(pooled[:, 0]).tanh(), 0.3, self.training)
        return SimpleNamespace(logits=self.head(hidden), pooled=hidden)


class Pace(Companion):
    """Something learned beside: a factor on the loss, by momentum, and how often it was asked."""

    def __init__(self) -> None:
        self.factor = torch.ones(())
        self.speed = torch.zeros(())
        self.asked = torch.zeros((), dtype=torch.long)
        self.at = 0

    def before_epoch(self, epoch: int) -> None:
        self.at = epoch

    def before_update(
        self, network: nn.Module, batch: Callable[[], Batch], *, update: int, epoch: int
    ) -> None:
        self.asked += 1
        self.speed = 0.9 * self.speed + 0.01 * batch().rows.float().mean()

    def after_backward(self) -> None:
        self.factor = self.factor + 0.01 * self.speed

    def logged(self) -> Mapping[str, float]:
        return {"pace/factor": float(self.factor), "pace/epoch": float(self.at)}

    def state(self) -> dict[str, Tensor]:
        return {"factor": self.factor, "speed": self.speed, "asked": self.asked}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.factor, self.speed = state["factor"], state["speed"]
        self.asked = state["asked"]


@dataclasses.dataclass
class World:
    """Everything of a fit, made from a seed, as a new process would make it."""

    settings: Training
    network: nn.Module
    beside: nn.Module
    stages: list[Stage]
    data: PooledData
    validation: PooledData

    @classmethod
    def new(cls, *, frozen: bool = False, **options: Any) -> World:
        draw = np.random.default_rng(0)
        data, validation, other = (
            PooledData(draw.normal(size=(rows, 1, 4))) for rows in (ROWS, 6, 7)
        )
        torch.manual_seed(4)
        network, beside = Small(), nn.Linear(4, 2)
        if frozen:
            network.encoder.requires_grad_(False)
            network.frozen_prefixes = lambda: ("encoder.",)  # type: ignore[assignment]
        pace, labels = Pace(), torch.tensor(LABELS)

        def matching(output: Any, batch: Batch) -> dict[str, Tensor]:
            return {"feature_map": pace.factor * beside(output.pooled).square().mean(1)}

        def everything(output: Any, batch: Batch) -> dict[str, Tensor]:
            told = nn.functional.cross_entropy(output.logits, labels[batch.rows], reduction="none")
            return {"cross_entropy": told} | matching(output, batch)

        def chosen(done: float, network: nn.Module) -> Tensor:
            return torch.arange(4 + int(6 * done))

        extra = Extra(Speech(other, [f"x{row}" for row in range(7)]), matching, size=2, weight=0.5)
        settings = Training.model_validate(
            {"epochs": 3, "batch_size": 4, "lr": 0.05, "average_decay": 0.8, "smoothing_epochs": 2}
            | options
        )
        stages = [
            Stage("matching", 2, matching, chooses=False, companions=[pace]),
            Stage("student", 3, everything, choose=chosen, extra=extra, companions=[Pace()]),
        ]
        return cls(settings, network, beside, stages, data, validation)

    def fit(
        self,
        checkpoint: Checkpoint | None = None,
        *,
        kill_at: int = 0,
        told: KillsAt | None = None,
    ) -> Fitted:
        self.told = told or KillsAt(kill_at)
        return fit(
            self.network,
            data=self.data,
            ids=[f"u{row}" for row in range(ROWS)],
            labels=LABELS,
            judge=EmotionJudge(self.validation, [0, 1, 2, 2, 1, 0], settings=self.settings),
            stages=self.stages,
            settings=self.settings,
            seed=7,
            ranks=Ranks(),
            reporter=self.told,
            beside=self.beside,
            checkpoint=checkpoint,
        )


def in_folder(folder: Path, *, minutes: float = 0.0) -> Checkpoint:
    return Checkpoint(Store(folder), "student", {}, minutes=minutes)


def assert_same(one: Fitted, other: Fitted) -> None:
    """Bitwise."""
    assert one.state.keys() == other.state.keys()
    for name, value in one.state.items():
        assert torch.equal(value, other.state[name]), name
    assert one.history == other.history
    assert one.epoch == other.epoch
    np.testing.assert_array_equal(one.validation_logits, other.validation_logits)


CHOICES: dict[str, dict[str, Any]] = {
    "averaged": {},
    "plain": {"average_decay": 0.0},
    "last": {"epoch_choice": "last"},
    "recall": {"epoch_choice": "validation-macro-recall", "smoothing_epochs": 3},
    "balanced": {"batches": "class-balanced", "updates_per_epoch": 4},
    "frozen": {"frozen": True},
}


@pytest.mark.parametrize("options", CHOICES.values(), ids=CHOICES)
# in the first stage, at the boundary (the second one's first), in the second, in the last epoch
@pytest.mark.parametrize("kill_at", [2, 3, 4, 5])
def test_a_fit_that_was_killed_ends_bitwise_as_if_it_had_not_been(
    tmp_path: Path, options: dict[str, Any], kill_at: int
) -> None:
    undisturbed = World.new(**options).fit()
    with pytest.raises(KilledError):
        World.new(**options).fit(in_folder(tmp_path), kill_at=kill_at)
    # what the process had drawn is gone
    torch.manual_seed(99)
    world = World.new(**options)
    torch.rand(3)
    again = world.fit(in_folder(tmp_path))

    assert_same(again, undisturbed)
    # what was done is not done again
    assert sorted(world.told.rows) == list(range(kill_at, 6))


def test_so_does_one_that_is_killed_in_every_epoch(tmp_path: Path) -> None:
    undisturbed = World.new().fit()
    for epoch in (1, 2, 3, 4, 5):
        with pytest.raises(KilledError):
            World.new().fit(in_folder(tmp_path), kill_at=epoch)

    assert_same(World.new().fit(in_folder(tmp_path)), undisturbed)


def test_one_that_was_killed_at_its_very_end_trains_no_more(tmp_path: Path) -> None:
    finished = World.new().fit(in_folder(tmp_path))
    world = World.new()
    again = world.fit(in_folder(tmp_path))

    assert_same(again, finished)
    assert world.told.rows == {}


def test_what_runs_beside_is_where_it_was(tmp_path: Path) -> None:
    undisturbed = World.new()
    undisturbed.fit()
    with pytest.raises(KilledError):
        World.new().fit(in_folder(tmp_path), kill_at=4)
    world = World.new()
    world.fit(in_folder(tmp_path))

    assert torch.equal(world.beside.weight, undisturbed.beside.weight)  # type: ignore[arg-type]
    for one, other in zip(world.stages, undisturbed.stages, strict=True):
        (here,), (there,) = one.companions, other.companions
        assert here.state() == there.state()
        # three updates an epoch, as many epochs as the stage has
        assert int(here.state()["asked"]) == 3 * one.epochs


def test_a_checkpoint_changes_nothing_by_being_written(tmp_path: Path) -> None:
    assert_same(World.new().fit(in_folder(tmp_path)), World.new().fit())


def test_what_is_frozen_is_not_in_it(tmp_path: Path) -> None:
    checkpoint = in_folder(tmp_path)
    fitted = World.new(frozen=True).fit(checkpoint)
    found = checkpoint.read()
    names = {"head.weight", "head.bias", "seen"}

    assert found is not None
    assert found.parts["network"].keys() == found.parts["average"].keys() == names
    assert found.parts["kept"].keys() == fitted.state.keys() == names


class Clock:
    def __init__(self, seconds_a_look: float) -> None:
        self.now = 0.0
        self.step = seconds_a_look

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize(
    ("minutes", "epochs"),
    [
        # a look takes twenty seconds, and so do an epoch and a checkpoint: at 20, 60, 100, ...
        (0.0, [1, 2, 3, 4, 5]),
        # due at 60, written at 80; at 140, written at 160 ...
        (1.0, [3]),
        (10.0, []),
    ],
)
def test_checkpoints_are_as_far_apart_as_is_asked(
    tmp_path: Path, minutes: float, epochs: list[int]
) -> None:
    written: list[int] = []

    class Noted(Checkpoint):
        def write(self, saved: Any) -> bool:
            written.append(saved.progress.epoch)
            return super().write(saved)

    noted = Noted(Store(tmp_path), "student", {}, minutes=minutes, clock=Clock(20.0))
    World.new().fit(noted)

    assert written == epochs


def states(folder: Path) -> list[Path]:
    """What a fit has left under a folder, the newest last."""
    return sorted(folder.rglob("checkpoints/*/*/*.safetensors"))


@pytest.mark.parametrize(("damaged", "again_from"), [(1, 3), (2, 1)])
def test_a_checkpoint_cut_short_is_told_of_and_the_one_before_it_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: int, again_from: int
) -> None:
    undisturbed = World.new().fit()
    with pytest.raises(KilledError):
        World.new().fit(in_folder(tmp_path), kill_at=4)
    assert [file.name[:6] for file in states(tmp_path)] == ["000002", "000003"]
    for file in states(tmp_path)[-damaged:]:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    world = World.new()
    with caplog.at_level(logging.WARNING):
        again = world.fit(in_folder(tmp_path))

    assert caplog.text.count("is damaged") == damaged
    assert sorted(world.told.rows) == list(range(again_from, 6))
    assert_same(again, undisturbed)


def test_a_store_that_takes_no_checkpoint_costs_no_epoch_and_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = World.new().fit()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    # full from epoch 3 on, at which the process is then killed
    class Filling(KillsAt):
        def metrics(self, values: Mapping[str, float], *, step: int) -> None:
            super().metrics(values, step=step)
            if step == 3:
                monkeypatch.setattr(LocalFiles, "write", full)

    with pytest.raises(KilledError):
        World.new().fit(in_folder(tmp_path), told=Filling(5))
    assert [file.name[:6] for file in states(tmp_path)] == ["000001", "000002"]
    assert caplog.text.count("takes no checkpoint") == 1
    monkeypatch.undo()
    world = World.new()
    again = world.fit(in_folder(tmp_path))

    assert sorted(world.told.rows) == [3, 4, 5]
    assert_same(again, undisturbed)


# Whole fold runs

EVERYTHING = {
    "recipe.objectives.supervised_contrastive": 0.2,
    "recipe.training.batches": "class-balanced",
    "recipe.training.average_decay": 0.9,
    "recipe.student.dropout": 0.2,
    "recipe.curriculum": {
        "kind": "data",
        "difficulty": "own-loss",
        "pacing": {"kind": "linear", "start": 0.5, "grow_share": 0.7},
    },
}
RECIPES: dict[str, dict[str, Any]] = {
    "weights and a curriculum of the temperature": {
        "recipe.temperature": {"kind": "curriculum", "epochs": 2},
        "recipe.meta": {"kind": "bilevel", "learn": ["weights"], "interval": 1},
    },
    "temperatures": {"recipe.meta": {"kind": "bilevel", "gradient": "finite-difference"}},
    "the teacher": {"recipe.meta": {"kind": "learning-to-teach", "interval": 1}},
    "matching first": {"recipe.schedule": {"kind": "matching-first", "matching_epochs": 1}},
}
HELD = {"kind": "leave-one-speaker-out", "validation_speakers": 2, "held_speakers": 1}


def task_of(home: Home, recipe: Mapping[str, Any]) -> FoldTask:
    task = fold_of(experiment(recipe, protocol=HELD), home.prepared).task
    return dataclasses.replace(task, checkpoint_minutes=0.0)


def assert_same_files(one: Artifact, other: Artifact) -> None:
    names = [file.name for file in sorted(one.path.iterdir())]
    assert names == [file.name for file in sorted(other.path.iterdir())]
    for name in names:
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_student_that_was_killed_ends_bitwise_as_if_it_had_not_been(
    home: Home, new_store: NewStore, recipe: dict[str, Any]
) -> None:
    task = task_of(home, EVERYTHING | recipe)
    whole, broken = new_store(), new_store()
    undisturbed = run_fold(task, store=whole, reporter=Silent()).artifact
    with pytest.raises(KilledError):
        run_fold(task, store=broken, reporter=KillsAt(3))
    left = states(broken.folder)
    told = KillsAt(0)
    again = run_fold(task, store=broken, reporter=told).artifact

    assert [file.name[:6] for file in left] == ["000001", "000002"]
    assert list(told.rows) == ([3, 4] if "recipe.schedule" in recipe else [3])
    assert_same_files(again, undisturbed)
    # what it was for is done
    assert not left[0].parent.exists()


def test_a_checkpoint_that_outlived_its_student_goes_with_the_next_look(
    home: Home, store: Store
) -> None:
    task = task_of(home, {})
    with pytest.raises(KilledError):
        run_fold(task, store=store, reporter=KillsAt(2))
    (left,) = states(store.folder)
    kept = left.read_bytes()
    run_fold(task, store=store, reporter=Silent())
    # killed between the student's publication and the removal
    left.parent.mkdir()
    left.write_bytes(kept)

    assert run_fold(task, store=store, reporter=Silent()).reused
    assert not left.exists()


def test_a_store_that_turns_read_only_is_named_and_a_re_run_goes_on(
    home: Home, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(home, EVERYTHING)
    whole, broken = new_store(), new_store()
    undisturbed = run_fold(task, store=whole, reporter=Silent()).artifact

    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    class Refused(KillsAt):
        def metrics(self, values: Mapping[str, float], *, step: int) -> None:
            super().metrics(values, step=step)
            if step == 2:
                monkeypatch.setattr(LocalFiles, "write", refused)
                monkeypatch.setattr("orchestrator.store.store.seal", refused)

    refusing = Refused(0)
    with pytest.raises(StoreError, match="Read-only file system.*make it writable"):
        run_fold(task, store=broken, reporter=refusing)
    # training went on to its end, and only its result could not be kept
    assert list(refusing.rows) == [1, 2, 3]
    assert [file.name[:6] for file in states(broken.folder)] == ["000001"]
    monkeypatch.undo()
    told = KillsAt(0)
    again = run_fold(task, store=broken, reporter=told).artifact

    assert list(told.rows) == [2, 3]
    assert_same_files(again, undisturbed)


def test_another_recipe_goes_on_from_no_ones_checkpoint(home: Home, store: Store) -> None:
    told = KillsAt(0)
    with pytest.raises(KilledError):
        run_fold(task_of(home, {}), store=store, reporter=KillsAt(3))
    other = task_of(home, {"recipe.training.lr": 1e-3})
    run_fold(other, store=store, reporter=told)

    assert list(told.rows) == [1, 2, 3]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_how_often_checkpoints_are_written_changes_no_number_and_no_key(
    home: Home, new_store: NewStore, role: Role
) -> None:
    often = task_of(home, {})
    seldom = dataclasses.replace(often, checkpoint_minutes=60.0)
    one, other = (
        run_fold(task, store=new_store(), reporter=Silent(), role=role).artifact
        for task in (often, seldom)
    )

    assert one.key == other.key
    assert_same_files(one, other)


def test_a_teacher_that_was_killed_ends_bitwise_as_if_it_had_not_been(
    home: Home, new_store: NewStore
) -> None:
    task = task_of(home, {"recipe.teacher.dropout": 0.2, "recipe.training.average_decay": 0.9})
    whole, broken = new_store(), new_store()
    undisturbed = run_fold(task, store=whole, reporter=Silent(), role="teacher").artifact
    with pytest.raises(KilledError):
        run_fold(task, store=broken, reporter=KillsAt(3), role="teacher")
    told = KillsAt(0)
    again = run_fold(task, store=broken, reporter=told, role="teacher").artifact

    assert list(told.rows) == [3]
    assert_same_files(again, undisturbed)
    assert not list((broken.folder / "checkpoints" / "teacher").iterdir())


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "whisper"])
@pytest.mark.parametrize(
    "mode", [{"kind": "top-n", "layers": 1}, {"kind": "lora", "rank": 2}, {"kind": "full"}]
)
def test_a_fine_tuned_teacher_that_was_killed_ends_bitwise_the_same(
    new_store: NewStore, tmp_path: Path, kind: str, mode: dict[str, Any]
) -> None:
    root = tmp_path / "encoder"
    if kind == "whisper":
        save_whisper(root)
    else:
        save_waveform_model(root, kind, conv_kernel=(20, 8, 8), conv_stride=(10, 8, 8))
    training = TRAINING | {"epochs": 2, "batch_size": 16, "batches": "class-balanced"}
    section = {"kind": "pretrained", "root": str(root), "mode": mode | {"lr": 1e-3}}
    wanted = experiment(recipe=recipe_of(section | {"training": training}))
    whole, broken = new_store(), new_store()
    (prepared,) = prepare(wanted, whole)
    shutil.copytree(whole.folder, broken.folder, dirs_exist_ok=True)
    task = dataclasses.replace(fold_of(wanted, prepared).task, checkpoint_minutes=0.0)
    undisturbed = run_fold(task, store=whole, reporter=Silent(), role="teacher").artifact
    with pytest.raises(KilledError):
        run_fold(task, store=broken, reporter=KillsAt(2), role="teacher")
    (left,) = states(broken.folder)
    # the published weights, many times the size of what is trained, are not in it
    trained = tensors(undisturbed)
    with safe_open(left, framework="pt") as file:
        kept = {
            key.removeprefix("network/") for key in list(file.keys()) if key.startswith("network/")
        }
    told = KillsAt(0)
    again = run_fold(task, store=broken, reporter=told, role="teacher").artifact

    assert {f"network.{name}" for name in kept} == set(trained)
    assert list(told.rows) == [2]
    assert_same_files(again, undisturbed)
