"""Log-Mel frames: the numbers by an independent implementation, and the same bits in any order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.errors import ExperimentError
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.log_mel import LOG_FLOOR, LogMel, _regress, log_mel
from orchestrator.store import STAGE_VERSIONS

SECTION = LogMelFeatures(bins=16)


def by_hand(wave: NDArray[np.float32], section: LogMelFeatures, *, fft: int) -> NDArray[np.float64]:
    """Log-Mel in plain numpy, frame by frame, after the definition."""
    rate = section.sample_rate
    window, hop = round(section.window_seconds * rate), round(section.hop_seconds * rate)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    top = section.highest_hz or rate / 2

    def mel(hz: float) -> float:
        return 2595.0 * np.log10(1.0 + hz / 700.0)

    edges = np.linspace(mel(section.lowest_hz), mel(top), section.bins + 2)
    corners = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    hz = np.arange(fft // 2 + 1) * rate / fft
    rising = (hz - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - hz) / (corners[2:] - corners[1:-1])[:, None]
    triangles = np.clip(np.minimum(rising, falling), 0.0, None)
    padded = np.pad(wave.astype(np.float64), fft)
    frames = []
    for centre in range(0, len(wave) + 1, hop):
        start = fft + centre - window // 2
        power = np.abs(np.fft.rfft(padded[start : start + window] * hann, fft)) ** 2
        frames.append(np.log(np.maximum(triangles @ power, 1e-6)))
    return np.stack(frames)


@pytest.mark.parametrize(
    ("section", "fft"),
    [
        (LogMelFeatures(), 512),
        (LogMelFeatures(bins=40, sample_rate=8000, lowest_hz=0.0, highest_hz=3800.0), 256),
        (LogMelFeatures(bins=24, window_seconds=0.032, hop_seconds=0.016), 512),
        # narrow triangles need a longer transform than the window
        (LogMelFeatures(bins=128), 1024),
    ],
)
def test_log_mel_against_plain_numpy(section: LogMelFeatures, fft: int) -> None:
    wave = np.random.default_rng(0).standard_normal(5000).astype(np.float32) * 0.1

    np.testing.assert_allclose(log_mel(wave, section), by_hand(wave, section, fft=fft), atol=2e-3)


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (159, 1), (160, 2), (161, 2), (16000, 101)]
)
def test_every_length_of_audio_has_its_frames(samples: int, frames: int) -> None:
    found = log_mel(np.full(samples, 0.1, dtype=np.float32), SECTION)

    assert found.shape == (frames, 16)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_silence_lies_on_the_floor() -> None:
    found = log_mel(np.zeros(1600, dtype=np.float32), SECTION)

    assert np.allclose(found, np.log(LOG_FLOOR))


def test_deltas_of_a_ramp_by_hand() -> None:
    """``sum n (m[t+n] - m[t-n]) / (2 sum n^2)``, n = 1, 2, the ends going on for ever."""
    ramp = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    delta, second = torch.empty_like(ramp), torch.empty_like(ramp)

    _regress(ramp, delta)
    _regress(delta, second)

    # at the first frame (1 (1 - 0) + 2 (2 - 0)) / 10, at the second (1 (2 - 0) + 2 (3 - 0)) / 10
    assert delta[:, 0].tolist() == pytest.approx([0.5, 0.8, 1.0, 1.0, 0.8, 0.5])
    # (0.3 + 2 * 0.5) / 10, (0.5 + 2 * 0.5) / 10, (0.2 + 2 * 0.3) / 10 ... and back
    assert second[:, 0].tolist() == pytest.approx([0.13, 0.15, 0.08, -0.08, -0.15, -0.13])


def test_deltas_are_regressions_over_five_frames() -> None:
    wave = np.random.default_rng(1).standard_normal(3000).astype(np.float32)
    found = log_mel(wave, SECTION.model_copy(update={"deltas": 2}))
    static, delta, second = found[:, :16], found[:, 16:32], found[:, 32:]

    def regression(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        edged = np.pad(plane, ((2, 2), (0, 0)), mode="edge")
        one, two = edged[3:-1] - edged[1:-3], edged[4:] - edged[:-4]
        return (one + 2 * two) / 10

    assert found.shape == (19, 48)
    np.testing.assert_array_equal(static, log_mel(wave, SECTION))
    np.testing.assert_allclose(delta, regression(static), atol=1e-5)
    np.testing.assert_allclose(second, regression(delta), atol=1e-5)


def test_more_bins_than_frequencies_are_refused() -> None:
    section = LogMelFeatures(bins=256, lowest_hz=100.0, highest_hz=101.0)
    with pytest.raises(ExperimentError, match=r"features\.bins 256.*use fewer bins"):
        log_mel(np.zeros(100, dtype=np.float32), section)


def test_golden_numbers_of_this_stage_version() -> None:
    """When these change, raise ``STAGE_VERSIONS["features"]`` and put the new ones here."""
    time = np.arange(8000) / 16000
    wave = (0.5 * np.sin(2 * np.pi * 200 * time * (1 + time))).astype(np.float32)
    found = log_mel(wave, LogMelFeatures(bins=8, deltas=1))

    assert STAGE_VERSIONS["features"] == 1
    np.testing.assert_allclose(
        found[25, [0, 1, 7, 8]], [8.2946, 6.6815, -13.8155, -0.0158], atol=2e-3
    )


# The same bits (law 5)


@pytest.mark.parametrize(
    "section",
    [
        LogMelFeatures(),
        LogMelFeatures(bins=40, deltas=2),
        # an odd window, and bins that fill no band
        LogMelFeatures(bins=21, window_seconds=0.0251, hop_seconds=0.0037),
    ],
)
def test_what_was_asked_before_changes_no_bit(section: LogMelFeatures) -> None:
    draw = np.random.default_rng(2)
    lengths = [1, 399, 400, 81_760, 81_920, *draw.integers(1, 100_000, size=15)]
    waves = [draw.standard_normal(length).astype(np.float32) for length in lengths]
    expected = [log_mel(wave, section) for wave in waves]
    same = LogMel(section)

    for _ in range(3):
        for place in draw.permutation(len(waves)):
            np.testing.assert_array_equal(same(waves[place]), expected[place])


def test_frames_once_given_are_not_overwritten() -> None:
    wave = np.random.default_rng(3).standard_normal(3000).astype(np.float32)
    same = LogMel(SECTION)
    first = same(wave)
    kept = first.copy()
    same(np.zeros(3000, dtype=np.float32))

    np.testing.assert_array_equal(first, kept)


def test_the_joints_of_blocks_do_not_show() -> None:
    """Long utterances are transformed in blocks of 512 frames; each fits the definition."""
    wave = np.random.default_rng(4).standard_normal(160 * 1100).astype(np.float32) * 0.1
    found = log_mel(wave, LogMelFeatures())

    assert len(found) == 1101
    np.testing.assert_allclose(found, by_hand(wave, LogMelFeatures(), fft=512), atol=2e-3)


def test_a_strided_waveform_is_no_matter() -> None:
    wave = np.random.default_rng(5).standard_normal(4000).astype(np.float32)

    np.testing.assert_array_equal(log_mel(wave[::2], SECTION), log_mel(wave[::2].copy(), SECTION))


def test_a_frame_left_over_by_itself_has_the_same_bits() -> None:
    """The last block of a shard may hold a single row, which a product treats in its own way."""
    draw = np.random.default_rng(5)
    log_mel_of = LogMel(LogMelFeatures(bins=40))
    hop, block = 160, log_mel_of._block
    audio = draw.standard_normal(40 * hop).astype(np.float32)
    alone = log_mel_of(audio)
    before = draw.standard_normal((block - len(alone)) * hop).astype(np.float32)

    together = np.concatenate(list(log_mel_of.static([before, audio])))

    assert len(together) == block + 1
    np.testing.assert_array_equal(together[-len(alone) :], alone)
