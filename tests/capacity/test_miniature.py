"""Fold runs in miniature: every kind of network and objective, at the size of the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.vertical_vit import VerticalVit
from orchestrator.capacity.memory_probe import outline_of
from orchestrator.capacity.miniature import SCORED, Outline, miniature, run_miniatures, shrunk
from orchestrator.experiment import Experiment
from orchestrator.experiment.recipe import Recipe
from orchestrator.preparation import read_corpora
from orchestrator.store import Store
from tests.models.encoders import save_waveform_model, save_whisper
from tests.small import artifacts
from tests.training.attending import SOURCE, STUDENT
from tests.training.tiny import RICH, experiment

TRAINING = {"epochs": 9, "batch_size": 6}


def outline(wanted: Experiment, folder: Path, **changes: Any) -> Outline:
    """Of an experiment on the tiny corpus; ``changes`` replace parts of it."""
    return replace(outline_of(wanted, read_corpora(wanted, Store(folder / "read"))), **changes)


def ran(wanted: Experiment, folder: Path, **changes: Any) -> Store:
    """A store in which the miniatures have been fitted."""
    run_miniatures(outline(wanted, folder, **changes), folder / "store")
    return Store(folder / "store")


def encoder(folder: Path, **section: Any) -> dict[str, Any]:
    root = save_waveform_model(folder / "encoder", "wav2vec2")
    return {"kind": "pretrained", "root": str(root), "training": TRAINING, **section}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"recipe.training.micro_batch": 3, "recipe.training.precision": "bf16"},
        {"recipe.schedule": {"kind": "matching-first", "matching_epochs": 7}},
        {"recipe.curriculum": {"kind": "data"}, "recipe.knowledge": "cross-fitted"},
        {"recipe.meta": {"kind": "bilevel"}},
        {"recipe.meta": {"kind": "learning-to-teach"}},
        {"recipe.unlabelled": {"kind": "mixed"}},
        {"recipe.unlabelled": {"kind": "first", "epochs": 8}},
        {"recipe.objectives.supervised_contrastive": 1.0},
        {"recipe.temperature": {"kind": "curriculum"}},
        {"recipe.training.targets": "votes"},
    ],
)
def test_whatever_a_recipe_asks_for_is_run(tmp_path: Path, changes: Mapping[str, Any]) -> None:
    ran(experiment(changes, **RICH), tmp_path, seconds=0.5, unlabelled_seconds=0.5)

    assert len(artifacts(tmp_path / "store", "teacher")) == 1
    assert len(artifacts(tmp_path / "store", "student")) == 1


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"pooling": "statistics", "frames": False},
        {"pooling": "attentive"},
        {"mode": {"kind": "top-n", "layers": 1}},
        {"mode": {"kind": "full"}},
    ],
)
def test_a_pretrained_teacher_hears_what_its_mode_hears(
    tmp_path: Path, section: Mapping[str, Any]
) -> None:
    wanted = experiment({"recipe.teacher": encoder(tmp_path, **section)}, **RICH)

    ran(wanted, tmp_path, seconds=0.5)

    assert len(artifacts(tmp_path / "store", "student")) == 1


def test_sources_of_attention_are_there(tmp_path: Path) -> None:
    root = save_whisper(tmp_path / "whisper")
    plain = experiment()
    attending = {"cross_entropy": 1.0, "attention_transfer": 1.0}
    recipes = [
        {"student": STUDENT, "source": source, "objectives": attending, "training": TRAINING}
        for source in (SOURCE, {"kind": "pretrained", "root": str(root)})
    ]
    sections = {"objectives": {"cross_entropy": 1.0}, "initialise": "source"}
    recipes.append({**recipes[0], **sections})
    made = [shrunk(type(plain.recipe).model_validate(recipe)) for recipe in recipes]

    ran(plain, tmp_path, recipes=tuple(made), seconds=0.5)

    assert len(artifacts(tmp_path / "store", "student")) == 3


def test_a_recipe_without_a_teacher_trains_none(tmp_path: Path) -> None:
    alone = {"recipe.teacher": None, "recipe.objectives": {"cross_entropy": 1.0}}

    ran(experiment(alone), tmp_path, seconds=0.5)

    assert artifacts(tmp_path / "store", "teacher") == {}
    assert len(artifacts(tmp_path / "store", "student")) == 1


class Heard:
    """What ViTs hear: (training, utterances, frames)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shapes: set[tuple[bool, int, int]] = set()
        forward = VerticalVit.forward

        def spying(network: VerticalVit, frames: torch.Tensor, lengths: torch.Tensor) -> Any:
            self.shapes.add((network.training, *frames.shape[:2]))
            return forward(network, frames, lengths)

        monkeypatch.setattr(VerticalVit, "forward", spying)


