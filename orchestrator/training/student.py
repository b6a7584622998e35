"""The student of a fold run, taught or alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.macs import count_parameters
from models.satn import Satn, begin_as
from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import (
    Bilevel,
    CurriculumTemperature,
    DataCurriculum,
    LearningToTeach,
    Objectives,
    UnlabelledMixed,
)
from orchestrator.features import PackedFrames
from orchestrator.store import Artifact, Store
from orchestrator.training.checkpoint import Checkpoint
from orchestrator.training.curriculum import Curriculum, always, own_loss
from orchestrator.training.difficulty import difficulty_inputs, fixed_difficulty
from orchestrator.training.files import read_weights, statistics_tensors, write_fitted
from orchestrator.training.inputs import FrameSource, frame_data, plain, shared_inputs
from orchestrator.training.judges import EmotionJudge, predict_logits
from orchestrator.training.knowledge import (
    Knowledge,
    knowledge_artifact,
    knowledge_key,
    load_knowledge,
    load_unlabelled_knowledge,
)
from orchestrator.training.launch import launch
from orchestrator.training.loop import fit
from orchestrator.training.meta import BilevelLearner, HeldSpeech, TeacherLearner
from orchestrator.training.networks import build_network
from orchestrator.training.ranks import Ranks
from orchestrator.training.source_attention import (
    source_attention,
    source_inputs,
    source_recogniser,
)
from orchestrator.training.stage import Choose, Companion, Extra, Speech, Stage
from orchestrator.training.state import derived_seed
from orchestrator.training.student_loss import (
    Helpers,
    StudentLoss,
    TemperatureCurriculum,
    UnlabelledLoss,
)
from orchestrator.training.targets import target_inputs
from orchestrator.training.task import FoldTask, Reporter, Silent, Unlabelled, UnlabelledSpeech
from orchestrator.training.teacher import load_teacher, teacher_artifact


def student_artifact(
    task: FoldTask, store: Store, *, reporter: Reporter, teacher: Reporter | None = None
) -> Artifact:
    """The trained student of a fold run, from the store or now.

    Args:
        task: the fold run.
        store: has it and what it learns from, or will.
        reporter: hears the student's epochs.
        teacher: hears the epochs of the fold's own teacher, if that is fitted now; default: nobody.
    """
    teaching = teacher or Silent()
    heard = None
    if task.recipe.needs_teacher:
        heard = knowledge_artifact(task, store, reporter=teaching).key
    inputs = student_inputs(task, heard) | difficulty_inputs(task, store, reporter=teaching)
    checkpoint = task.checkpoint(store, "student", inputs)

    def build(folder: Path) -> None:
        # found here, since it may train students, and a worker cannot launch workers
        difficulty = student_difficulty(task, store)
        fit_here = partial(fit_student, task, store, checkpoint, difficulty)
        launch(fit_here, folder, reporter, task=task, workers=task.student_workers)

    artifact = store.obtain("student", inputs, build)
    checkpoint.remove()
    return artifact


def student_key(task: FoldTask, store: Store) -> str:
    """The store key of :func:`student_artifact`; nothing is fitted or looked for.

    Raises:
        TrainingError: the task lacks what the recipe asks for, which nothing can be trained on.
    """
    heard = knowledge_key(task, store) if task.recipe.needs_teacher else None
    inputs = student_inputs(task, heard) | difficulty_inputs(task, store, build=False)
    return store.key("student", inputs)


def student_inputs(task: FoldTask, knowledge: str | None) -> dict[str, Any]:
    """The store inputs of a student: only the parts of the recipe that its training reads."""
    recipe = task.recipe
    inputs = (
        shared_inputs(task, workers=task.student_workers)
        | {
            "train": task.train.key(),
            "features": plain(task.features),
            "student": plain(recipe.student),
            "objectives": _objectives(recipe.objectives),
            "schedule": plain(recipe.schedule),
            "training": plain(recipe.training),
            "knowledge": knowledge,
        }
        | target_inputs(task.train, recipe.training)
    )
    # a section that is off adds nothing
    if recipe.objectives.supervised_contrastive:
        inputs["supervised_contrastive"] = plain(recipe.supervised_contrastive)
    if recipe.meta.kind != "none":
        if task.held is None:
            raise TrainingError(
                f"recipe.meta.kind is {recipe.meta.kind!r} but the protocol of {task.corpus} keeps "
                "no training speakers apart; set its held_speakers or held_share"
            )
        inputs["meta"] = plain(recipe.meta) | {"held": task.held.key()}
    if recipe.unlabelled.kind != "none":
        if task.unlabelled is None:
            raise TrainingError(
                f"recipe.unlabelled.kind is {recipe.unlabelled.kind!r} but the experiment has no "
                "unlabelled speech; add a corpus with role: unlabelled"
            )
        inputs["unlabelled"] = plain(recipe.unlabelled) | {
            "speech": task.unlabelled.utterances.key()
        }
    if recipe.needs_source:
        inputs["source"] = source_inputs(task)
    if recipe.objectives.attention_transfer:
        inputs["attention_transfer"] = plain(recipe.attention_transfer)
    if recipe.initialise != "random":
        inputs["initialise"] = recipe.initialise
    if recipe.objectives.distillation:
        inputs["temperature"] = plain(recipe.temperature)
    if recipe.objectives.feature_map:
        inputs["feature_map"] = plain(recipe.feature_map)
    return inputs


def _objectives(section: Objectives) -> dict[str, Any]:
    """Their weights; one that came later adds nothing where it is 0, so that keys last."""
    weights = plain(section)
    if not section.attention_transfer:
        del weights["attention_transfer"]
    return weights


def student_logits(
    task: FoldTask, store: Store, artifact: Artifact, utterances: Unlabelled
) -> Tensor:
    """A trained student's logits ``(utterances, classes)``."""
    network, mean, std = load_student(task, artifact)
    data = frame_data(task, PackedFrames.open(store, task.frames), utterances, mean=mean, std=std)
    return predict_logits(network, data)


