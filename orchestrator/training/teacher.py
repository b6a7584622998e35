"""The teacher of a fold: fitted to that fold's training speakers and nothing else (law 2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.distillation.objectives import cross_entropy, inverse_frequency
from models.macs import count_parameters
from models.outputs import Output
from models.pretrained import LayerMixHead
from orchestrator.encoder_outputs import EncoderOutputs
from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import PretrainedTeacher, Training, VerticalVitTeacher
from orchestrator.features import PackedFrames
from orchestrator.store import Artifact, Store
from orchestrator.training.data import Batch, Data, PooledData, scoring_batches
from orchestrator.training.files import read_weights, statistics_tensors, write_fitted
from orchestrator.training.inputs import FrameSource, frame_data, plain, shared_inputs
from orchestrator.training.launch import launch
from orchestrator.training.loop import Stage, fit, predict_logits
from orchestrator.training.networks import build_network
from orchestrator.training.ranks import Ranks
from orchestrator.training.state import derived_seed
from orchestrator.training.targets import target_inputs, training_targets
from orchestrator.training.task import FoldTask, Reporter, Unlabelled, Utterances
from orchestrator.training.tokens import Tokens


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


class Teacher(ABC):
    """A fitted teacher: logits and features of any utterance of its corpus."""

    def __init__(self, network: nn.Module, task: FoldTask) -> None:
        self.network = network.to(task.device).eval()
        self.task = task

    @abstractmethod
    def data(self, utterances: Unlabelled) -> Data:
        """What the network reads of some utterances."""

    @abstractmethod
    def tokens(self, utterances: Unlabelled) -> Tokens:
        """Features of every time step."""

    def logits(self, utterances: Unlabelled) -> np.ndarray:
        """Logits ``(utterances, classes)``."""
        return predict_logits(self.network, self.data(utterances)).numpy()

    @torch.no_grad()
    def pooled(self, utterances: Unlabelled) -> np.ndarray:
        """The vector the head reads, ``(utterances, width)``."""
        data = self.data(utterances)
        found: dict[int, np.ndarray] = {}
        for rows in scoring_batches(data.lengths):
            pooled = self.network(*data.batch(rows).inputs).pooled.float().cpu().numpy()
            found |= dict(zip(rows.tolist(), pooled, strict=True))
        return np.stack([found[row] for row in range(len(data))])


class VitTeacher(Teacher):
    """A vertical-patch ViT on the fold's log-Mel frames."""

    def __init__(
        self, network: nn.Module, task: FoldTask, pack: PackedFrames, extra: dict[str, Tensor]
    ) -> None:
        super().__init__(network, task)
        self.pack = pack
        self.extra = extra

    def data(self, utterances: Unlabelled) -> Data:
        """Normalised frames, never augmented."""
        mean, std = self.extra["mean"].numpy(), self.extra["std"].numpy()
        return frame_data(self.task, self.pack, utterances, mean=mean, std=std)

    @torch.no_grad()
    def tokens(self, utterances: Unlabelled) -> Tokens:
        """The patches after the last norm."""
        data = self.data(utterances)
        found: dict[int, Tensor] = {}
        for rows in scoring_batches(data.lengths):
            output = self.network(*data.batch(rows).inputs)
            for row, tokens, length in zip(
                rows.tolist(), output.tokens, output.token_lengths.tolist(), strict=True
            ):
                found[row] = tokens[:length].clone()
        ordered = [found[row] for row in range(len(data))]
        section = self.task.recipe.teacher
        assert isinstance(section, VerticalVitTeacher)
        return Tokens(
            flat=torch.cat(ordered),
            lengths=torch.tensor([len(tokens) for tokens in ordered]),
            extents=data.lengths / section.patch_frames,
        )


class EncoderTeacher(Teacher):
    """A layer mix and a head over a frozen encoder's stored outputs."""

    def __init__(self, network: LayerMixHead, task: FoldTask, outputs: EncoderOutputs) -> None:
        super().__init__(network, task)
        self.mix = network
        self.outputs = outputs

    def data(self, utterances: Unlabelled) -> Data:
        """Pooled vectors of each layer."""
        return PooledData(self.outputs.pooled(utterances.ids), device=self.task.device)

    @torch.no_grad()
    def tokens(self, utterances: Unlabelled) -> Tokens:
        """The layers' frames mixed as the head mixes them."""
        mixed = [
            self.mix.mix_frames(torch.from_numpy(frames.astype(np.float32)).to(self.task.device))
            for frames in self.outputs.frames(utterances.ids)
        ]
        lengths = torch.tensor([len(frames) for frames in mixed])
        return Tokens(flat=torch.cat(mixed), lengths=lengths, extents=lengths.float())


