"""Augmentation: its draws are the example's own, and its geometry is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.experiment.recipe import Augment
from orchestrator.training.augment import (
    add_noise,
    change_level,
    heard,
    mask_features,
    stretched_lengths,
    uniform_draws,
    warp_frequency,
)
from orchestrator.training.data import FrameData
from tests.training.tiny import pack_of

EVERYTHING = Augment(
    frequency_masks=1,
    frequency_width=3,
    time_masks=1,
    time_width_seconds=0.05,
    time_stretch=0.2,
    frequency_warp=0.1,
    gain_db=6.0,
    tilt_db=3.0,
    noise=0.3,
    crop_seconds=0.25,
)
NAMES = ["a", "b", "c"]


def data(augment: Augment, *, seed: int = 0) -> FrameData:
    """Five utterances of 12 to 60 frames, two planes of four bins."""
    draw = np.random.default_rng(0)
    pack, utterances = pack_of(*(draw.normal(size=(12 * n, 8)).tolist() for n in range(1, 6)))
    return FrameData(
        pack,
        utterances,
        mean=np.zeros(8, np.float32),
        std=np.ones(8, np.float32),
        channels=2,
        hop_seconds=0.01,
        augment=augment,
        seed=seed,
    )


# The draws


def test_draws_are_of_the_example_and_not_of_its_place() -> None:
    together = uniform_draws(EVERYTHING, NAMES, seed=3, epoch=2)
    other_order = uniform_draws(EVERYTHING, ["c", "z", "a"], seed=3, epoch=2)

    # five of their own, and two for each of two masks
    assert together.shape == (3, 5 + 2 * 2)
    assert torch.equal(other_order[0], together[2])
    assert torch.equal(other_order[2], together[0])
    assert ((together >= 0) & (together < 1)).all()


def test_draws_do_not_touch_or_hear_the_global_generator() -> None:
    before = uniform_draws(EVERYTHING, NAMES, seed=3, epoch=2)
    torch.manual_seed(99)
    state = torch.get_rng_state()

    assert torch.equal(uniform_draws(EVERYTHING, NAMES, seed=3, epoch=2), before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("seed", "epoch", "name"), [(4, 2, "a"), (3, 3, "a"), (3, 2, "b")])
def test_another_seed_epoch_or_example_draws_anew(seed: int, epoch: int, name: str) -> None:
    one = uniform_draws(EVERYTHING, ["a"], seed=3, epoch=2)

    assert not torch.equal(uniform_draws(EVERYTHING, [name], seed=seed, epoch=epoch), one)


def test_an_example_is_augmented_alike_in_every_batch_and_order() -> None:
    found = data(EVERYTHING)
    whole = found.batch(torch.arange(5), epoch=4)
    for rows in ([2], [4, 2, 0], [2, 3], [1, 2, 4, 3]):
        batch = found.batch(torch.tensor(rows), epoch=4)
        for place, row in enumerate(rows):
            frames, lengths = batch.inputs
            length = int(lengths[place])

            assert length == int(whole.inputs[1][row])
            assert torch.equal(frames[place, :length], whole.inputs[0][row, :length])
            assert not frames[place, length:].any()
            assert torch.equal(batch.window.start[place], whole.window.start[row])


def test_every_epoch_and_seed_sounds_different() -> None:
    first = data(EVERYTHING).batch(torch.tensor([4]), epoch=1).inputs[0]

    assert torch.equal(first, data(EVERYTHING).batch(torch.tensor([4]), epoch=1).inputs[0])
    for other in (
        data(EVERYTHING).batch(torch.tensor([4]), epoch=2),
        data(EVERYTHING, seed=1).batch(torch.tensor([4]), epoch=1),
    ):
        frames = other.inputs[0]
        shared = min(frames.shape[1], first.shape[1])
        assert not torch.equal(frames[:, :shared], first[:, :shared])


# Crop and tempo


def test_a_crop_is_a_share_of_the_utterance_and_starts_where_the_draw_says() -> None:
    draws = torch.tensor([[0.0, 0.0, 0.25], [0.0, 0.0, 0.25]])
    window = heard(Augment(crop_seconds=0.5), draws, torch.tensor([200, 40]), hop_seconds=0.01)

    # 50 of 200 frames, from a quarter of the remaining three quarters; 40 are heard whole
    assert window.span.tolist() == [0.25, 1.0]
    assert window.start.tolist() == [0.1875, 0.0]


def test_tempo_divides_the_length() -> None:
    draws = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [1.0, 0, 0], [0.5, 0, 0]])
    lengths = torch.tensor([100, 100, 100, 1])
    augment = Augment(time_stretch=0.25)
    window = heard(augment, draws, lengths, hop_seconds=0.01)

    # 100 / 0.75, 100 / 1, 100 / 1.25; never nothing
    assert stretched_lengths(augment, draws, lengths, window).tolist() == [133, 100, 80, 1]


def test_a_crop_is_as_long_as_asked_after_the_change_of_tempo() -> None:
    draws = torch.tensor([[0.0, 0, 0.5], [1.0, 0, 0.5], [0.0, 0, 0.5], [1.0, 0, 0.5]])
    lengths = torch.tensor([200, 200, 45, 60])
    augment = Augment(crop_seconds=0.5, time_stretch=0.25)
    window = heard(augment, draws, lengths, hop_seconds=0.01)

    # 37.5 of 200 frames drawn out to 50, 62.5 pressed into 50; of 45, which would last 60, again
    # 37.5; 60 last 48 and are heard whole
    np.testing.assert_allclose(window.span * lengths, [37.5, 62.5, 37.5, 60.0], rtol=1e-6)
    np.testing.assert_allclose(window.start, [0.40625, 0.34375, 1 / 12, 0.0], rtol=1e-6)
    assert stretched_lengths(augment, draws, lengths, window).tolist() == [50, 50, 50, 48]


@pytest.mark.parametrize("crop_seconds", [0.017, 0.333, 0.345, 3.0])
def test_no_example_is_longer_than_the_crop(crop_seconds: float) -> None:
    augment = Augment(crop_seconds=crop_seconds, time_stretch=0.3)
    draws = uniform_draws(augment, [f"u{place}" for place in range(2000)], seed=0, epoch=1)
    lengths = torch.arange(1, 2001)
    window = heard(augment, draws, lengths, hop_seconds=0.01)
    spoken = stretched_lengths(augment, draws, lengths, window)
    frames = {0.017: 2, 0.333: 33, 0.345: 34, 3.0: 300}[crop_seconds]

    assert int(spoken.max()) == frames
    assert (spoken[lengths > 1.3 * frames] == frames).all()
    assert ((window.start >= 0) & (window.start + window.span <= 1.0 + 1e-6)).all()


def test_no_batch_is_wider_than_the_crop() -> None:
    found = data(Augment(crop_seconds=0.25, time_stretch=0.2))
    for epoch in range(1, 20):
        frames, lengths = found.batch(torch.arange(5), epoch=epoch).inputs

        assert frames.shape[1] == 25
        assert int(lengths.max()) == 25


def test_a_crop_of_less_than_a_frame_leaves_one() -> None:
    augment = Augment(crop_seconds=0.001)
    draws, lengths = torch.full((1, 3), 0.5), torch.tensor([50])
    window = heard(augment, draws, lengths, hop_seconds=0.01)

    assert stretched_lengths(augment, draws, lengths, window).tolist() == [1]


# Frequency warp


def test_a_warp_of_one_changes_nothing() -> None:
    frames = torch.randn(3, 5, 8)

    assert torch.equal(warp_frequency(frames, warp=torch.ones(3), channels=2), frames)


def test_warps_by_hand_plane_by_plane() -> None:
    frames = torch.tensor([[0.0, 1, 2, 3, 10, 20, 30, 40]]).repeat(2, 1)[:, None]
    found = warp_frequency(frames, warp=torch.tensor([2.0, 0.5]), channels=2)

    # bin b hears 2 b, the last beyond the edge; then b / 2, between bins
    assert found[0, 0].tolist() == [0, 2, 3, 3, 10, 30, 40, 40]
    assert found[1, 0].tolist() == [0, 0.5, 1, 1.5, 10, 15, 20, 25]


# Level


def test_gain_and_tilt_by_hand_on_static_planes_alone() -> None:
    draws = torch.tensor([[0, 0, 0, 1.0, 0.5], [0, 0, 0, 0.0, 0.5], [0, 0, 0, 0.5, 1.0]])
    augment = Augment(gain_db=10.0, tilt_db=20.0)
    scale = torch.tensor([1.0, 1.0, 1.0, 2.0, 9.0, 9.0, 9.0, 9.0])
    found = change_level(augment, torch.zeros(3, 2, 8), draws, scale=scale, channels=2)

    # ten decibels are a factor of ten in power; a tilt of twenty goes from -10 to +10 dB
    ten = np.log(10.0)
    by_hand = [[1, 1, 1, 2], [-1, -1, -1, -2], [-1, -1 / 3, 1 / 3, 2]]
    for row, expected in enumerate(by_hand):
        for frame in range(2):
            np.testing.assert_allclose(found[row, frame, :4], ten * np.array(expected), rtol=1e-5)
    # a constant offset of log power has no delta
    assert not found[:, :, 4:].any()


def test_a_gain_is_what_louder_audio_would_have_been() -> None:
    """Through the normalisation: the offset in raw features over the deviation."""
    pack, utterances = pack_of([[1.0, 2.0], [3.0, 4.0]])
    mean, std = np.array([1.0, 1.0], np.float32), np.array([2.0, 0.5], np.float32)
    data = FrameData(
        pack,
        utterances,
        mean=mean,
        std=std,
        channels=1,
        hop_seconds=0.01,
        augment=Augment(gain_db=6.0),
    )
    draws = uniform_draws(Augment(), utterances.contents, seed=0, epoch=1)
    raw = np.array([[1, 2], [3, 4]]) + 6.0 * (2 * float(draws[0, 3]) - 1) * np.log(10) / 10
    frames, _ = data.batch(torch.tensor([0]), epoch=1).inputs

    np.testing.assert_allclose(frames[0], (raw - mean) / std, rtol=1e-5)


# Masks


def test_masks_are_contiguous_alike_in_all_planes_and_no_wider_than_asked() -> None:
    augment = Augment(frequency_masks=1, frequency_width=3, time_masks=1, time_width_seconds=0.04)
    names = [f"u{place}" for place in range(300)]
    draws = uniform_draws(augment, names, seed=0, epoch=1)
    lengths = torch.tensor([40, 10] * 150)
    found = mask_features(
        augment, torch.ones(300, 40, 12), lengths, draws, channels=2, hop_seconds=0.01
    ).view(300, 40, 2, 6)
    assert torch.equal(found[:, :, 0], found[:, :, 1])
    plane = found[:, :, 0]
    bins_gone = (plane == 0).all(dim=1)
    frames_gone = (plane == 0).all(dim=2)
    # what lies beyond the end goes too, and counts for no mask
    assert frames_gone[1::2, 10:].all()
    frames_gone[1::2, 10:] = False
    for gone in (bins_gone, frames_gone):
        edges = gone.int().diff(dim=1).abs().sum(1) + gone[:, 0] + gone[:, -1]
        assert set(edges.tolist()) == {0, 2}
    assert set(bins_gone.sum(1).tolist()) == {0, 1, 2, 3}
    # 0.04 s are four frames, but ten frames lose no more than a fifth of them
    assert set(frames_gone[0::2].sum(1).tolist()) == {0, 1, 2, 3, 4}
    assert set(frames_gone[1::2].sum(1).tolist()) == {0, 1, 2}


def test_a_mask_wider_than_the_spectrum_is_cut_to_it() -> None:
    augment = Augment(frequency_masks=1, frequency_width=100)
    draws = torch.tensor([[0.0] * 5 + [0.999, 0.5], [0.0] * 5 + [0.5, 0.0]])
    found = mask_features(
        augment, torch.ones(2, 2, 6), torch.tensor([2, 2]), draws, channels=1, hop_seconds=0.01
    )

    assert found[0].tolist() == [[0.0] * 6] * 2
    assert found[1].tolist() == [[0.0, 0, 0, 1, 1, 1]] * 2


def test_two_masks_take_their_own_draws() -> None:
    augment = Augment(frequency_masks=2, frequency_width=4)
    # widths 0.25 x 4 = 1 and 0.5 x 4 = 2, at the start of what is free and at its end
    draws = torch.tensor([[0.0] * 5 + [0.25, 0.0, 0.5, 0.999]])
    found = mask_features(
        augment, torch.ones(1, 1, 8), torch.tensor([1]), draws, channels=1, hop_seconds=0.01
    )

    assert found[0, 0].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]


# Noise


def test_noise_has_the_deviation_asked_for_and_depends_on_no_padding() -> None:
    augment = Augment(noise=0.5)
    lengths = torch.tensor([400, 7])
    long = add_noise(augment, torch.zeros(2, 400, 8), lengths, ["a", "b"], seed=0, epoch=1)
    short = add_noise(augment, torch.zeros(1, 7, 8), lengths[1:], ["b"], seed=0, epoch=1)

    assert abs(float(long[0].std()) - 0.5) < 0.02
    assert abs(float(long[0].mean())) < 0.02
    assert torch.equal(long[1, :7], short[0])
    assert not long[1, 7:].any()