def load_student(
    task: FoldTask, artifact: Artifact
) -> tuple[nn.Module, NDArray[np.float32], NDArray[np.float32]]:
    """A trained student in evaluation mode, and the mean and deviation it hears frames by."""
    state, extra = read_weights(artifact.path)
    network = build_network(task.recipe.student, features=task.features, classes=task.classes)
    network.load_state_dict(state)
    return network.to(task.device).eval(), extra["mean"].numpy(), extra["std"].numpy()


def new_student(task: FoldTask, store: Store) -> nn.Module:
    """The student before training: random weights, or where the recipe says so its source's."""
    recipe = task.recipe
    # the weights' first values depend on the seed and fold alone, so that students of one fold and
    # seed start equal, taught or not
    torch.manual_seed(derived_seed("student", task.seed, task.fold))
    network = build_network(recipe.student, features=task.features, classes=task.classes)
    if recipe.initialise == "source":
        assert isinstance(network, Satn)
        with torch.random.fork_rng(devices=[]):
            begin_as(network.encoder, source_recogniser(task, store).encoder)
    return network.to(task.device)


def fit_student(
    task: FoldTask,
    store: Store,
    checkpoint: Checkpoint,
    difficulty: NDArray[np.float64] | None,
    folder: Path | None,
    reporter: Reporter,
    ranks: Ranks,
) -> None:
    """Train a fold's student, and write it into ``folder`` if one is given (rank 0).

    What it learns from (the teacher, its knowledge, difficulties) comes from the store or is put
    there.
    """
    recipe = task.recipe
    seed = derived_seed("student", task.seed, task.fold)
    network = new_student(task, store)
    knowledge = load_knowledge(task, store, reporter=Silent()) if recipe.needs_teacher else None
    helpers = Helpers(task, student_dim=int(network.dim), knowledge=knowledge)  # type: ignore[arg-type]
    source = FrameSource(task, PackedFrames.open(store, task.frames), task.train)
    # what is loaded or computed meanwhile draws numbers, more where the store has less of it
    with torch.random.fork_rng(devices=[task.device] if task.device != "cpu" else []):
        stages = _stages(
            task,
            store,
            source,
            helpers=helpers,
            knowledge=knowledge,
            difficulty=difficulty,
            ranks=ranks,
        )
    fitted = fit(
        network,
        data=source.data(task.train, augment=recipe.student_augment),
        ids=task.train.ids,
        labels=task.train.labels,
        judge=EmotionJudge(
            source.data(task.validation),
            task.validation.labels,
            settings=recipe.training,
            ranks=ranks,
        ),
        stages=stages,
        settings=recipe.training,
        seed=seed,
        ranks=ranks,
        reporter=reporter,
        beside=helpers if any(True for _ in helpers.parameters()) else None,
        checkpoint=checkpoint,
    )
    if folder is not None:
        write_fitted(
            folder,
            fitted,
            extra=statistics_tensors(source.mean, source.std),
            facts={"parameters": count_parameters(network)},
        )


