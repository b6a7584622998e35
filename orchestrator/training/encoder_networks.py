"""The network of a pretrained teacher, and what it reads: by how much of the encoder is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from models.layer_mix import FrameMixHead, LayerMixHead, mean_and_deviation
from orchestrator.encoder_outputs import EncoderOutputs
from orchestrator.errors import PretrainedError, TrainingError
from orchestrator.experiment.teachers import Frozen, FullModel, Lora, PretrainedTeacher, TopLayers
from orchestrator.store import Store
from orchestrator.teacher_encoder import load_teachers_encoder, mixed_layers
from orchestrator.training.data import Data, PooledData, scoring_batches
from orchestrator.training.encoder_data import EncoderFrames, WaveformData
from orchestrator.training.residency import PIECE_BYTES, data_share
from orchestrator.training.scratch import Scratch
from orchestrator.training.task import FoldTask, Unlabelled
from orchestrator.training.vectors import Vectors
from orchestrator.waveforms import PackedWaveforms

if TYPE_CHECKING:
    from models.fine_tuned import TrainedPart
    from models.pretrained import SpeechEncoder


class EncoderSource:
    """What a pretrained teacher's network is made of and reads, opened once.

    Args:
        task: whose recipe has a pretrained teacher; says where the outputs or waveforms are.
        store: has them.

    Raises:
        TrainingError: the task has no handle of what the teacher reads.
        PretrainedError: the encoder cannot be loaded, has no such layers, or has other weights
            than the one that its last layers are given the outputs of.
    """

    def __init__(self, task: FoldTask, store: Store) -> None:
        section = task.recipe.teacher
        assert isinstance(section, PretrainedTeacher)
        refuse_nothing_to_hear(task, section)
        self.section = section
        self.task = task
        self.encoder: SpeechEncoder | None = None
        if not isinstance(section.mode, Frozen):
            # where all of it runs here, what was fitted goes by the weights that are here
            weights = None if task.encoder is None else task.encoder.weights
            self.encoder = load_teachers_encoder(section, device=task.device, weights=weights)
        self.outputs: EncoderOutputs | None = None
        self.waveforms: PackedWaveforms | None = None
        if section.hears_waveforms:
            assert task.waveforms is not None
            self.waveforms = PackedWaveforms.open(store, task.waveforms)
        else:
            assert task.encoder is not None
            self.outputs = EncoderOutputs.open(store, task.encoder)

    def data(self, utterances: Unlabelled) -> Data:
        """What the network reads of some utterances."""
        if self.waveforms is not None:
            assert self.encoder is not None
            return WaveformData(self.waveforms, utterances.ids, encoder=self.encoder)
        assert self.outputs is not None
        if isinstance(self.section.mode, Frozen) and self.section.pooling != "attentive":
            pooled = self.outputs.pooled(utterances.ids)
            return PooledData(pooled, device=self.task.device, share=data_share(self.task))
        frames = self.outputs.frames(utterances.ids)
        return EncoderFrames(frames, device=self.task.device, share=data_share(self.task))

    def network(self) -> nn.Module:
        """A new ``LayerMixHead``, ``FrameMixHead`` or ``FineTuned``, its encoder as it was
        published. To be made once: a fine-tuned encoder is the source's own.
        """
        section, classes = self.section, self.task.classes
        if self.encoder is None:
            assert self.outputs is not None
            layers, width = len(self.outputs.layers), self.outputs.width
            if section.pooling == "attentive":
                return FrameMixHead(
                    layers=layers, width=width, classes=classes, pooling=section.pooling
                )
            both = 2 if section.pooling == "statistics" else 1
            return LayerMixHead(layers=layers, width=both * width, classes=classes)
        from models.fine_tuned import FineTuned

        blocks = self.encoder.layers - 1
        mixed = mixed_layers(section, blocks)
        first = blocks - section.mode.layers if isinstance(section.mode, TopLayers) else 0
        assert not isinstance(section.mode, Frozen)
        return FineTuned(
            trained_part(section, self.encoder),
            FrameMixHead(
                layers=len(mixed),
                width=self.encoder.width,
                classes=classes,
                pooling=section.pooling,
            ),
            chosen=[layer - first for layer in mixed],
            rate_factor=section.mode.lr / section.training.lr,
        )


def trained_part(section: PretrainedTeacher, encoder: SpeechEncoder) -> TrainedPart:
    """The part of ``encoder`` that runs in the fold, as the teacher's mode says.

    Raises:
        PretrainedError: the encoder is of a kind that cannot be fine-tuned.
    """
    from models.fine_tuned import full_model, low_rank, top_layers
    from models.pretrained import NotAnEncoderError

    mode = section.mode
    assert isinstance(mode, TopLayers | FullModel | Lora)
    saving = mode.gradient_checkpointing
    try:
        if isinstance(mode, TopLayers):
            return top_layers(encoder, mode.layers, checkpointing=saving)
        if isinstance(mode, FullModel):
            return full_model(encoder, checkpointing=saving)
        return low_rank(
            encoder,
            rank=mode.rank,
            alpha=mode.alpha,
            dropout=mode.dropout,
            checkpointing=saving,
        )
    except NotAnEncoderError as error:
        raise PretrainedError(
            f"recipe.teacher.root {section.root!r}, mode {mode.kind}: {error}"
        ) from error


@torch.no_grad()
def fit_statistics(network: nn.Module, data: Data) -> None:
    """Fit the head's means and deviations to training data, by the network as it is now (law 2).

    Of a fine-tuned encoder they are those of its layers before training, and stay.
    """
    if isinstance(data, PooledData):
        assert isinstance(network, LayerMixHead)
        _fit_by_columns(network, data.pooled)
        return
    network.eval()
    scratch = Scratch()
    for rows in scoring_batches(data.lengths):
        vectors = network.vectors(*data.batch(rows).inputs)  # type: ignore[operator]
        for row, vector in zip(rows.tolist(), vectors, strict=True):
            scratch.put(row, vector[None])
    head = network if isinstance(network, FrameMixHead) else network.head
    assert isinstance(head, FrameMixHead)
    _fit_by_columns(head, Vectors(scratch.in_order()[0]))


def _fit_by_columns(head: LayerMixHead, vectors: Vectors) -> None:
    """Fit a head's statistics to ``(utterances, layers, width)``, some columns at a time.

    Sums are in double precision, which all columns at once would take twice the memory of the
    vectors for. Blocks are of two columns or more: torch sums a single one in another order.
    """
    columns = head.mean.numel()
    blocks = min(max(1, columns // 2), -(-columns * len(vectors) * 8 // PIECE_BYTES))
    mean, deviation = head.mean.view(-1), head.deviation.view(-1)
    for block in np.array_split(np.arange(columns), blocks):
        some = slice(int(block[0]), int(block[-1]) + 1)
        found = mean_and_deviation(vectors.columns(some))
        mean[some], deviation[some] = found


def refuse_nothing_to_hear(task: FoldTask, section: PretrainedTeacher) -> None:
    """Raise if the task has no handle of what the teacher reads."""
    if section.hears_waveforms and task.waveforms is None:
        raise TrainingError(
            f"the fold run was given no waveforms for a teacher of mode {section.mode.kind}"
        )
    if not section.hears_waveforms and task.encoder is None:
        raise TrainingError("the fold run was given no outputs of the pretrained encoder")