def teacher_artifact(
    task: FoldTask, store: Store, *, train: Utterances, reporter: Reporter
) -> Artifact:
    """The teacher fitted to ``train``, from the store or now.

    ``train`` is the fold's training set, or a part of it for cross-fitted knowledge.
    """
    inputs = teacher_inputs(task, train)

    def build(folder: Path) -> None:
        fit_here = partial(_fit_teacher, task, store, train)
        launch(fit_here, folder, reporter, task=task, workers=task.teacher_workers)

    return store.obtain("teacher", inputs, build)


def teacher_inputs(task: FoldTask, train: Utterances) -> dict[str, Any]:
    """The store inputs of a teacher."""
    section = task.recipe.teacher
    inputs = shared_inputs(task, workers=task.teacher_workers) | {"train": train.key()}
    if isinstance(section, PretrainedTeacher):
        if task.encoder is None:
            raise TrainingError("the fold run was given no outputs of the pretrained encoder")
        # not where the encoder lies but what it is: the handle's keys hold its weights' hash
        fitted = plain(section)
        del fitted["root"], fitted["frames"]
        inputs |= target_inputs(train, section.training)
        return inputs | {"teacher": fitted, "encoder": task.encoder.identity}
    assert isinstance(section, VerticalVitTeacher)
    settings = section.training or task.recipe.training
    network = plain(section)
    network["training"] = plain(settings)
    inputs |= target_inputs(train, settings)
    return inputs | {"teacher": network, "features": plain(task.features)}


def _fit_teacher(
    task: FoldTask,
    store: Store,
    train: Utterances,
    folder: Path | None,
    reporter: Reporter,
    ranks: Ranks,
) -> None:
    section = task.recipe.teacher
    seed = derived_seed("teacher", task.seed, task.fold)
    torch.manual_seed(seed)
    extra: dict[str, Tensor] = {}
    network: nn.Module
    data: Data
    validation: Data
    settings: Training
    if isinstance(section, PretrainedTeacher):
        assert task.encoder is not None
        outputs = EncoderOutputs.open(store, task.encoder)
        settings = section.training
        data = PooledData(outputs.pooled(train.ids), device=task.device)
        validation = PooledData(outputs.pooled(task.validation.ids), device=task.device)
        network = LayerMixHead(
            layers=data.pooled.shape[1], width=data.pooled.shape[2], classes=task.classes
        )
        network.fit_statistics(data.pooled.cpu())
    else:
        assert isinstance(section, VerticalVitTeacher)
        settings = section.training or task.recipe.training
        source = FrameSource(task, PackedFrames.open(store, task.frames), train)
        data = source.data(train, augment=settings.augment)
        validation = source.data(task.validation)
        network = build_network(section, features=task.features, classes=task.classes)
        extra = statistics_tensors(source.mean, source.std)
    network.to(task.device)
    fitted = fit(
        network,
        data=data,
        ids=train.ids,
        validation=validation,
        validation_labels=task.validation.labels,
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
    )
    if folder is not None:
        facts = {"parameters": count_parameters(network)}
        write_fitted(folder, fitted, extra=extra, facts=facts)


def load_teacher(task: FoldTask, store: Store, artifact: Artifact) -> Teacher:
    """A fitted teacher, ready to be asked."""
    section = task.recipe.teacher
    state, extra = read_weights(artifact.path)
    if isinstance(section, PretrainedTeacher):
        assert task.encoder is not None
        outputs = EncoderOutputs.open(store, task.encoder)
        shape = state["mean"].shape
        head = LayerMixHead(layers=shape[0], width=shape[1], classes=task.classes)
        head.load_state_dict(state)
        return EncoderTeacher(head, task, outputs)
    assert isinstance(section, VerticalVitTeacher)
    network = build_network(section, features=task.features, classes=task.classes)
    network.load_state_dict(state)
    return VitTeacher(network, task, PackedFrames.open(store, task.frames), extra)