def _stages(
    task: FoldTask,
    store: Store,
    source: FrameSource,
    *,
    helpers: Helpers,
    knowledge: Knowledge | None,
    difficulty: NDArray[np.float64] | None,
    ranks: Ranks,
) -> list[Stage]:
    """Unlabelled speech alone, feature maps alone, everything: those of them that are wanted."""
    recipe = task.recipe
    hotter = None
    if isinstance(recipe.temperature, CurriculumTemperature):
        hotter = TemperatureCurriculum(
            recipe.temperature, classes=task.classes, device=task.device, ranks=ranks
        )
    attends = bool(recipe.objectives.attention_transfer)
    loss = StudentLoss(
        task,
        helpers,
        knowledge,
        hotter,
        source_attention(task, store, task.train, attended=task.attended) if attends else None,
    )
    stages: list[Stage] = []
    extra = None
    if recipe.unlabelled.kind != "none":
        assert task.unlabelled is not None
        unlabelled = _unlabelled_loss(task, task.unlabelled, store, loss)
        speech = Speech(
            source.unlabelled(task.unlabelled, store, augment=recipe.student_augment),
            task.unlabelled.utterances.ids,
        )
        if isinstance(recipe.unlabelled, UnlabelledMixed):
            size, weight = recipe.unlabelled.batch_size, recipe.unlabelled.weight
            compares = recipe.compares_unlabelled
            extra = Extra(speech, unlabelled, size=size, weight=weight, compares=compares)
        else:
            stages.append(
                Stage(
                    "unlabelled",
                    recipe.unlabelled_epochs,
                    unlabelled,
                    chooses=False,
                    speech=speech,
                    compares=recipe.compares_unlabelled,
                )
            )
    if recipe.matching_epochs:
        stages.append(Stage("matching", recipe.matching_epochs, loss.matching, chooses=False))
    companions: list[Companion] = [] if hotter is None else [hotter]
    companions += _meta(task, store, source, loss, ranks=ranks)
    stages.append(
        Stage(
            "student",
            recipe.training.epochs,
            loss.all,
            choose=_curriculum(task, source, difficulty, ranks=ranks),
            extra=extra,
            companions=companions,
            compares=recipe.compares,
        )
    )
    return stages


def _unlabelled_loss(
    task: FoldTask, speech: UnlabelledSpeech, store: Store, loss: StudentLoss
) -> UnlabelledLoss:
    """What teacher and source say of speech without labels."""
    knowledge = attention = None
    if loss.knowledge is not None:
        knowledge = load_unlabelled_knowledge(task, speech, store, labelled=loss.knowledge)
    if loss.attention is not None:
        attention = source_attention(task, store, speech.utterances, attended=speech.attended)
    return UnlabelledLoss(loss, knowledge, attention)


def student_difficulty(task: FoldTask, store: Store) -> NDArray[np.float64] | None:
    """Of the training utterances, where the recipe asks and training does not change it."""
    section = task.recipe.curriculum
    if not isinstance(section, DataCurriculum) or section.difficulty == "own-loss":
        return None
    return fixed_difficulty(
        task,
        section,
        store,
        student=lambda there: student_artifact(there, store, reporter=Silent()),
        logits=lambda there, trained, heard: student_logits(there, store, trained, heard).numpy(),
    )


def _curriculum(
    task: FoldTask, source: FrameSource, difficulty: NDArray[np.float64] | None, *, ranks: Ranks
) -> Choose | None:
    section = task.recipe.curriculum
    if not isinstance(section, DataCurriculum):
        return None
    labels = np.asarray(task.train.labels, dtype=np.int64)
    if difficulty is None:
        hard = own_loss(source.data(task.train), labels, ranks=ranks)
    else:
        hard = always(difficulty)
    return Curriculum(section, labels, hard)


def _meta(
    task: FoldTask, store: Store, source: FrameSource, loss: StudentLoss, *, ranks: Ranks
) -> list[Companion]:
    section = task.recipe.meta
    if section.kind == "none":
        return []
    assert task.held is not None
    held = HeldSpeech(source.data(task.held), task.held, loss)
    if isinstance(section, Bilevel):
        return [BilevelLearner(section, loss=loss, held=held, ranks=ranks)]
    assert isinstance(section, LearningToTeach)
    artifact = teacher_artifact(task, store, train=task.train, reporter=Silent())
    teacher = load_teacher(task, store, artifact)
    return [
        TeacherLearner(
            section, teacher=teacher, train=task.train, loss=loss, held=held, ranks=ranks
        )
    ]
