from __future__ import annotations

import copy
import functools
import itertools
import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from models.satn import SatnEncoder
from models.speech_recogniser import (
    Edits,
    Recognition,
    SpeechRecogniser,
    ctc_loss,
    edit_distance,
    greedy_decode,
)


def recogniser(**changes: Any) -> SpeechRecogniser:
    options: dict[str, Any] = {
        "bins": 4,
        "channels": 1,
        "stride": 2,
        "dim": 8,
        "levels": 2,
        "kernel": 3,
        "causal": False,
        "depth": 2,
        "heads": 2,
        "mlp_dim": 12,
        "dropout": 0.0,
    }
    return SpeechRecogniser(SatnEncoder(**options | changes), symbols=5, dropout=0.0).eval()


def recognition(logits: Tensor, token_lengths: list[int]) -> Recognition:
    return Recognition(logits, torch.tensor(token_lengths), torch.zeros(logits.shape[:2]), ())


# The network


def test_padding_never_changes_a_recognition() -> None:
    torch.manual_seed(0)
    net, lengths = recogniser(), torch.tensor([29, 17, 1])
    frames = torch.randn(3, 33, 4)
    frames[1, 17:] = float("nan")
    together = net(frames, lengths)

    assert together.token_lengths.tolist() == [15, 9, 1]
    assert together.logits.shape == (3, 17, 6)
    for row, length in enumerate(lengths.tolist()):
        alone = net(frames[row : row + 1, :length], lengths[row : row + 1])
        count = int(together.token_lengths[row])
        found = together.logits[row, :count]
        torch.testing.assert_close(alone.logits[0], found, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone.positions[0], together.positions[row, :count])


def test_a_recognition_is_the_head_on_the_encoders_tokens() -> None:
    torch.manual_seed(0)
    net, frames, lengths = recogniser(), torch.randn(2, 9, 4), torch.tensor([9, 8])
    said, encoded = net(frames, lengths), net.encoder(frames, lengths)

    torch.testing.assert_close(said.logits, net.head(encoded.tokens))
    assert len(said.attention) == 2
    listening = said.listening(2)
    torch.testing.assert_close(listening.heads.keys, encoded.attention[1].keys)
    assert listening.lengths.tolist() == [5, 4]
    torch.testing.assert_close(listening.positions[0], torch.arange(0.5, 9, 2) / 9)


def test_a_copy_and_double_precision_say_the_same() -> None:
    torch.manual_seed(0)
    net, frames, lengths = recogniser(), torch.randn(2, 9, 4), torch.tensor([9, 8])
    said = net(frames, lengths).logits
    double = copy.deepcopy(net).double()(frames.double(), lengths).logits

    assert (said.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(double.float(), said, rtol=1e-4, atol=1e-5)


# CTC


def collapsed(path: tuple[int, ...]) -> list[int]:
    merged = [label for place, label in enumerate(path) if not place or label != path[place - 1]]
    return [label for label in merged if label]


def loss_over_all_alignments(logits: Tensor, target: list[int]) -> float:
    """``logits`` (tokens, symbols + 1) of one utterance."""
    posteriors = logits.softmax(1).tolist()
    probability = sum(
        math.prod(posterior[label] for posterior, label in zip(posteriors, path, strict=True))
        for path in itertools.product(range(logits.shape[1]), repeat=len(posteriors))
        if collapsed(path) == target
    )
    return -math.log(probability) / max(len(target), 1)


def test_ctc_is_a_sum_over_all_alignments() -> None:
    """Full and shorter utterances; repeats, one label, none, and no token to spare."""
    torch.manual_seed(0)
    logits = torch.randn(6, 5, 4).double() * 2
    cases = [(5, [1, 2]), (5, [3, 3]), (3, [2, 2]), (4, [1]), (2, []), (4, [1, 2, 3, 1])]
    targets = torch.tensor([target + [0] * (4 - len(target)) for _, target in cases])
    lengths = [count for count, _ in cases]
    sizes = torch.tensor([len(target) for _, target in cases])
    found = ctc_loss(recognition(logits, lengths), targets, sizes)

    expected = [
        loss_over_all_alignments(row[:count], target)
        for row, (count, target) in zip(logits, cases, strict=True)
    ]
    assert found.dtype == torch.float64
    reference = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, reference, rtol=1e-9, atol=1e-9)


def test_ctc_reads_no_padding_of_logits_or_targets() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 4)
    targets, sizes = torch.tensor([[1, 2, 3], [2, -1, 99]]), torch.tensor([3, 1])
    found = ctc_loss(recognition(logits, [6, 3]), targets, sizes)
    louder = logits.clone()
    louder[1, 3:] = 50.0

    torch.testing.assert_close(ctc_loss(recognition(louder, [6, 3]), targets, sizes), found)
    alone = ctc_loss(recognition(logits[1:, :3], [3]), targets[1:, :1], sizes[1:])
    torch.testing.assert_close(alone, found[1:])


@pytest.mark.parametrize("width", [0, 2])
def test_ctc_of_no_label_at_all_is_that_of_blanks(width: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4)
    targets = torch.zeros(2, width, dtype=torch.int64)
    found = ctc_loss(recognition(logits, [3, 2]), targets, torch.tensor([0, 0]))

    blanks = -logits.log_softmax(-1)[..., 0]
    torch.testing.assert_close(found, torch.stack([blanks[0].sum(), blanks[1, :2].sum()]))


