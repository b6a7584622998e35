"""The student of a fold run, taught or alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.distillation.objectives import (
    FeatureProjection,
    align_tokens,
    cross_entropy,
    distillation,
    feature_map_l1,
    inverse_frequency,
)
from models.macs import count_parameters
from models.outputs import Output, length_mask
from orchestrator.features import PackedFrames
from orchestrator.store import Artifact, Store
from orchestrator.training.data import Batch
from orchestrator.training.files import read_weights, statistics_tensors, write_fitted
from orchestrator.training.inputs import FrameSource, frame_data, plain, shared_inputs
from orchestrator.training.knowledge import Knowledge, knowledge_artifact, load_knowledge
from orchestrator.training.launch import launch
from orchestrator.training.loop import Losses, Stage, fit, predict_logits
from orchestrator.training.networks import build_network
from orchestrator.training.ranks import Ranks
from orchestrator.training.state import derived_seed
from orchestrator.training.targets import target_inputs, training_targets
from orchestrator.training.task import FoldTask, Reporter, Silent, Unlabelled


def student_artifact(task: FoldTask, store: Store, *, reporter: Reporter) -> Artifact:
    """The trained student of a fold run, from the store or now."""
    knowledge_key = None
    if task.recipe.needs_teacher:
        knowledge_key = knowledge_artifact(task, store, reporter=Silent()).key

    def build(folder: Path) -> None:
        fit_here = partial(_fit_student, task, store)
        launch(fit_here, folder, reporter, task=task, workers=task.student_workers)

    return store.obtain("student", student_inputs(task, knowledge_key), build)


def student_inputs(task: FoldTask, knowledge_key: str | None) -> dict[str, Any]:
    """The store inputs of a student: only the parts of the recipe that its training reads."""
    recipe = task.recipe
    inputs = (
        shared_inputs(task, workers=task.student_workers)
        | {
            "train": task.train.key(),
            "features": plain(task.features),
            "student": plain(recipe.student),
            "objectives": plain(recipe.objectives),
            "schedule": plain(recipe.schedule),
            "training": plain(recipe.training),
            "knowledge": knowledge_key,
        }
        | target_inputs(task.train, recipe.training)
    )
    if recipe.objectives.distillation:
        inputs["temperature"] = plain(recipe.temperature)
    if recipe.objectives.feature_map:
        inputs["feature_map"] = plain(recipe.feature_map)
    return inputs


def student_logits(
    task: FoldTask, store: Store, artifact: Artifact, utterances: Unlabelled
) -> Tensor:
    """A trained student's logits ``(utterances, classes)``."""
    state, extra = read_weights(artifact.path)
    network = build_network(task.recipe.student, features=task.features, classes=task.classes)
    network.load_state_dict(state)
    data = frame_data(
        task,
        PackedFrames.open(store, task.frames),
        utterances,
        mean=extra["mean"].numpy(),
        std=extra["std"].numpy(),
    )
    return predict_logits(network.to(task.device), data)


def _fit_student(
    task: FoldTask, store: Store, folder: Path | None, reporter: Reporter, ranks: Ranks
) -> None:
    recipe = task.recipe
    # the weights' first values depend on the seed and fold alone, so that students of one fold and
    # seed start equal, taught or not
    seed = derived_seed("student", task.seed, task.fold)
    torch.manual_seed(seed)
    network = build_network(recipe.student, features=task.features, classes=task.classes)
    network.to(task.device)
    knowledge = load_knowledge(task, store, reporter=Silent()) if recipe.needs_teacher else None
    projection = _projection(task, network, knowledge)
    source = FrameSource(task, PackedFrames.open(store, task.frames), task.train)
    stages = []
    if recipe.matching_epochs:
        matching = _losses(task, knowledge, projection, only_features=True)
        stages.append(Stage("matching", recipe.matching_epochs, matching, chooses=False))
    losses = _losses(task, knowledge, projection, only_features=False)
    stages.append(Stage("student", recipe.training.epochs, losses))
    fitted = fit(
        network,
        data=source.data(task.train, augment=recipe.training.augment),
        ids=task.train.ids,
        validation=source.data(task.validation),
        validation_labels=task.validation.labels,
        stages=stages,
        settings=recipe.training,
        seed=seed,
        ranks=ranks,
        reporter=reporter,
        beside=projection,
    )
    if folder is not None:
        write_fitted(
            folder,
            fitted,
            extra=statistics_tensors(source.mean, source.std),
            facts={"parameters": count_parameters(network)},
        )


def _projection(
    task: FoldTask, network: nn.Module, knowledge: Knowledge | None
) -> FeatureProjection | None:
    """From the student's width to the teacher's, where features are matched and widths differ."""
    if knowledge is None or not task.recipe.objectives.feature_map:
        return None
    # an encoder's pooled mean and deviation are twice as wide as its frames
    matched = knowledge.pooled if knowledge.tokens is None else knowledge.tokens.flat
    width = matched.shape[1]
    student_width = int(network.dim)  # type: ignore[arg-type]
    if student_width == width:
        return None
    return FeatureProjection(student_width, width).to(task.device)


def _losses(
    task: FoldTask,
    knowledge: Knowledge | None,
    projection: FeatureProjection | None,
    *,
    only_features: bool,
) -> Losses:
    recipe = task.recipe
    wants = recipe.objectives
    targets = training_targets(task.train, recipe.training, device=task.device)
    weights = (
        inverse_frequency(task.train.counts(task.classes).tolist()).to(task.device)
        if recipe.training.class_weights
        else None
    )

    def losses(output: Output, batch: Batch) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if wants.cross_entropy and not only_features:
            terms["cross_entropy"] = wants.cross_entropy * cross_entropy(
                output.logits,
                targets[batch.rows],
                class_weights=weights,
                label_smoothing=recipe.training.label_smoothing,
            )
        if knowledge is None:
            return terms
        if wants.distillation and not only_features:
            terms["distillation"] = wants.distillation * distillation(
                output.logits, knowledge.logits[batch.rows], temperature=recipe.temperature.value
            )
        if wants.feature_map:
            terms["feature_map"] = wants.feature_map * _feature_map(
                output, batch, knowledge, projection
            )
        return terms

    return losses


def _feature_map(
    output: Output, batch: Batch, knowledge: Knowledge, projection: FeatureProjection | None
) -> Tensor:
    if knowledge.tokens is None:
        pooled = output.pooled if projection is None else projection(output.pooled)
        return feature_map_l1(pooled, knowledge.pooled[batch.rows])
    frames, lengths = knowledge.tokens.batch(batch.rows)
    # the student heard a window of the utterance; its tokens' places are relative to that window
    window = batch.window
    start, span = (part[:, None].to(output.positions) for part in (window.start, window.span))
    target = align_tokens(
        frames,
        lengths.to(frames.device),
        start + span * output.positions,
        teacher_extents=knowledge.tokens.extents[batch.rows].to(frames.device),
    )
    tokens = output.tokens if projection is None else projection(output.tokens)
    mask = length_mask(output.token_lengths, output.tokens.shape[1])
    return feature_map_l1(tokens, target, mask=mask)
