"""Batches: the frames that were packed, moved and padded as worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.experiment.recipe import Augment
from orchestrator.training.data import FrameData, PooledData, scoring_batches
from tests.training.tiny import pack_of


def frame_data(
    *lengths: int, augment: Augment | None = None, slope: float = 1.0, seed: int = 0
) -> FrameData:
    """Ramps: frame i of every utterance is (i, 10 i), times ``slope``."""
    ramps = [[[slope * i, 10 * slope * i] for i in range(length)] for length in lengths]
    pack, utterances = pack_of(*ramps)
    return FrameData(
        pack,
        utterances,
        mean=np.zeros(2, np.float32),
        std=np.ones(2, np.float32),
        channels=1,
        hop_seconds=0.01,
        augment=augment,
        seed=seed,
    )


# Frames


def test_gathered_frames_are_the_packs_views_normalised() -> None:
    draw = np.random.default_rng(0)
    arrays = [draw.normal(size=(length, 3)) for length in (4, 1, 6, 2)]
    pack, utterances = pack_of(*(array.tolist() for array in arrays))
    mean, std = np.array([1, 2, 3], np.float32), np.array([0.5, 1, 2], np.float32)
    data = FrameData(pack, utterances, mean=mean, std=std, channels=1, hop_seconds=0.01)
    batch = data.batch(torch.tensor([2, 1, 0, 2]))
    frames, lengths = batch.inputs

    assert len(data) == 4
    assert batch.rows.tolist() == [2, 1, 0, 2]
    assert lengths.tolist() == [6, 1, 4, 6]
    assert frames.shape == (4, 6, 3)
    for place, row in enumerate([2, 1, 0, 2]):
        (view,) = pack.gather([f"u{row}"])
        np.testing.assert_array_equal(frames[place, : len(view)], (view - mean) / std)
        assert not frames[place, len(view) :].any()
    assert batch.window.start.tolist() == [0.0] * 4
    assert batch.window.span.tolist() == [1.0] * 4


def test_what_is_not_trained_on_is_never_augmented() -> None:
    data = frame_data(9, 4, augment=Augment(noise=5.0, time_masks=1, time_stretch=0.5))
    plain = frame_data(9, 4).batch(torch.tensor([0, 1]))
    scored = data.batch(torch.tensor([0, 1]))

    for one, other in zip(scored.inputs, plain.inputs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("lengths", [(9, 4, 1), (1,), (2, 200)])
def test_interpolation_at_tempo_one_is_the_original(lengths: tuple[int, ...]) -> None:
    rows = torch.arange(len(lengths))
    data = frame_data(*lengths, augment=Augment(), slope=0.3)
    augmented, plain = data.batch(rows, epoch=1), data.batch(rows)

    assert torch.equal(augmented.inputs[0], plain.inputs[0])
    assert torch.equal(augmented.inputs[1], plain.inputs[1])


def test_a_stretched_ramp_is_a_ramp_from_its_first_to_its_last_frame() -> None:
    data = frame_data(80, 80, 80, 80, augment=Augment(time_stretch=0.5))
    frames, lengths = data.batch(torch.arange(4), epoch=1).inputs

    assert len(set(lengths.tolist())) > 1
    for row, length in enumerate(lengths.tolist()):
        assert 80 / 1.5 - 1 < length < 80 / 0.5 + 1
        by_hand = np.linspace(0, 79, length)
        np.testing.assert_allclose(frames[row, :length, 0], by_hand, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(frames[row, :length, 1], 10 * by_hand, rtol=1e-5, atol=1e-3)
        assert not frames[row, length:].any()


def test_the_window_says_where_in_the_utterance_each_cropped_frame_stood() -> None:
    """A ramp's values are the frames' places, so the window can be checked against them."""
    data = frame_data(200, 150, 90, 60, augment=Augment(crop_seconds=0.5, time_stretch=0.1))
    starts = set()
    for epoch in range(1, 6):
        batch = data.batch(torch.arange(4), epoch=epoch)
        frames, spoken = batch.inputs
        for row, length in enumerate((200, 150, 90, 60)):
            count = int(spoken[row])
            heard = frames[row, :count, 0].double().numpy()
            relative = (np.arange(count) + 0.5) / count
            place = float(batch.window.start[row]) + float(batch.window.span[row]) * relative
            # the tempo squeezes centres by less than half a frame at either end
            np.testing.assert_allclose(place * length - 0.5, heard, atol=0.06)
            assert 0 <= heard.min()
            assert heard.max() <= length - 1
            starts.add(float(batch.window.start[row]))
    assert len(starts) == 20


def test_padding_stays_zero_under_every_augmentation() -> None:
    augment = Augment(
        noise=2.0, time_stretch=0.3, frequency_warp=0.2, time_masks=2, frequency_masks=1
    )
    frames, lengths = frame_data(70, 30, 5, augment=augment).batch(torch.arange(3), epoch=1).inputs

    assert frames.shape[1] == int(lengths.max())
    for row, length in enumerate(lengths.tolist()):
        assert not frames[row, length:].any()


# Pooled vectors


def test_pooled_vectors_are_gathered_by_row() -> None:
    vectors = np.arange(24, dtype=np.float64).reshape(4, 2, 3)
    data = PooledData(vectors)
    batch = data.batch(torch.tensor([3, 1]), epoch=5)

    assert len(data) == 4
    (pooled,) = batch.inputs
    assert pooled.dtype == torch.float32
    np.testing.assert_array_equal(pooled, vectors[[3, 1]])


# Scoring


def test_scoring_goes_by_length_and_leaves_nobody_out() -> None:
    batches = scoring_batches(torch.tensor([5, 1, 9, 1, 2]), size=2)

    assert [rows.tolist() for rows in batches] == [[2], [4, 0], [1, 3]]
