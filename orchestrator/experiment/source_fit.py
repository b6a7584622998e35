"""Whether a student can take from a source what a recipe wants it to."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.experiment.networks import ConvTransformer, Satn, SatnNetwork, StudentNet
from orchestrator.experiment.sources import AttentionTransfer, RecogniserSource, SourceNet


def refuse_deaf(
    student: StudentNet, source: SourceNet, section: AttentionTransfer, *, batch_size: int
) -> None:
    """Raise where the student's attention cannot be compared with the source's as wanted.

    Heads and widths of a pretrained source are not known here; they are compared when it is read.

    Args:
        student: whose attention is compared.
        source: with whose.
        section: how.
        batch_size: utterances of an update.

    Raises:
        ValueError: names the key, both values and what to change.
    """
    if not isinstance(student, Satn | ConvTransformer):
        raise ValueError(
            f"objectives.attention_transfer has a weight, but a student of kind {student.kind!r} "
            "has no attention among steps of time alone; use kind: satn or conv-transformer"
        )
    if not student.depth:
        raise ValueError(
            "objectives.attention_transfer has a weight, but student.depth is 0, so the student "
            "has no attention; give it a layer"
        )
    if section.match == "similarity" and batch_size < 2:
        raise ValueError(
            "attention_transfer.match is 'similarity' but training.batch_size is 1, so no batch "
            "has two utterances to compare; raise it"
        )
    for theirs, mine in section.pairs or ():
        if abs(mine) > student.depth:
            raise ValueError(
                f"attention_transfer.pairs: {[theirs, mine]} names layer {mine} of the student, "
                f"which has {student.depth}; name one that it has, or give student.depth "
                f"{abs(mine)} or more"
            )
        _refuse_layer(theirs, [theirs, mine], source)
    if isinstance(source, RecogniserSource):
        # torch takes seconds to import, and most commands need none
        from models.distillation.attention import refuse_mismatch

        refuse_mismatch(
            match=section.match,
            student_heads=student.heads,
            student_width=student.dim,
            source_heads=source.network.heads,
            source_width=source.network.dim,
            relation_heads=section.relation_heads,
        )


def _refuse_layer(layer: int, pair: Iterable[int], source: SourceNet) -> None:
    if isinstance(source, RecogniserSource):
        if abs(layer) > source.network.depth:
            raise ValueError(
                f"attention_transfer.pairs: {pair} names layer {layer} of the recogniser, which "
                f"has {source.network.depth}; name one that it has, or give source.network.depth "
                f"{abs(layer)} or more"
            )
        return
    known = len(set(source.layers)) if source.layers else 1
    if -layer > known or (layer > 0 and layer not in (source.layers or ())):
        kept = "the last alone is" if source.layers is None else f"{list(source.layers)} are"
        raise ValueError(
            f"attention_transfer.pairs: {pair} names layer {layer} of the source, of which {kept} "
            "kept; name it in source.layers"
        )


def refuse_unlike(student: StudentNet, source: SourceNet) -> None:
    """Raise where the student cannot begin with the source's weights.

    Raises:
        ValueError: names the key, both values and what to change.
    """
    if not isinstance(source, RecogniserSource):
        raise ValueError(
            f"initialise is 'source', but source.kind is {source.kind!r}, a network of another "
            "build; use kind: recogniser, or initialise: random"
        )
    if not isinstance(student, Satn):
        raise ValueError(
            f"initialise is 'source', but student.kind is {student.kind!r}, a network of another "
            "build than the recogniser; use kind: satn, or initialise: random"
        )
    for name in SatnNetwork.model_fields:
        mine, theirs = getattr(student, name), getattr(source.network, name)
        # what is done to the input, or dropped in training, is no part of the weights
        if mine != theirs and name not in ("dropout", "instance_norm"):
            raise ValueError(
                f"initialise is 'source', but student.{name} is {mine} and source.network.{name} "
                f"is {theirs}; make them equal"
            )