def test_networks_hear_full_batches_of_the_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    batch = {"recipe.training.batch_size": 10}

    # 100 frames of 20 ms; the corpus has 32 utterances
    ran(experiment(batch), tmp_path, seconds=2.0)

    assert heard.shapes == {(True, 10, 100), (False, 32, 100)}


def test_micro_batches_are_what_is_heard_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    small = {"recipe.training.batch_size": 8, "recipe.training.micro_batch": 2}

    ran(experiment(small), tmp_path, seconds=1.0, utterances=1000)

    assert {shape for shape in heard.shapes if shape[0]} == {(True, 2, 50)}
    assert {shape for shape in heard.shapes if not shape[0]} == {(False, SCORED, 50)}


def test_a_crop_is_what_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(monkeypatch)
    crop = {"recipe.training.augment.crop_seconds": 0.5}

    ran(experiment(crop), tmp_path, seconds=2.0)

    assert {frames for training, _, frames in heard.shapes if training} == {25}


def test_a_worker_has_its_part_of_a_batch(tmp_path: Path) -> None:
    wanted = experiment({"recipe.unlabelled": {"kind": "mixed", "batch_size": 9}}, **RICH)

    plain = shrunk(wanted.recipe, teacher_workers=2, student_workers=3)

    # of 8, of 8 and of 9
    assert plain["teacher"]["training"]["batch_size"] == 4
    assert plain["training"]["batch_size"] == 3
    assert plain["unlabelled"]["batch_size"] == 3


def test_two_utterances_stay_to_be_compared() -> None:
    contrast = {"recipe.objectives.supervised_contrastive": 1.0, "recipe.training.batch_size": 2}

    assert shrunk(experiment(contrast).recipe, student_workers=2)["training"]["batch_size"] == 2


def test_a_fold_run_has_what_the_experiment_says(tmp_path: Path) -> None:
    wanted = experiment(
        {"recipe.training.batch_size": 100}, resources={"trial": {"cpus": 3, "gpus": 0.5}}
    )
    found = outline(wanted, tmp_path, utterances=90)
    again = Outline.of_text(found.text())
    task = miniature(wanted.recipe, again, Store(tmp_path / "store"))

    assert again == found
    assert (task.threads, task.device, task.gpus) == (3, "cuda", 1.0)
    # no more than the corpus has
    assert (len(task.train.ids), len(task.validation.ids)) == (90, SCORED)
    assert task.classes == 4
    assert task.held is None


def small(**parts: Any) -> Recipe:
    return Recipe.model_validate({"student": {"kind": "vertical-vit"}, **parts})


def test_a_micro_batch_is_no_more_than_a_workers_part_and_a_batch_no_more_than_there_is() -> None:
    recipe = small(training={"batch_size": 64, "micro_batch": 48})

    two = shrunk(recipe, student_workers=2)["training"]
    assert (two["batch_size"], two["micro_batch"]) == (32, 32)
    few = shrunk(recipe, utterances=20)["training"]
    assert (few["batch_size"], few["micro_batch"]) == (20, 20)


def test_what_makes_a_real_fit_diverge_is_left_out() -> None:
    recipe = small(training={"lr": 1e30, "augment": {"noise": 1e38, "time_masks": 1}})

    training = shrunk(recipe)["training"]
    assert training["lr"] <= 1e-3
    assert training["augment"]["noise"] <= 1.0
    assert training["augment"]["time_masks"] == 1
