"""What store keys are made of, and the training-only statistics they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.experiment.recipe import Augment
from orchestrator.experiment.section import Section
from orchestrator.features import PackedFrames, normalisation
from orchestrator.store import STAGE_VERSIONS, Store, environment_inputs
from orchestrator.training.data import FrameData
from orchestrator.training.residency import data_share
from orchestrator.training.task import FoldTask, Unlabelled, UnlabelledSpeech, Utterances


def plain(section: Section) -> dict[str, Any]:
    """A section as JSON-able values, defaults spelled out but for options that came later."""
    dumped = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name in section.LATER and value == field.default:
            del dumped[name]
        elif isinstance(value, Section):
            dumped[name] = plain(value)
    return dumped


def shared_inputs(task: FoldTask, *, workers: int) -> dict[str, Any]:
    """Inputs that every trained thing of a fold run has (law 4)."""
    return {
        **upstream("features", "encoder"),
        "fold": task.fold,  # seeds are drawn from its name
        "emotions": list(task.emotions),
        "validation": task.validation.key(),
        "seed": task.seed,
        "threads": task.threads,
        "workers": workers,
        "environment": environment_inputs(task.device),
        **mode_inputs(task.device, deterministic=task.deterministic),
    }


def mode_inputs(device: str, *, deterministic: bool) -> dict[str, Any]:
    """What a store key needs of ``resources.deterministic``; on a CPU there is no other mode."""
    return {} if deterministic or device.startswith("cpu") else {"deterministic": False}


def upstream(*stages: str) -> dict[str, Any]:
    """Versions of the stages whose output is read, where they are not the first.

    Frames and encoder outputs are named by what they are made from, which holds no version.
    """
    found = {stage: STAGE_VERSIONS[stage] for stage in stages if STAGE_VERSIONS[stage] > 1}
    return {"upstream": found} if found else {}


class FrameSource:
    """The frames of a fold, normalised by statistics of its training utterances only (law 2)."""

    def __init__(self, task: FoldTask, pack: PackedFrames, train: Utterances) -> None:
        self.task = task
        self.pack = pack
        self.mean, self.std = normalisation(pack, train.ids)

    def data(self, utterances: Unlabelled, *, augment: Augment | None = None) -> FrameData:
        """Frames of some utterances; with ``augment``, augmented when drawn."""
        return frame_data(
            self.task, self.pack, utterances, mean=self.mean, std=self.std, augment=augment
        )

    def unlabelled(self, speech: UnlabelledSpeech, store: Store, *, augment: Augment) -> FrameData:
        """Frames of speech without labels, normalised as the training utterances are."""
        return frame_data(
            self.task,
            PackedFrames.open(store, speech.frames),
            speech.utterances,
            mean=self.mean,
            std=self.std,
            augment=augment,
        )


def frame_data(
    task: FoldTask,
    pack: PackedFrames,
    utterances: Unlabelled,
    *,
    mean: np.ndarray,
    std: np.ndarray,
    augment: Augment | None = None,
) -> FrameData:
    """Frames normalised by given statistics."""
    return FrameData(
        pack,
        utterances,
        mean=mean,
        std=std,
        channels=task.features.channels,
        hop_seconds=task.features.hop_seconds,
        augment=augment,
        seed=task.seed,
        device=task.device,
        share=data_share(task),
    )
