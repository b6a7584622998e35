from __future__ import annotations

import math

import pytest
import torch

from models.distillation.attention import (
    Match,
    attention_maps,
    attention_transfer,
    refuse_mismatch,
    relation_maps,
)
from models.outputs import Heads, Listening
from tests.models.distillation.listenings import changed, drawn, parts


def rows_by_loop(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    """Softmax of scaled products, one pair of tokens after another."""
    rows = []
    for one in left:
        scores = [
            sum(a * b for a, b in zip(one, other, strict=True)) / math.sqrt(len(one))
            for other in right
        ]
        shares = [math.exp(score) for score in scores]
        rows.append([share / sum(shares) for share in shares])
    return rows


def divergence_by_loop(
    mine: list[list[list[float]]], theirs: list[list[list[float]]]
) -> list[list[float]]:
    """Of each head and row, KL(theirs || mine)."""
    return [
        [
            sum(q * math.log(q / p) for p, q in zip(row, target, strict=True))
            for row, target in zip(rows, targets, strict=True)
        ]
        for rows, targets in zip(mine, theirs, strict=True)
    ]


def mean(nested: list[list[float]]) -> float:
    flat = [value for row in nested for value in row]
    return sum(flat) / len(flat)


def heads_by_loop(left: torch.Tensor, right: torch.Tensor, length: int) -> list[list[list[float]]]:
    """Maps of one utterance's heads, (heads, tokens, dim) each."""
    return [
        rows_by_loop(a[:length].tolist(), b[:length].tolist())
        for a, b in zip(left, right, strict=True)
    ]


def recut(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """Heads (heads, tokens, dim) of one utterance, cut anew by picking features one by one."""
    heads, tokens, dim = vectors.shape
    wide = [
        [vectors[h, t, d].item() for h in range(heads) for d in range(dim)] for t in range(tokens)
    ]
    width = heads * dim // count
    return torch.tensor(
        [[row[r * width : (r + 1) * width] for row in wide] for r in range(count)],
        dtype=vectors.dtype,
    )


def test_maps_are_those_of_the_double_loop_and_padding_gets_nothing() -> None:
    listening = drawn(5, 3, 1, size=6)
    queries, keys, _ = parts(listening)

    maps = attention_maps(listening)

    for row, length in enumerate([5, 3, 1]):
        expected = torch.zeros(2, 6, 6, dtype=torch.float64)
        expected[:, :length, :length] = torch.tensor(
            heads_by_loop(queries[row], keys[row], length), dtype=torch.float64
        )
        torch.testing.assert_close(expected, maps[row], rtol=0, atol=1e-12)
        assert maps[row, :, length:].eq(0).all()
        assert maps[row, :, :, length:].eq(0).all()


def test_relations_of_heads_cut_anew_are_those_of_the_double_loop() -> None:
    vectors = drawn(4, 2, heads=2, dim=6).heads.values

    maps = relation_maps(vectors, torch.tensor([4, 2]), relation_heads=3)

    assert maps.shape == (2, 3, 4, 4)
    for row, length in enumerate([4, 2]):
        cut = recut(vectors[row], 3)
        expected = torch.zeros(3, 4, 4, dtype=torch.float64)
        expected[:, :length, :length] = torch.tensor(heads_by_loop(cut, cut, length))
        torch.testing.assert_close(expected, maps[row], rtol=0, atol=1e-7)


def test_as_many_relation_heads_as_there_are_change_nothing() -> None:
    vectors, lengths = drawn(5, 2, heads=3, dim=4).heads.keys, torch.tensor([5, 2])

    assert torch.equal(
        relation_maps(vectors, lengths), relation_maps(vectors, lengths, relation_heads=3)
    )


@pytest.mark.parametrize("count", [0, 4, -2])
def test_relation_heads_that_do_not_divide_the_width_are_refused(count: int) -> None:
    vectors = drawn(2, heads=2, dim=3).heads.values

    with pytest.raises(ValueError, match=rf"{count} does not divide the width 6 \(2 heads of 3\)"):
        relation_maps(vectors, torch.tensor([2]), relation_heads=count)


def test_halves_are_computed_in_float32() -> None:
    listening = drawn(6, 4, dtype=torch.bfloat16)
    in_full = changed(listening, torch.Tensor.float, padding_only=False)

    assert attention_maps(listening).dtype == torch.float32
    assert torch.equal(attention_maps(in_full), attention_maps(listening))


def test_divergence_is_that_of_the_double_loop() -> None:
    # head_dim differs, which attention itself does not mind
    student, source = drawn(5, 3, 1, dim=3), drawn(5, 3, 1, dim=4, seed=1)

    alone = attention_transfer(student, source, match="kl")
    with_values = attention_transfer(student, source, match="kl", values=True)

    for row, length in enumerate([5, 3, 1]):
        (q, k, v), (sq, sk, sv) = (
            [part[row] for part in parts(listening)] for listening in (student, source)
        )
        attention = mean(
            divergence_by_loop(heads_by_loop(q, k, length), heads_by_loop(sq, sk, length))
        )
        relation = mean(
            divergence_by_loop(heads_by_loop(v, v, length), heads_by_loop(sv, sv, length))
        )
        assert alone[row].item() == pytest.approx(attention, rel=1e-9, abs=1e-12)
        assert with_values[row].item() == pytest.approx(attention + relation, rel=1e-9, abs=1e-12)


def test_relations_are_those_of_the_double_loop_at_other_heads_and_widths() -> None:
    student, source = drawn(4, 2, heads=2, dim=3), drawn(4, 2, heads=4, dim=3, seed=1)

    losses = attention_transfer(student, source, match="relations", relation_heads=3)

    for row, length in enumerate([4, 2]):
        terms = []
        for part, source_part in zip(parts(student), parts(source), strict=True):
            mine, theirs = recut(part[row], 3), recut(source_part[row], 3)
            maps = heads_by_loop(mine, mine, length), heads_by_loop(theirs, theirs, length)
            terms.append(mean(divergence_by_loop(*maps)))
        assert losses[row].item() == pytest.approx(sum(terms) / 3, rel=1e-9)


def test_relations_without_a_number_of_heads_keep_the_heads() -> None:
    student, source = drawn(4, 2, heads=3, dim=2), drawn(4, 2, heads=3, dim=5, seed=1)

    kept = attention_transfer(student, source, match="relations")

    cut = attention_transfer(student, source, match="relations", relation_heads=1)
    same = changed(student, lambda x: x, padding_only=False)
    by_hand = sum(
        attention_transfer(
            Listening(Heads(mine, mine, mine), same.lengths, same.positions),
            Listening(Heads(theirs, theirs, theirs), source.lengths, source.positions),
            match="kl",
        )
        for mine, theirs in zip(parts(student), parts(source), strict=True)
    )
    assert isinstance(by_hand, torch.Tensor)
    torch.testing.assert_close(by_hand / 3, kept)
    assert not torch.allclose(kept, cut)


def test_l2_is_that_of_the_loop_at_any_number_of_heads() -> None:
    student, source = drawn(4, 2, heads=2), drawn(4, 2, heads=3, dim=5, seed=1)

    losses = attention_transfer(student, source, match="l2")

    for row, length in enumerate([4, 2]):
        flat = []
        for listening in (student, source):
            queries, keys, _ = parts(listening)
            maps = heads_by_loop(queries[row], keys[row], length)
            energy = [
                sum(head[i][j] ** 2 for head in maps) / len(maps)
                for i in range(length)
                for j in range(length)
            ]
            norm = math.hypot(*energy)
            flat.append([value / norm for value in energy])
        expected = sum((a - b) ** 2 for a, b in zip(*flat, strict=True))
        assert losses[row].item() == pytest.approx(expected, rel=1e-9)


def test_similarity_is_that_of_the_loop_and_its_mean_the_papers() -> None:
    lengths = [5, 3, 1]
    student = drawn(*lengths, heads=2, dim=3)
    source = drawn(9, 4, 2, heads=4, dim=5, seed=1)

    losses = attention_transfer(student, source, match="similarity")

    grams = []
    for listening in (student, source):
        queries, keys, values = parts(listening)
        features = []
        for row, length in enumerate(listening.lengths.tolist()):
            heard: list[float] = []
            for head, rows in enumerate(heads_by_loop(queries[row], keys[row], length)):
                for d in range(values.shape[-1]):
                    told = [
                        sum(
                            share * values[row, head, j, d].item() for j, share in enumerate(shares)
                        )
                        for shares in rows
                    ]
                    heard.append(sum(told) / length)
            features.append(heard)
        gram = [
            [math.fsum(a * b for a, b in zip(f, g, strict=True)) for g in features]
            for f in features
        ]
        grams.append([[entry / math.hypot(*entries) for entry in entries] for entries in gram])
    squares = [
        [(a - b) ** 2 for a, b in zip(mine, theirs, strict=True)]
        for mine, theirs in zip(*grams, strict=True)
    ]
    assert losses.tolist() == pytest.approx([sum(row) / 3 for row in squares], rel=1e-9)
    assert losses.mean().item() == pytest.approx(sum(map(sum, squares)) / 3**2, rel=1e-9)


def test_utterance_alone_in_its_batch_is_like_itself() -> None:
    losses = attention_transfer(drawn(5), drawn(5, seed=1), match="similarity")

    assert losses.tolist() == pytest.approx([0.0], abs=1e-12)


@pytest.mark.parametrize("values", [False, True])
def test_unequal_heads_are_refused_with_what_to_use_instead(values: bool) -> None:
    with pytest.raises(
        ValueError,
        match="source has 8 heads and the student 4.*use match: relations with relation_heads, l2",
    ):
        attention_transfer(drawn(3, heads=4), drawn(3, heads=8, seed=1), match="kl", values=values)


def test_unequal_heads_are_refused_by_relations_that_keep_them() -> None:
    # widths 12 and 24
    with pytest.raises(ValueError, match=r"8 heads and the student 4.*a divisor of 12\)"):
        attention_transfer(drawn(3, heads=4), drawn(3, heads=8, seed=1), match="relations")


@pytest.mark.parametrize("count", [0, -1, 4, 9, 5])
def test_relation_heads_that_do_not_divide_both_widths_are_refused(count: int) -> None:
    with pytest.raises(
        ValueError,
        match=rf"{count} does not divide both the source's width 18 and the student's 12 .* of 6$",
    ):
        attention_transfer(
            drawn(3, heads=4), drawn(3, heads=6), match="relations", relation_heads=count
        )


@pytest.mark.parametrize(
    ("match", "relation_heads"), [("l2", None), ("similarity", None), ("relations", 4)]
)
def test_other_heads_and_widths_are_no_mismatch_where_they_do_not_matter(
    match: Match, relation_heads: int | None
) -> None:
    refuse_mismatch(
        match=match,
        student_heads=4,
        student_width=12,
        source_heads=8,
        source_width=512,
        relation_heads=relation_heads,
    )


def test_equal_heads_of_other_widths_are_no_mismatch() -> None:
    for match in ("kl", "relations"):
        refuse_mismatch(
            match=match,
            student_heads=4,
            student_width=12,
            source_heads=4,
            source_width=512,
            relation_heads=None,
        )
