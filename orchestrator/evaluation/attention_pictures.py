"""What a student attends to in one utterance, before and after training, beside its source."""

from __future__ import annotations

import numpy as np
import torch

from models.distillation.attention import attention_maps
from models.outputs import Listening
from orchestrator.evaluation.attention_plots import draw_attention
from orchestrator.experiment.recipe import RecogniserSource
from orchestrator.features import PackedFrames
from orchestrator.store import Artifact, Store
from orchestrator.training.inputs import frame_data
from orchestrator.training.source_attention import layer_pairs, source_attention
from orchestrator.training.student import load_student, new_student
from orchestrator.training.task import FoldTask, Unlabelled


@torch.no_grad()
def attention_picture(task: FoldTask, store: Store, trained: Artifact) -> bytes | None:
    """A picture (PNG) of a validation utterance's attention.

    The utterance is the one of median length among those that the student hears in one go; None
    where there is none. Maps are means over heads, of the first pair of layers that is compared.

    Args:
        task: whose student learned from a source.
        store: has the source.
        trained: the student.
    """
    pack = PackedFrames.open(store, task.frames)
    heard = task.recipe.heard_seconds
    longest = np.inf if heard is None else heard / task.features.hop_seconds
    fitting = sorted((pack.length(name), name) for name in task.validation.ids)
    fitting = [pair for pair in fitting if pair[0] <= longest]
    if not fitting:
        return None
    name = fitting[len(fitting) // 2][1]
    place = task.validation.ids.index(name)
    one = Unlabelled(ids=(name,), contents=(task.validation.contents[place],))
    after, mean, std = load_student(task, trained)
    data = frame_data(task, pack, one, mean=mean, std=std)
    batch = data.batch(torch.tensor([0]))
    source = source_attention(task, store, one, attended=task.attended)
    attended = after(*batch.inputs)
    theirs, mine = layer_pairs(task.recipe.attention_transfer, source, attended)[0]
    kind = "recogniser" if isinstance(task.recipe.source, RecogniserSource) else "encoder"
    begun = new_student(task, store).eval()
    maps = {
        f"source ({kind}, layer {theirs})": _map(source.listening(batch, [theirs])[0]),
        f"student before (layer {mine})": _map(begun(*batch.inputs).listening(mine)),
        f"student after (layer {mine})": _map(attended.listening(mine)),
    }
    return draw_attention(
        log_mel=pack.gather([name])[0][:, : task.features.bins],
        hop_seconds=task.features.hop_seconds,
        maps=maps,
        title=f"{task.corpus} {name}, {task.fold}, seed {task.seed}: who attends to whom",
    )


def _map(listening: Listening) -> np.ndarray:
    """Mean over heads ``(tokens, tokens)`` of the only utterance."""
    length = int(listening.lengths[0])
    found: np.ndarray = attention_maps(listening)[0, :, :length, :length].mean(0).cpu().numpy()
    return found
