"""The teacher of a fold: fitted to that fold's training speakers and nothing else (law 2)."""

from __future__ import annotations

import importlib.metadata
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.distillation.objectives import cross_entropy, inverse_frequency
from models.macs import count_parameters
from models.outputs import Output
from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import PretrainedTeacher, Training, VerticalVitTeacher
from orchestrator.features import PackedFrames
from orchestrator.store import STAGE_VERSIONS, Artifact, Store
from orchestrator.teacher_encoder import teachers_weights
from orchestrator.training.checkpoint import Checkpoint
from orchestrator.training.data import Batch, Data
from orchestrator.training.encoder_networks import (
    EncoderSource,
    fit_statistics,
    refuse_nothing_to_hear,
)
from orchestrator.training.files import read_weights, statistics_tensors, write_fitted
from orchestrator.training.fitted_teachers import EncoderTeacher, Teacher, VitTeacher
from orchestrator.training.inputs import FrameSource, plain, shared_inputs
from orchestrator.training.judges import EmotionJudge
from orchestrator.training.launch import launch
from orchestrator.training.loop import fit
from orchestrator.training.networks import build_network
from orchestrator.training.ranks import Ranks
from orchestrator.training.stage import Stage
from orchestrator.training.state import derived_seed
from orchestrator.training.targets import target_inputs, training_targets
from orchestrator.training.task import FoldTask, Reporter, Utterances

__all__ = ["Teacher", "label_stage", "load_teacher", "teacher_artifact", "teacher_inputs"]


def label_stage(
    name: str,
    *,
    epochs: int,
    settings: Training,
    train: Utterances,
    classes: int,
    device: str,
) -> Stage:
    """Epochs of cross-entropy alone, as ``settings`` weigh and smooth it."""
    targets = training_targets(train, settings, device=device)
    weights = (
        inverse_frequency(train.counts(classes).tolist()).to(device)
        if settings.class_weights
        else None
    )

    def losses(output: Output, batch: Batch) -> dict[str, Tensor]:
        return {
            "cross_entropy": cross_entropy(
                output.logits,
                targets[batch.rows],
                class_weights=weights,
                label_smoothing=settings.label_smoothing,
            )
        }

    return Stage(name=name, epochs=epochs, losses=losses)


def teacher_artifact(
    task: FoldTask, store: Store, *, train: Utterances, reporter: Reporter
) -> Artifact:
    """The teacher fitted to ``train``, from the store or now.

    ``train`` is the fold's training set, or a part of it for cross-fitted knowledge.
    """
    inputs = teacher_inputs(task, train)
    checkpoint = task.checkpoint(store, "teacher", inputs)

    def build(folder: Path) -> None:
        fit_here = partial(_fit_teacher, task, store, train, checkpoint)
        launch(fit_here, folder, reporter, task=task, workers=task.teacher_workers)

    artifact = store.obtain("teacher", inputs, build)
    checkpoint.remove()
    return artifact


def teacher_inputs(task: FoldTask, train: Utterances) -> dict[str, Any]:
    """The store inputs of a teacher."""
    section = task.recipe.teacher
    inputs = shared_inputs(task, workers=task.teacher_workers) | {"train": train.key()}
    if isinstance(section, PretrainedTeacher):
        inputs |= target_inputs(train, section.training)
        return inputs | _encoder_inputs(task, section)
    assert isinstance(section, VerticalVitTeacher)
    settings = section.training or task.recipe.training
    network = plain(section)
    network["training"] = plain(settings)
    inputs |= target_inputs(train, settings)
    return inputs | {"teacher": network, "features": plain(task.features)}


