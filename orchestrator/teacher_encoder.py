"""The encoder that the recipe's teacher section names: where it is, what of it is frozen."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.errors import PretrainedError
from orchestrator.experiment.teachers import Frozen, PretrainedTeacher, TopLayers

if TYPE_CHECKING:
    from models.pretrained import SpeechEncoder

# models.pretrained is imported where it is used: torch takes seconds, and most commands need none


def teachers_weights(teacher: PretrainedTeacher) -> str:
    """Hash of the encoder's weights, configuration and preprocessor.

    Raises:
        PretrainedError: the root is no speech encoder.
    """
    from models import pretrained

    with _named(teacher.root, place=teacher.place):
        return pretrained.weights_hash(pretrained.resolve_root(teacher.root, teacher.revision))


def trainable_blocks(teacher: PretrainedTeacher) -> int:
    """Transformer blocks of an encoder that can be fine-tuned.

    Raises:
        PretrainedError: the root is no speech encoder, or one that can only be used frozen.
    """
    from models import pretrained

    with _named(teacher.root, place=teacher.place):
        root = pretrained.resolve_root(teacher.root, teacher.revision)
        blocks = pretrained.block_count(root)
        pretrained.refuse_fine_tuning(pretrained.model_type(root))
    return blocks


def load_teachers_encoder(
    teacher: PretrainedTeacher, *, device: str, weights: str | None = None
) -> SpeechEncoder:
    """The encoder, frozen.

    Args:
        weights: the hash that :func:`teachers_weights` gave where the run was planned, since the
            same name may mean other files on another machine; default: whatever is here.

    Raises:
        PretrainedError: the root is no speech encoder, or has other weights than these.
    """
    from models import pretrained

    with _named(teacher.root, place=teacher.place):
        root = pretrained.resolve_root(teacher.root, teacher.revision)
        encoder = pretrained.load_encoder(root, device=device)
    if weights is not None and (here := teachers_weights(teacher)) != weights:
        msg = (
            f"{teacher.place}.root {teacher.root!r}: on {platform.node()} its weights are "
            f"{here[:12]}, but where the run was planned they are {weights[:12]}; for a model on "
            f"the hub give {teacher.place}.revision, or else a folder that every node sees"
        )
        raise PretrainedError(msg)
    return encoder


def encoder_sample_rate(root: str, revision: str | None = None) -> int:
    """Hz of the waveforms that the encoder in ``root`` hears; nothing is loaded.

    Raises:
        PretrainedError: the root is no speech encoder.
    """
    from models import pretrained

    with _named(root, place=PretrainedTeacher.place):
        return pretrained.sample_rate(pretrained.resolve_root(root, revision))


def frozen_part(teacher: PretrainedTeacher) -> PretrainedTeacher:
    """As a frozen teacher, what of ``teacher`` runs once over a corpus.

    Of a frozen one with attentive pooling that is the layers and their mean, which other frozen
    teachers share; under ``top-n`` the input of the first trained layer.

    Raises:
        PretrainedError: ``teacher.root`` is no speech encoder, or has no such layers.
        ValueError: the whole encoder runs in every fold.
    """
    if teacher.hears_waveforms:
        msg = f"nothing of a teacher of mode {teacher.mode.kind!r} runs once over a corpus"
        raise ValueError(msg)
    if isinstance(teacher.mode, TopLayers):
        blocks = trainable_blocks(teacher)
        mixed_layers(teacher, blocks)
        first = blocks - teacher.mode.layers
        return teacher.model_copy(
            update={"mode": Frozen(), "layers": (first,), "pooling": "mean", "frames": True}
        )
    if teacher.pooling == "attentive":
        return teacher.model_copy(update={"pooling": "mean"})
    return teacher


def mixed_layers(teacher: PretrainedTeacher, blocks: int) -> tuple[int, ...]:
    """The hidden states that the teacher's head mixes, 0 being the input of the first block.

    Args:
        teacher: names them, or leaves it at all that there are in the fold.
        blocks: of the encoder.

    Raises:
        PretrainedError: it names one that the encoder has not, or that only the frozen part has.
    """
    first = 0
    if isinstance(teacher.mode, TopLayers):
        first = blocks - teacher.mode.layers
        if first < 0:
            msg = (
                f"recipe.teacher.mode.layers {teacher.mode.layers}: the encoder has only {blocks} "
                "transformer layers; train at most as many, or use mode full"
            )
            raise PretrainedError(msg)
    there = range(first, blocks + 1)
    if teacher.layers is None:
        return tuple(there)
    if not teacher.layers or not set(teacher.layers) <= set(there):
        whose = "the encoder"
        if first:
            whose = f"with the last {blocks - first} of {blocks} layers fine-tuned the fold"
        msg = (
            f"recipe.teacher.layers {list(teacher.layers)}: {whose} has hidden states {first} to "
            f"{blocks}; name some of these, or none at all for all"
        )
        raise PretrainedError(msg)
    return teacher.layers


@contextlib.contextmanager
def _named(root: str, *, place: str) -> Iterator[None]:
    from models.pretrained import NotAnEncoderError

    try:
        yield
    except (NotAnEncoderError, OSError) as error:
        msg = f"{place}.root {root!r} is no usable speech encoder: {error}"
        raise PretrainedError(msg) from error
