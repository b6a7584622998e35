"""What the source attends to in the utterances of a batch: beside the student, never trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.distillation.attention import attention_transfer, heard_by_attention, similarity
from models.encoder_attention import BlockAttention, block_attention
from models.outputs import Heads, Listening, Output
from models.speech_recogniser import SpeechRecogniser
from orchestrator.encoder_outputs import EncoderHandle, EncoderOutputs, HalfFrames
from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import AttentionTransfer, PretrainedSource, RecogniserSource
from orchestrator.source_encoder import attention_layers, source_name, states_wanted
from orchestrator.store import Store
from orchestrator.teacher_encoder import load_teachers_encoder
from orchestrator.training.data import Batch
from orchestrator.training.recogniser import load_recogniser
from orchestrator.training.task import FoldTask, Unlabelled

KEPT_BYTES = 2**30
"""Of queries, keys and values kept in memory; more are computed anew with each batch."""


class SourceAttention(ABC):
    """The source's attention over some utterances of a fold run, by batch."""

    layers: Sequence[int]
    """The attention layers that can be heard, in order, 1 being the source's first."""

    @abstractmethod
    def listening(self, batch: Batch, layers: Sequence[int]) -> list[Listening]:
        """Its attention layers ``layers``, counted from 1, over the utterances of a batch."""

    def placed(self, student: Listening, batch: Batch) -> Listening:
        """The student's tokens in the time of what the source heard."""
        return student


class RecogniserAttention(SourceAttention):
    """A recogniser hears the very batch that the student hears, masked and cropped alike."""

    def __init__(self, network: SpeechRecogniser) -> None:
        self.network = network.eval()
        self.layers = range(1, 1 + len(network.encoder.transformer.attentions))

    @torch.no_grad()
    def listening(self, batch: Batch, layers: Sequence[int]) -> list[Listening]:
        """Attention over the frames of ``batch.inputs``."""
        heard = self.network(*batch.inputs)
        return [heard.listening(layer) for layer in layers]