def _encoder_inputs(task: FoldTask, section: PretrainedTeacher) -> dict[str, Any]:
    """The inputs of a pretrained teacher: not where the encoder lies but what it is."""
    refuse_nothing_to_hear(task, section)
    fitted = plain(section)
    for name in ("root", "revision", "frames"):
        del fitted[name]
    # the same numbers with and without
    fitted["mode"].pop("gradient_checkpointing", None)
    if section.mode.kind == "frozen":
        del fitted["mode"]
    if not section.hears_waveforms:
        assert task.encoder is not None
        # whose identity holds the weights' hash
        return {"teacher": fitted, "encoder": task.encoder.identity}
    assert task.waveforms is not None
    inputs = {
        "teacher": fitted,
        "encoder": teachers_weights(section),
        "waveforms": [task.waveforms.identity, STAGE_VERSIONS["waveforms"]],
    }
    if section.mode.kind == "lora":
        inputs["peft"] = importlib.metadata.version("peft")
    return inputs


def _fit_teacher(
    task: FoldTask,
    store: Store,
    train: Utterances,
    checkpoint: Checkpoint,
    folder: Path | None,
    reporter: Reporter,
    ranks: Ranks,
) -> None:
    section = task.recipe.teacher
    seed = derived_seed("teacher", task.seed, task.fold)
    extra: dict[str, Tensor] = {}
    network: nn.Module
    data: Data
    validation: Data
    settings: Training
    if isinstance(section, PretrainedTeacher):
        settings = section.training
        heard = EncoderSource(task, store)
        data, validation = heard.data(train), heard.data(task.validation)
        # after the encoder, whose loading may draw numbers
        torch.manual_seed(seed)
        network = heard.network()
        fit_statistics(network.to(task.device), data)
    else:
        assert isinstance(section, VerticalVitTeacher)
        settings = section.training or task.recipe.training
        source = FrameSource(task, PackedFrames.open(store, task.frames), train)
        data = source.data(train, augment=settings.augment)
        validation = source.data(task.validation)
        torch.manual_seed(seed)
        network = build_network(section, features=task.features, classes=task.classes)
        extra = statistics_tensors(source.mean, source.std)
    network.to(task.device)
    fitted = fit(
        network,
        data=data,
        ids=train.ids,
        labels=train.labels,
        judge=EmotionJudge(validation, task.validation.labels, settings=settings, ranks=ranks),
        stages=[
            label_stage(
                "teacher",
                epochs=settings.epochs,
                settings=settings,
                train=train,
                classes=task.classes,
                device=task.device,
            )
        ],
        settings=settings,
        seed=seed,
        ranks=ranks,
        reporter=reporter,
        checkpoint=checkpoint,
        key="recipe.training" if section.training is None else "recipe.teacher.training",
    )
    if folder is not None:
        trained = sum(part.numel() for part in network.parameters() if part.requires_grad)
        facts = {"parameters": count_parameters(network), "trained_parameters": trained}
        write_fitted(folder, fitted, extra=extra, facts=facts)


def load_teacher(task: FoldTask, store: Store, artifact: Artifact) -> Teacher:
    """A fitted teacher, ready to be asked of utterances in the packs that ``task`` names.

    Raises:
        TrainingError: the artifact is of another network.
        PretrainedError: the encoder of a fine-tuned teacher cannot be loaded.
    """
    section = task.recipe.teacher
    state, extra = read_weights(artifact.path)
    if isinstance(section, PretrainedTeacher):
        heard = EncoderSource(task, store)
        encoder_network = heard.network()
        _load_trained(encoder_network, state, artifact)
        return EncoderTeacher(encoder_network, task, heard)
    assert isinstance(section, VerticalVitTeacher)
    network = build_network(section, features=task.features, classes=task.classes)
    network.load_state_dict(state)
    return VitTeacher(network, task, PackedFrames.open(store, task.frames), extra)


def _load_trained(network: nn.Module, state: dict[str, Tensor], artifact: Artifact) -> None:
    """Load what was trained; what was not is as the encoder was published."""
    frozen: tuple[str, ...] = getattr(network, "frozen_prefixes", tuple)()
    missing, unexpected = network.load_state_dict(state, strict=False)
    wrong = [name for name in missing if not name.startswith(frozen)] + unexpected
    if wrong:
        raise TrainingError(
            f"teacher {artifact.key[:12]} does not fit its network: {len(wrong)} tensors are "
            f"missing or too many, such as {wrong[0]!r}; remove it from the store and run again"
        )
