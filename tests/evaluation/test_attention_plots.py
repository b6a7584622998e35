"""Attention maps drawn under the sound: where, on which axes, in which colours."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from orchestrator.evaluation.attention_plots import DPI, _figure, _ticks, draw_attention

FRAMES, BINS, HOP = 200, 4, 0.01
SECONDS = 2.0


def _log_mel(frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(frames, BINS))


def _map(tokens: int, seed: int = 1) -> np.ndarray:
    weights = np.random.default_rng(seed).random((tokens, tokens))
    return weights / weights.sum(axis=1, keepdims=True)


def _panels(figure: Any) -> tuple[list[Any], list[Any], Any]:
    """The log-Mel panels, the maps under them, and the colour scale."""
    *panels, scale = figure.axes
    return panels[::2], panels[1::2], scale


def _drawn(**changed: Any) -> Any:
    asked: dict[str, Any] = {
        "log_mel": _log_mel(),
        "hop_seconds": HOP,
        "maps": {"source": _map(50), "student before": _map(25), "student after": _map(25, 2)},
        "title": "an utterance",
    }
    return _figure(**(asked | changed))


def test_a_picture_is_a_png_of_three_columns_that_fits_a_screen() -> None:
    maps = {"source": _map(50), "before": _map(25), "after": _map(25)}
    asked: dict[str, Any] = {"log_mel": _log_mel(), "hop_seconds": HOP, "maps": maps, "title": "t"}

    data = draw_attention(**asked)

    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert 1200 < width < 1600
    assert 600 < height < 900
    figure = _figure(**asked)
    assert (width, height) == tuple(int(inches * DPI) for inches in figure.get_size_inches())
    assert draw_attention(**asked) == data


def test_a_map_goes_under_the_sound_in_the_order_given_with_its_name() -> None:
    sounds, maps, scale = _panels(_drawn())

    assert [panel.get_title() for panel in maps] == ["source", "student before", "student after"]
    assert len(sounds) == 3
    for sound, below in zip(sounds, maps, strict=True):
        above, under = sound.get_position(), below.get_position()
        assert (above.x0, above.x1) == (under.x0, under.x1)
        assert above.y0 > under.y1
    lefts = [panel.get_position().x0 for panel in maps]
    assert lefts == sorted(lefts)
    assert scale.get_position().x0 > maps[-1].get_position().x1


def test_maps_are_square() -> None:
    figure = _drawn()
    width, height = figure.get_size_inches()
    for panel in _panels(figure)[1]:
        box = panel.get_position()
        assert box.width * width == pytest.approx(box.height * height)


def test_axes_are_in_seconds_of_the_utterance_and_who_listens_runs_downwards() -> None:
    sounds, maps, _ = _panels(_drawn())
    for sound, below in zip(sounds, maps, strict=True):
        assert sound.get_xlim() == below.get_xlim() == pytest.approx((0.0, SECONDS))
        assert sound.get_ylim() == (0.0, BINS)
        assert below.get_ylim() == pytest.approx((SECONDS, 0.0))
        assert below.get_xlabel() == "time listened to (s)"
    assert maps[0].get_ylabel() == "time of the listener (s)"


def test_a_row_of_the_map_is_a_row_of_the_picture_from_the_top() -> None:
    listening = np.array([[0.0, 1.0], [0.25, 0.75]])
    _, (panel,), _ = _panels(_drawn(maps={"two tokens": listening}))
    (image,) = panel.get_images()

    assert image.origin == "upper"
    assert image.get_extent() == pytest.approx((0.0, SECONDS, SECONDS, 0.0))
    # twice the shares: with two tokens, a half is what each would get of evenly spread attention
    np.testing.assert_allclose(image.get_array(), [[0.0, 2.0], [0.5, 1.5]])


def test_the_lowest_mel_band_is_at_the_bottom_and_time_runs_to_the_right() -> None:
    log_mel = _log_mel()
    (sound, *_), _, _ = _panels(_drawn(log_mel=log_mel))
    (image,) = sound.get_images()

    assert image.origin == "lower"
    assert image.get_extent() == pytest.approx((0.0, SECONDS, 0.0, BINS))
    np.testing.assert_array_equal(image.get_array(), log_mel.T)


def test_even_attention_has_one_colour_at_every_frame_rate() -> None:
    even = {f"{tokens} tokens": np.full((tokens, tokens), 1 / tokens) for tokens in (1, 10, 200)}
    _, maps, _ = _panels(_drawn(maps=even))

    colours = [panel.get_images()[0].to_rgba(panel.get_images()[0].get_array()) for panel in maps]

    for colour in colours:
        np.testing.assert_allclose(colour, np.broadcast_to(colours[0][0, 0], colour.shape))
    assert {panel.get_images()[0].norm.vmax for panel in maps} == {2.0}


def test_one_spike_does_not_set_the_colours_of_all_maps() -> None:
    spiked = np.full((50, 50), 1 / 50)
    spiked[7] = np.eye(50)[7]
    sharp = 0.5 * np.eye(50) + 0.5 / 50
    _, maps, scale = _panels(_drawn(maps={"spiked": spiked, "sharp": sharp}))
    ends = {panel.get_images()[0].norm.vmax for panel in maps}

    # on the diagonal of the sharp map, 25.5 times what even attention would be; the spike is 50
    assert ends == {25.5}
    assert scale.get_ylim() == (0.0, 25.5)
    assert list(scale.get_yticks()) == [0.0, 1.0, 2.0, 5.0, 10.0, 20.0]


@pytest.mark.parametrize(
    ("brightest", "ticks"),
    [(2.0, [0, 1, 2]), (9.9, [0, 1, 2, 5]), (10.0, [0, 1, 2, 5, 10]), (400.0, [0, 2, 10, 20, 50])],
)
def test_ticks_stand_apart(brightest: float, ticks: list[float]) -> None:
    found = _ticks(brightest)

    assert found[: len(ticks)] == ticks
    places = np.sqrt(np.array(found) / brightest)
    assert places[-1] <= 1
    assert np.diff(places).min() > 0.06


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_maps_has_a_column_each(count: int) -> None:
    maps = {f"layer {place}": _map(10 * (place + 1)) for place in range(count)}
    figure = _drawn(maps=maps)
    sounds, panels, _ = _panels(figure)

    assert len(sounds) == len(panels) == count
    shapes = [panel.get_images()[0].get_array().shape[0] for panel in panels]
    assert shapes == [10 * (place + 1) for place in range(count)]
    assert all(0 <= panel.get_position().x0 < panel.get_position().x1 < 1 for panel in panels)


def test_one_frame_and_one_token_are_drawn() -> None:
    data = draw_attention(
        log_mel=np.zeros((1, 1)), hop_seconds=HOP, maps={"one": np.ones((1, 1))}, title=""
    )

    assert data[:4] == b"\x89PNG"


def test_long_names_are_broken_and_never_overlap_what_is_above_them() -> None:
    name = "a student with a very long name that goes on and on, and on, and on"
    figure = _drawn(maps={name: _map(5)}, title="an utterance whose name goes on and on " * 4)
    figure.canvas.draw()
    (sound,), (panel,), _ = _panels(figure)

    assert "\n" in panel.get_title()
    assert panel.title.get_window_extent().y1 < sound.get_window_extent().y0
    title = figure._suptitle.get_window_extent()
    assert title.y0 > sound.get_window_extent().y1
    assert 0 <= title.x0 < title.x1 <= figure.bbox.x1


def test_signs_of_formulas_in_names_are_shown_as_they_are() -> None:
    name = "$10^{$ a_b"
    figure = _drawn(maps={name: _map(5)}, title=name)
    figure.canvas.draw()

    assert _panels(figure)[1][0].get_title() == name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"log_mel": np.zeros((0, 4))}, r"log_mel has to be \(frames, bins\).*\(0, 4\)"),
        ({"log_mel": np.zeros((4, 0))}, r"log_mel has to be .* not empty"),
        ({"log_mel": np.zeros(4)}, r"log_mel has to be .*\(4,\)"),
        ({"log_mel": np.array([[0.0, np.nan]])}, "log_mel holds values that are not finite"),
        ({"log_mel": np.array([[0.0, -np.inf]])}, "log_mel holds values that are not finite"),
        ({"hop_seconds": 0.0}, "hop_seconds has to be a positive number, not 0.0"),
        ({"hop_seconds": np.nan}, "hop_seconds has to be a positive number"),
        ({"maps": {}}, "no attention map to draw"),
        ({"maps": {"good": np.ones((1, 1)), "bad": np.zeros((0, 0))}}, "map 'bad' has to be"),
        ({"maps": {"bad": np.ones((2, 3)) / 3}}, r"map 'bad' has to be \(tokens, tokens\).*2, 3"),
        ({"maps": {"bad": np.ones((1, 2, 2)) / 2}}, "map 'bad' has to be"),
        ({"maps": {"bad": np.full((2, 2), np.nan)}}, "map 'bad' holds values that are negative"),
        ({"maps": {"bad": np.array([[1.5, -0.5], [0.5, 0.5]])}}, "map 'bad' holds values"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _drawn(**changed)