class EncoderAttention(SourceAttention):
    """A pretrained encoder heard every utterance whole and once; its states are in the store.

    Queries, keys and values are kept in half precision, as the states they are computed from are.

    Args:
        blocks: by layer, what makes queries, keys and values of its input.
        states: of each utterance, ``(frames, layers, width)``, the inputs of ``blocks`` in order.
        device: where batches go.
        kept_bytes: the most that is kept in memory.
    """

    def __init__(
        self,
        blocks: Mapping[int, BlockAttention],
        states: Sequence[HalfFrames],
        *,
        device: str,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.blocks = blocks
        self.layers = sorted(blocks)
        self.states = states
        self.device = device
        self.lengths = torch.tensor([len(one) for one in states])
        each = sum(3 * 2 * block.width for block in blocks.values())
        keeps = each * int(self.lengths.sum()) <= kept_bytes
        self._kept = [self._compute(row) for row in range(len(states))] if keeps else None

    def listening(self, batch: Batch, layers: Sequence[int]) -> list[Listening]:
        """Attention over the whole of each utterance of the batch."""
        rows = batch.rows.tolist()
        found = [self._compute(row) if self._kept is None else self._kept[row] for row in rows]
        lengths = self.lengths[batch.rows].to(self.device)
        axis = torch.arange(int(lengths.max()), device=self.device) + 0.5
        positions = axis / lengths[:, None]
        return [
            Listening(self._padded([one[layer] for one in found], layer), lengths, positions)
            for layer in layers
        ]

    def placed(self, student: Listening, batch: Batch) -> Listening:
        """The student heard a window of the utterance; its places are relative to that."""
        start, span = (
            part[:, None].to(student.positions) for part in (batch.window.start, batch.window.span)
        )
        return replace(student, positions=start + span * student.positions)

    def _compute(self, row: int) -> dict[int, Tensor]:
        """Of an utterance, by layer, ``(frames, 3, heads, head_dim)`` in half precision."""
        states = torch.from_numpy(self.states[row].copy()).to(self.device)
        made = {}
        for place, (layer, block) in enumerate(self.blocks.items()):
            heads = block(states[None, :, place])
            parts = torch.stack((heads.queries, heads.keys, heads.values), dim=2)[0]
            made[layer] = parts.permute(2, 1, 0, 3).half()
        return made

    def _padded(self, found: Sequence[Tensor], layer: int) -> Heads:
        padded = nn.utils.rnn.pad_sequence(list(found), batch_first=True).float()
        queries, keys, values = padded.permute(2, 0, 3, 1, 4).unbind(0)
        return Heads(queries, keys, values)


def source_attention(
    task: FoldTask,
    store: Store,
    utterances: Unlabelled,
    *,
    attended: Mapping[str, EncoderHandle],
) -> SourceAttention:
    """What the recipe's source attends to in ``utterances``.

    Args:
        task: whose recipe has a source.
        store: has the recogniser, or the states of the pretrained encoder.
        utterances: that batches are drawn from, in their order.
        attended: by source, where the states for these utterances are.

    Raises:
        TrainingError: the task was not given the source.
        PretrainedError: the encoder cannot be loaded, or has other weights here.
    """
    source = task.recipe.source
    if isinstance(source, PretrainedSource):
        handle = attended.get(source_name(source))
        if handle is None:
            raise TrainingError("the fold run was given no states of its pretrained source")
        wanted = states_wanted(source)
        encoder = load_teachers_encoder(wanted, device=task.device, weights=handle.weights)
        return EncoderAttention(
            {layer: block_attention(encoder, layer) for layer in attention_layers(source)},
            EncoderOutputs.open(store, handle).frames(utterances.ids),
            device=task.device,
        )
    return RecogniserAttention(source_recogniser(task, store))


def source_recogniser(task: FoldTask, store: Store) -> SpeechRecogniser:
    """The recogniser that is the recipe's source, in evaluation mode.

    Raises:
        TrainingError: the task was not given it.
        StoreError: it is not (or no longer) in the store.
    """
    source = task.recipe.source
    key = task.recognisers.get(source_name(source))
    if not isinstance(source, RecogniserSource) or key is None:
        raise TrainingError("the fold run was given no recogniser as its source")
    artifact = store.get("recogniser", key)
    return load_recogniser(artifact, features=task.features, device=task.device).network


def source_inputs(task: FoldTask) -> dict[str, object]:
    """What a student's store key needs of its source."""
    source = task.recipe.source
    name = source_name(source)
    if isinstance(source, PretrainedSource):
        if name not in task.attended:
            raise TrainingError("the fold run was given no states of its pretrained source")
        # whose identity holds the weights' hash and the layers
        return {"states": task.attended[name].identity}
    if name not in task.recognisers:
        raise TrainingError("the fold run was given no recogniser as its source")
    return {"recogniser": task.recognisers[name]}


def transfer_loss(
    task: FoldTask, output: Output, batch: Batch, attention: SourceAttention
) -> Tensor:
    """Distance of the student's attention to the source's, mean over pairs of layers, ``(batch,)``.

    Raises:
        TrainingError: the student heard utterances in segments, and so has no attention over them.
    """
    section = task.recipe.attention_transfer
    if not output.attention:
        raise TrainingError(
            "an utterance of the batch was read in segments, so there is no attention over it; "
            "crop utterances to student.segment_seconds, or set that to null"
        )
    pairs = layer_pairs(section, attention, output)
    heard = attention.listening(batch, [theirs for theirs, _ in pairs])
    if section.match == "similarity":
        # whatever part of the batch this is, its utterances are compared with all the others
        whole = batch.whole
        losses = [
            similarity(
                whole.of(heard_by_attention(output.listening(mine))),
                whole.of(heard_by_attention(theirs)),
            )
            for (_, mine), theirs in zip(pairs, heard, strict=True)
        ]
        return whole.part(torch.stack(losses).mean(0))
    losses = [
        attention_transfer(
            attention.placed(output.listening(mine), batch),
            theirs,
            match=section.match,
            values=section.values,
            relation_heads=section.relation_heads,
        )
        for (_, mine), theirs in zip(pairs, heard, strict=True)
    ]
    return torch.stack(losses).mean(0)


def layer_pairs(
    section: AttentionTransfer, attention: SourceAttention, output: Output
) -> list[tuple[int, int]]:
    """Which layer of the source teaches which of the student's, both counted from 1."""
    mine = range(1, 1 + len(output.attention))

    def counted(layer: int, layers: Sequence[int]) -> int:
        return layers[layer] if layer < 0 else layer

    return [
        (counted(theirs, attention.layers), counted(own, mine))
        for theirs, own in section.pairs or ((-1, -1),)
    ]