def test_slope_of_ctc_agrees_with_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 3).double().requires_grad_()
    targets, sizes = torch.tensor([[1, 1], [2, 0]]), torch.tensor([2, 1])

    assert torch.autograd.gradcheck(
        lambda said: ctc_loss(recognition(said, [4, 2]), targets, sizes), (logits,)
    )


def test_half_precision_is_scored_in_single() -> None:
    torch.manual_seed(0)
    logits = (torch.randn(1, 40, 4) * 3).bfloat16()
    targets, sizes = torch.tensor([[1, 2, 3]]), torch.tensor([3])
    found = ctc_loss(recognition(logits, [40]), targets, sizes)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, ctc_loss(recognition(logits.float(), [40]), targets, sizes))


@pytest.mark.parametrize(
    ("tokens", "target", "message"),
    [
        (1, [1, 2], "utterance 1 of the batch has 1 tokens for 2 labels, 0 of them .* needs 2"),
        (4, [1, 1, 2, 2], "has 4 tokens for 4 labels, 2 of them like the one before, and needs 6"),
        (5, [1, 1, 2, 2], "has 5 tokens for 4 labels"),
    ],
)
def test_too_few_tokens_are_refused(tokens: int, target: list[int], message: str) -> None:
    """The padding repeats itself too, but asks for no token."""
    targets = torch.tensor([[1, 0, 0, 0], target + [0] * (4 - len(target))])
    said = recognition(torch.randn(2, 6, 4), [1, tokens])

    with pytest.raises(ValueError, match=message):
        ctc_loss(said, targets, torch.tensor([1, len(target)]))


def test_just_enough_tokens_are_not_refused() -> None:
    said = recognition(torch.randn(1, 6, 4), [6])

    assert ctc_loss(said, torch.tensor([[1, 1, 2, 2]]), torch.tensor([4])).isfinite().all()


@pytest.mark.parametrize("label", [0, 4, -1])
def test_a_label_that_is_not_the_recognisers_is_refused(label: int) -> None:
    said = recognition(torch.randn(1, 6, 4), [6])

    with pytest.raises(ValueError, match=f"has label {label}; labels of this recogniser are 1 to"):
        ctc_loss(said, torch.tensor([[1, label]]), torch.tensor([2]))


# Decoding


def test_decoding_by_hand() -> None:
    paths = torch.tensor(
        [
            [0, 1, 1, 0, 1, 2, 2],  # a blank keeps like labels apart
            [3, 3, 3, 3, 3, 3, 3],
            [0, 0, 0, 0, 2, 2, 2],  # the rest is padding
            [0, 0, 0, 0, 0, 0, 0],
            [2, 1, 2, 1, 1, 0, 0],
        ]
    )
    logits = torch.nn.functional.one_hot(paths, 4).float()
    decoded = greedy_decode(logits, torch.tensor([7, 7, 4, 7, 5]))

    assert decoded == [[1, 1, 2], [3], [], [], [2, 1, 2, 1]]


def test_decoding_agrees_with_ctc_on_a_sure_path() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 9, 5) * 100
    decoded = greedy_decode(logits, torch.full((4,), 9))

    for row, target in zip(logits, decoded, strict=True):
        said = recognition(row[None], [9])
        assert ctc_loss(said, torch.tensor([target]), torch.tensor([len(target)])) < 1


# Edits


def naive_distance(reference: tuple[int, ...], hypothesis: tuple[int, ...]) -> int:
    @functools.cache
    def distance(read: int, heard: int) -> int:
        if not read or not heard:
            return read + heard
        return min(
            distance(read - 1, heard - 1) + (reference[read - 1] != hypothesis[heard - 1]),
            distance(read - 1, heard) + 1,
            distance(read, heard - 1) + 1,
        )

    return distance(len(reference), len(hypothesis))


def test_edits_agree_with_a_naive_recursion() -> None:
    chance = random.Random(0)
    for _ in range(300):
        reference, hypothesis = (
            tuple(chance.randrange(3) for _ in range(chance.randrange(8))) for _ in range(2)
        )
        edits = edit_distance(reference, hypothesis)

        assert edits.total == naive_distance(reference, hypothesis)
        # Whatever the ties, lengths must come out.
        assert edits.insertions - edits.deletions == len(hypothesis) - len(reference)
        assert min(edits.substitutions, edits.deletions, edits.insertions) >= 0
        assert edits == edit_distance(list(reference), list(hypothesis))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "edits"),
    [
        ("kitten", "sitting", Edits(substitutions=2, insertions=1)),
        ("", "", Edits()),
        ("", "ab", Edits(insertions=2)),
        ("ab", "", Edits(deletions=2)),
        ("same", "same", Edits()),
        # As short: to delete a and insert c, or to substitute twice.
        ("ab", "bc", Edits(substitutions=2)),
    ],
)
def test_edits_by_hand(reference: str, hypothesis: str, edits: Edits) -> None:
    assert edit_distance(reference, hypothesis) == edits
    assert edits.total == edits.substitutions + edits.deletions + edits.insertions
