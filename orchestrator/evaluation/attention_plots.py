"""What an utterance's networks listen to: their attention maps under the sound itself."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120

# Inches. Laid out by hand: the maps stay square, and each lies exactly under its log-Mel panel.
_SIDE, _SOUND, _BETWEEN = 3.2, 1.1, 0.3
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.8, 1.15, 0.6, 0.2
_LINE = 0.2
_TICK_ROOM = 0.06  # of the scale's length
_NAME_LETTERS = 40
_TITLE_LETTERS_AN_INCH = 10

_BRIGHTEST = 0.995
"""Quantile of a map's values that the colours end at: a single spike would darken all the rest."""
_LEAST_BRIGHT = 2.0
"""The colours never end lower, so that attention spread evenly is no bright picture."""


def draw_attention(
    *,
    log_mel: NDArray[Any],
    hop_seconds: float,
    maps: Mapping[str, NDArray[Any]],
    title: str,
) -> bytes:
    """Attention maps side by side, in order, each under the log-Mel spectrogram of the utterance.

    Every column reads downwards against the sound: a bright vertical stripe is a moment that
    everything listens to. All maps share one colour scale, in which 1 is attention spread evenly
    over the utterance, so that networks of different frame rates can be compared.

    Args:
        log_mel: ``(frames, bins)``, the lowest band first.
        hop_seconds: Seconds from frame to frame.
        maps: By what the network is called, ``(tokens, tokens)``, averaged over heads: row = the
            token that listens, column = what it listens to, each row shares that sum to one. The
            tokens divide the utterance evenly; maps may differ in how many they have.
        title: What the picture is of, such as the utterance and its emotion.

    Returns:
        A PNG file; the same bytes for the same input.

    Raises:
        ValueError: If there is nothing to draw, or a value is negative or not finite.
    """
    figure = _figure(log_mel=log_mel, hop_seconds=hop_seconds, maps=maps, title=title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _figure(
    *,
    log_mel: NDArray[Any],
    hop_seconds: float,
    maps: Mapping[str, NDArray[Any]],
    title: str,
) -> Figure:
    """The picture before it is encoded: log-Mel and map of each column in turn, then the scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    _check(log_mel, hop_seconds, maps)
    seconds = len(log_mel) * hop_seconds
    # a row's mean is 1, whatever the number of tokens that its attention is shared among
    weights = {name: np.asarray(map_, dtype=float) * len(map_) for name, map_ in maps.items()}
    brightest = max(
        _LEAST_BRIGHT, *(float(np.quantile(map_, _BRIGHTEST)) for map_ in weights.values())
    )
    # the square root keeps what is spread widely visible beside what is sharp
    norm = PowerNorm(0.5, vmin=0.0, vmax=brightest)

    names = [textwrap.fill(name, _NAME_LETTERS) for name in maps]
    drawn = len(maps) * (_SIDE + _BETWEEN) - _BETWEEN
    width = _LEFT + drawn + _RIGHT
    title = textwrap.fill(title, int(drawn * _TITLE_LETTERS_AN_INCH))
    head = _TOP + _LINE * (1.2 * title.count("\n") + 1.6)
    gap = _LINE * (max(name.count("\n") for name in names) + 1) + 0.2
    height = _BOTTOM + _SIDE + gap + _SOUND + head

    # A figure of our own, not pyplot's: no global state, and no display is asked for.
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.suptitle(
        title,
        x=(_LEFT + drawn / 2) / width,
        y=1 - _TOP / height,
        va="top",
        fontsize=12,
        parse_math=False,
    )

    def panel(left: float, bottom: float, wide: float, high: float) -> Any:
        return figure.add_axes((left / width, bottom / height, wide / width, high / height))

    image: Any = None
    for place, (name, values) in enumerate(zip(names, weights.values(), strict=True)):
        left = _LEFT + place * (_SIDE + _BETWEEN)
        sound = panel(left, _BOTTOM + _SIDE + gap, _SIDE, _SOUND)
        _draw_sound(sound, log_mel, seconds)
        below = panel(left, _BOTTOM, _SIDE, _SIDE)
        image = _draw_map(below, values, seconds, norm)
        below.set_title(name, fontsize=10, parse_math=False)
        if place == 0:
            sound.set_ylabel("Mel band")
            below.set_ylabel("time of the listener (s)")
        else:
            sound.tick_params(labelleft=False)
            below.tick_params(labelleft=False)
    scale = panel(width - _RIGHT + 0.15, _BOTTOM, 0.14, _SIDE)
    figure.colorbar(
        image,
        cax=scale,
        ticks=_ticks(brightest),
        format="%g",
        extend="max" if max(map_.max() for map_ in weights.values()) > brightest else "neither",
        label="attention (1 = spread evenly)",
    )
    return figure


def _ticks(brightest: float) -> list[float]:
    """1, 2, 5, 10 and so on, as many as find room on a scale that is a square root."""
    ticks = [0.0]
    for power in range(int(np.log10(brightest)) + 1):
        for digit in (1, 2, 5):
            tick = float(digit * 10**power)
            if tick <= brightest and (tick**0.5 - ticks[-1] ** 0.5) / brightest**0.5 > _TICK_ROOM:
                ticks.append(tick)
    return ticks


def _draw_sound(panel: Any, log_mel: NDArray[Any], seconds: float) -> None:
    low, high = np.quantile(log_mel, [0.02, 0.995])
    panel.imshow(
        np.asarray(log_mel, dtype=float).T,
        origin="lower",
        aspect="auto",
        extent=(0.0, seconds, 0.0, log_mel.shape[1]),
        cmap="gray_r",
        vmin=low,
        vmax=high,
    )
    panel.tick_params(labelbottom=False)


def _draw_map(panel: Any, values: NDArray[Any], seconds: float, norm: Any) -> Any:
    """Time runs to the right for what is listened to, and downwards for who listens."""
    image = panel.imshow(
        values,
        aspect="auto",
        extent=(0.0, seconds, seconds, 0.0),
        cmap="magma",
        norm=norm,
    )
    panel.set_xlabel("time listened to (s)")
    return image


def _check(log_mel: NDArray[Any], hop_seconds: float, maps: Mapping[str, NDArray[Any]]) -> None:
    if log_mel.ndim != 2 or log_mel.size == 0:
        raise ValueError(f"log_mel has to be (frames, bins) and not empty, not {log_mel.shape}")
    if not np.isfinite(log_mel).all():
        raise ValueError("log_mel holds values that are not finite; draw real frames only")
    if not (np.isfinite(hop_seconds) and hop_seconds > 0):
        raise ValueError(f"hop_seconds has to be a positive number, not {hop_seconds}")
    if not maps:
        raise ValueError("there is no attention map to draw; give at least one")
    for name, map_ in maps.items():
        if map_.ndim != 2 or map_.size == 0 or map_.shape[0] != map_.shape[1]:
            raise ValueError(
                f"map {name!r} has to be (tokens, tokens) and not empty, not {map_.shape}"
            )
        if not np.isfinite(map_).all() or map_.min() < 0:
            raise ValueError(
                f"map {name!r} holds values that are negative or not finite; its rows have to be "
                "shares of attention, padding cut off"
            )
