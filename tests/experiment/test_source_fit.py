"""Which students can learn attention from which sources, and which can begin as one."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.experiment.networks import (
    ConvTransformer,
    InvertedTransformer,
    Satn,
    SatnNetwork,
    StudentNet,
    VerticalVit,
)
from orchestrator.experiment.source_fit import refuse_deaf, refuse_unlike
from orchestrator.experiment.sources import (
    AttentionTransfer,
    PretrainedSource,
    RecogniserSource,
    SourceNet,
)


def satn(**sizes: Any) -> Satn:
    return Satn(kind="satn", **sizes)


def conv(**sizes: Any) -> ConvTransformer:
    return ConvTransformer(kind="conv-transformer", **sizes)


def recogniser(**sizes: Any) -> RecogniserSource:
    return RecogniserSource(kind="recogniser", network=SatnNetwork(**sizes))


def pretrained(*layers: int) -> PretrainedSource:
    return PretrainedSource(kind="pretrained", root="/whisper", layers=layers or None)


def deaf(
    student: StudentNet,
    source: SourceNet | None = None,
    *,
    batch_size: int = 2,
    **section: Any,
) -> str:
    """What is said against it, or nothing."""
    try:
        refuse_deaf(
            student,
            source or recogniser(),
            AttentionTransfer.model_validate(section),
            batch_size=batch_size,
        )
    except ValueError as error:
        return str(error)
    return ""


def unlike(student: StudentNet, source: SourceNet) -> str:
    """What is said against it, or nothing."""
    try:
        refuse_unlike(student, source)
    except ValueError as error:
        return str(error)
    return ""


# Attention


@pytest.mark.parametrize("source", [recogniser(), pretrained()])
@pytest.mark.parametrize(
    "student",
    [VerticalVit(kind="vertical-vit"), InvertedTransformer(kind="inverted-transformer")],
)
def test_a_student_whose_tokens_are_no_steps_of_time_is_refused(
    student: StudentNet, source: SourceNet
) -> None:
    assert deaf(student, source, match="l2") == (
        f"objectives.attention_transfer has a weight, but a student of kind {student.kind!r} "
        "has no attention among steps of time alone; use kind: satn or conv-transformer"
    )


@pytest.mark.parametrize("source", [recogniser(), pretrained()])
def test_a_student_without_a_layer_of_attention_is_refused(source: SourceNet) -> None:
    assert deaf(conv(depth=1), source, match="l2") == ""
    assert deaf(conv(depth=0), source, match="l2") == (
        "objectives.attention_transfer has a weight, but student.depth is 0, so the student "
        "has no attention; give it a layer"
    )


def test_utterances_are_compared_with_others_of_their_batch() -> None:
    assert deaf(satn(), match="similarity", batch_size=2) == ""
    assert deaf(satn(), match="kl", batch_size=1) == ""
    assert deaf(satn(), match="similarity", batch_size=1) == (
        "attention_transfer.match is 'similarity' but training.batch_size is 1, so no batch has "
        "two utterances to compare; raise it"
    )


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([[1, 1]], ""),
        ([[3, 2], [1, 1], [3, 1]], ""),
        (
            [[1, 3]],
            "[1, 3] names layer 3 of the student, which has 2; "
            "name one that it has, or give student.depth 3 or more",
        ),
        (
            [[4, 2]],
            "[4, 2] names layer 4 of the recogniser, which has 3; "
            "name one that it has, or give source.network.depth 4 or more",
        ),
        # the first that is wrong, wherever it stands
        (
            [[1, 1], [1, 3], [4, 1]],
            "[1, 3] names layer 3 of the student, which has 2; "
            "name one that it has, or give student.depth 3 or more",
        ),
        # counted from the last
        ([[-1, -1], [-3, -2]], ""),
        (
            [[-1, -3]],
            "[-1, -3] names layer -3 of the student, which has 2; "
            "name one that it has, or give student.depth 3 or more",
        ),
        (
            [[-4, -1]],
            "[-4, -1] names layer -4 of the recogniser, which has 3; "
            "name one that it has, or give source.network.depth 4 or more",
        ),
    ],
)
def test_pairs_name_layers_that_student_and_recogniser_have(
    pairs: list[list[int]], said: str
) -> None:
    found = deaf(satn(depth=2), recogniser(depth=3), pairs=pairs)

    assert found == (said and f"attention_transfer.pairs: {said}")


@pytest.mark.parametrize(
    ("layers", "pairs", "said"),
    [
        ((2, 4), [[2, 1], [4, 2]], ""),
        ((2, 4), [[3, 1]], "[3, 1] names layer 3 of the source, of which [2, 4] are kept"),
        ((), [[1, 1]], "[1, 1] names layer 1 of the source, of which the last alone is kept"),
        (
            (2,),
            [[2, 3]],
            "[2, 3] names layer 3 of the student, which has 2; "
            "name one that it has, or give student.depth 3 or more",
        ),
        # counted from the last that is kept
        ((), [[-1, -1]], ""),
        ((), [[-2, 1]], "[-2, 1] names layer -2 of the source, of which the last alone is kept"),
        ((4, 2, 4), [[-1, 1], [-2, 2]], ""),
        ((2, 4), [[-3, 1]], "[-3, 1] names layer -3 of the source, of which [2, 4] are kept"),
        ((4, 4), [[-2, 1]], "[-2, 1] names layer -2 of the source, of which [4, 4] are kept"),
    ],
)
def test_pairs_name_layers_of_an_encoder_that_are_kept(
    layers: tuple[int, ...], pairs: list[list[int]], said: str
) -> None:
    found = deaf(satn(depth=2), pretrained(*layers), match="l2", pairs=pairs)

    mend = "; name it in source.layers" if "kept" in said else ""
    assert found == (said and f"attention_transfer.pairs: {said}{mend}")


@pytest.mark.parametrize(
    ("student", "match", "said"),
    [
        # heads: the recogniser has 4, of width 96
        (satn(heads=4), "kl", ""),
        (conv(heads=4), "kl", ""),
        (satn(heads=2), "kl", "the source has 4 heads and the student 2, and match: kl"),
        (conv(heads=8), "kl", "the source has 4 heads and the student 8, and match: kl"),
        (satn(heads=2), "relations", "the source has 4 heads and the student 2"),
        (satn(heads=2), "l2", ""),
        (satn(heads=2), "similarity", ""),
    ],
)
def test_heads_are_compared_with_a_recognisers_where_the_match_is_by_head(
    student: StudentNet, match: str, said: str
) -> None:
    found = deaf(student, recogniser(heads=4), match=match)

    assert (said in found) if said else not found


def test_relation_heads_divide_the_widths_of_both() -> None:
    student, source = satn(dim=64, heads=2), recogniser(dim=96, heads=4)

    assert deaf(student, source, match="relations", relation_heads=16) == ""
    assert "relation_heads 3 does not divide both the source's width 96 and the student's 64" in (
        deaf(student, source, match="relations", relation_heads=3)
    )


def test_heads_of_an_encoder_are_compared_when_it_is_read() -> None:
    assert deaf(satn(heads=2), pretrained(), match="kl") == ""


# First weights


def test_a_satn_begins_as_a_recogniser_of_its_sizes() -> None:
    assert unlike(satn(), recogniser()) == ""
    small = {"dim": 16, "depth": 3, "heads": 2, "causal": True, "kernel": 2}
    assert unlike(satn(**small), recogniser(**small)) == ""


OTHERS = {
    "stride": 3,
    "dim": 64,
    "levels": 4,
    "kernel": 5,
    "causal": True,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 64,
}


def test_the_sizes_below_are_all_that_weights_depend_on() -> None:
    # what is done to the input, or dropped in training, is no part of them
    assert {*OTHERS, "dropout", "instance_norm"} == set(SatnNetwork.model_fields)
    assert unlike(satn(dropout=0.5), recogniser()) == ""
    assert unlike(satn(instance_norm=True), recogniser()) == ""
    assert unlike(satn(segment_seconds=1.0, segment_pooling="max"), recogniser()) == ""


@pytest.mark.parametrize("name", OTHERS)
def test_one_other_size_is_named_with_both_values(name: str) -> None:
    ours = getattr(SatnNetwork(), name)

    assert unlike(satn(), recogniser(**{name: OTHERS[name]})) == (
        f"initialise is 'source', but student.{name} is {ours} and source.network.{name} is "
        f"{OTHERS[name]}; make them equal"
    )


def test_nobody_begins_as_an_encoder() -> None:
    assert unlike(satn(), pretrained()) == (
        "initialise is 'source', but source.kind is 'pretrained', a network of another build; use "
        "kind: recogniser, or initialise: random"
    )


@pytest.mark.parametrize(
    "student",
    [conv(), VerticalVit(kind="vertical-vit"), InvertedTransformer(kind="inverted-transformer")],
)
def test_no_other_student_begins_as_a_recogniser(student: StudentNet) -> None:
    assert unlike(student, recogniser()) == (
        f"initialise is 'source', but student.kind is {student.kind!r}, a network of another "
        "build than the recogniser; use kind: satn, or initialise: random"
    )
