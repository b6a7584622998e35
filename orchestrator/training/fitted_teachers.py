"""What a fitted teacher says of utterances: logits, the pooled vector, features over time."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from models.layer_mix import FrameMixHead, LayerMixHead
from orchestrator.experiment.recipe import VerticalVitTeacher
from orchestrator.features import PackedFrames
from orchestrator.training.data import Data, scoring_batches
from orchestrator.training.encoder_networks import EncoderSource
from orchestrator.training.inputs import frame_data
from orchestrator.training.judges import predict_logits
from orchestrator.training.scratch import Scratch
from orchestrator.training.task import FoldTask, Unlabelled
from orchestrator.training.tokens import Tokens


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
        """The vector the head reads, ``(utterances, width)``; mapped."""
        data = self.data(utterances)
        scratch = Scratch()
        for rows in scoring_batches(data.lengths):
            pooled = self.network(*data.batch(rows).inputs).pooled
            for row, vector in zip(rows.tolist(), pooled, strict=True):
                scratch.put(row, vector[None])
        return scratch.in_order()[0]


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
        scratch = Scratch()
        for rows in scoring_batches(data.lengths):
            output = self.network(*data.batch(rows).inputs)
            for row, tokens, length in zip(
                rows.tolist(), output.tokens, output.token_lengths.tolist(), strict=True
            ):
                scratch.put(row, tokens[:length])
        section = self.task.recipe.teacher
        assert isinstance(section, VerticalVitTeacher)
        return Tokens.of(scratch, extents=data.lengths / section.patch_frames)


class EncoderTeacher(Teacher):
    """A pretrained encoder, frozen or fine-tuned, with a fitted head."""

    def __init__(self, network: nn.Module, task: FoldTask, source: EncoderSource) -> None:
        super().__init__(network, task)
        self.source = source

    def data(self, utterances: Unlabelled) -> Data:
        """Stored vectors or frames of the layers, or waveforms."""
        return self.source.data(utterances)

    @torch.no_grad()
    def tokens(self, utterances: Unlabelled) -> Tokens:
        """The layers' frames mixed as the head mixes them."""
        scratch = Scratch()
        if isinstance(self.network, LayerMixHead) and not isinstance(self.network, FrameMixHead):
            # its data are pooled, so its frames are asked for by themselves
            assert self.source.outputs is not None
            for row, stored in enumerate(self.source.outputs.frames(utterances.ids)):
                frames = torch.from_numpy(stored.astype(np.float32)).to(self.task.device)
                scratch.put(row, self.network.mix_frames(frames))
            return Tokens.of(scratch)
        data = self.data(utterances)
        for rows in scoring_batches(data.lengths):
            mixed, lengths = self.network.mixed(*data.batch(rows).inputs)  # type: ignore[operator]
            for row, frames, length in zip(rows.tolist(), mixed, lengths.tolist(), strict=True):
                scratch.put(row, frames[:length])
        return Tokens.of(scratch)
