"""A pretrained encoder as a source of attention: which of its states are kept, and for whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from orchestrator.canonical import digest
from orchestrator.errors import ExperimentError, PretrainedError
from orchestrator.experiment.networks import ConvTransformer, Satn
from orchestrator.experiment.recipe import Recipe
from orchestrator.experiment.sources import PretrainedSource, SourceNet
from orchestrator.experiment.teachers import PretrainedTeacher
from orchestrator.teacher_encoder import teachers_weights

# models.pretrained is imported where it is used: torch takes seconds, and most commands need none


def source_name(section: SourceNet | None) -> str:
    """A short name of a source, another for every other section."""
    plain = None if section is None else section.model_dump(mode="json")
    return digest(plain)[:12]


def attention_layers(section: PretrainedSource) -> tuple[int, ...]:
    """The self-attention layers that are to be had, 1 being the first.

    Raises:
        PretrainedError: the root is no speech encoder, its attention cannot be had from stored
            states, or it has no such layer.
    """
    from models import pretrained
    from models.encoder_attention import refuse_attention

    try:
        root = pretrained.resolve_root(section.root, section.revision)
        blocks = pretrained.block_count(root)
        refuse_attention(pretrained.model_type(root))
    except (pretrained.NotAnEncoderError, OSError) as error:
        raise PretrainedError(f"recipe.source.root {section.root!r}: {error}") from error
    layers = section.layers or (blocks,)
    strange = [layer for layer in layers if layer > blocks]
    if strange:
        raise PretrainedError(
            f"recipe.source.layers {list(layers)}: the encoder has {blocks} self-attention layers; "
            f"name some of 1 to {blocks}"
        )
    return tuple(sorted(set(layers)))


class SourceStates(PretrainedTeacher):
    """The states of a source's encoder, computed and kept as those of a frozen teacher are."""

    place: ClassVar[str] = "recipe.source"


def states_wanted(section: PretrainedSource) -> SourceStates:
    """What of the encoder runs once over a corpus: the input of each layer, in frames.

    Raises:
        PretrainedError: as :func:`attention_layers`.
    """
    return SourceStates(
        kind="pretrained",
        root=section.root,
        revision=section.revision,
        layers=tuple(layer - 1 for layer in attention_layers(section)),
    )


def source_facts(section: PretrainedSource) -> dict[str, Any]:
    """The section with the hash of the encoder's ``weights`` in the place of where it lies.

    Raises:
        PretrainedError: the root is no speech encoder.
    """
    plain = section.model_dump(mode="json")
    del plain["root"], plain["revision"]
    return plain | {"weights": teachers_weights(states_wanted(section))}


def refuse_heads(recipes: Iterable[tuple[str, Recipe]]) -> None:
    """Raise where a student's attention cannot be compared with a pretrained source's.

    Args:
        recipes: each after where the file has it.

    Raises:
        ExperimentError: heads or widths do not go together; names the mend.
        PretrainedError: the source's root is no speech encoder.
    """
    from models import pretrained
    from models.distillation.attention import refuse_mismatch
    from models.encoder_attention import attention_heads, attention_width

    for where, recipe in recipes:
        source, student = recipe.source, recipe.student
        if not isinstance(source, PretrainedSource) or not recipe.objectives.attention_transfer:
            continue
        try:
            attention_layers(source)
        except PretrainedError as error:
            raise PretrainedError(f"{where}{error}") from None
        assert isinstance(student, Satn | ConvTransformer)
        root = pretrained.resolve_root(source.root, source.revision)
        try:
            refuse_mismatch(
                match=recipe.attention_transfer.match,
                student_heads=student.heads,
                student_width=student.dim,
                source_heads=attention_heads(root),
                source_width=attention_width(root),
                relation_heads=recipe.attention_transfer.relation_heads,
            )
        except ValueError as error:
            raise ExperimentError(f"{where}recipe.attention_transfer: {error}") from None
