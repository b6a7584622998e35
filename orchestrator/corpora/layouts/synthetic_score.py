"""How emotions, speakers and chance act on the score of a synthetic utterance.

Four emotions shift a speaker's habitual prosody. The directions are those of the literature on
vocal emotion (Scherer 2003, "Vocal communication of emotion", table 1: anger and joy raise pitch,
range, energy and rate and flatten the spectrum; sadness does the opposite); the sizes are our own,
chosen so that means over time tell the emotions apart only in part. What tells anger from
happiness is mostly when things happen: anger attacks hard and falls, happiness swells and rises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from orchestrator.corpora.layouts.synthetic_voice import HOP, SAMPLE_RATE, Floats, Score

EMOTIONS: Final = ("anger", "happiness", "neutral", "sadness")


@dataclass(frozen=True)
class Prosody:
    """A way of speaking, as differences from a plain one.

    Attributes:
        pitch: mean pitch, semitones.
        span: pitch range, natural log of a factor.
        tempo: syllable rate, natural log of a factor.
        level: energy, dB.
        tilt: spectral tilt, dB per octave.
        fall: pitch fall from the first to the last syllable, semitones.
        swell: energy of the end against the beginning, dB.
        attack: how abruptly syllables begin, natural log of a factor.
    """

    pitch: float = 0.0
    span: float = 0.0
    tempo: float = 0.0
    level: float = 0.0
    tilt: float = 0.0
    fall: float = 0.0
    swell: float = 0.0
    attack: float = 0.0

    def plus(self, other: Prosody, *, weight: float = 1.0) -> Prosody:
        """Each difference plus ``weight`` times the other's."""
        return Prosody(
            **{
                field.name: getattr(self, field.name) + weight * getattr(other, field.name)
                for field in fields(self)
            }
        )


EFFECTS: Final[dict[str, Prosody]] = {
    "anger": Prosody(
        pitch=2.5, span=0.3, tempo=0.16, level=3.0, tilt=1.8, fall=5.0, swell=-7.0, attack=0.8
    ),
    "happiness": Prosody(
        pitch=3.0, span=0.5, tempo=0.08, level=1.5, tilt=1.0, fall=-4.0, swell=6.0, attack=-0.1
    ),
    "neutral": Prosody(),
    "sadness": Prosody(
        pitch=-1.0, span=-0.5, tempo=-0.22, level=-2.5, tilt=-1.5, fall=1.5, swell=-3.0, attack=-0.7
    ),
}
"""What each emotion adds to a speaker's habits."""

SPEAKER_SPREAD: Final = Prosody(
    pitch=0.0, span=0.15, tempo=0.08, level=2.5, tilt=1.3, fall=0.7, swell=1.0, attack=0.15
)
"""Standard deviation of habits between speakers at difficulty 1; pitch is in ``Voice``."""

UTTERANCE_SPREAD: Final = Prosody(
    pitch=1.2, span=0.2, tempo=0.08, level=2.0, tilt=0.9, fall=1.2, swell=1.5, attack=0.2
)
"""Standard deviation between utterances of one speaker and emotion at difficulty 1."""

# First three formants of German cardinal vowels i e a o u as spoken by men, in Hz (after
# Peterson & Barney 1952 and Sendlmeier & Seebode 2006, rounded); the fourth is the speaker's.
_VOWELS: Final[Floats] = np.array(
    [
        [290.0, 2150.0, 2900.0],
        [400.0, 2050.0, 2600.0],
        [720.0, 1250.0, 2500.0],
        [420.0, 800.0, 2450.0],
        [320.0, 750.0, 2350.0],
    ]
)
_BANDWIDTHS: Final[Floats] = np.array([80.0, 100.0, 140.0, 220.0])
_PITCH_HZ: Final = (112.0, 205.0)
_TRACT: Final = (1.0, 1.16)
_SYLLABLE_SECONDS: Final = 0.185
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.9, 1.8


@dataclass(frozen=True)
class Voice:
    """A speaker: body and habits.

    Attributes:
        pitch: habitual pitch in Hz.
        tract: formant frequencies relative to an average man's.
        breath: aspiration noise relative to the pulses.
        expression: how strongly emotions show, a factor.
        habits: habitual prosody.
    """

    pitch: float
    tract: float
    breath: float
    expression: float
    habits: Prosody


def _scatter(spread: Prosody, draw: np.random.Generator, *, scale: float) -> Prosody:
    """Independent normal differences with standard deviations ``scale * spread``."""
    return Prosody(
        **{
            field.name: scale * getattr(spread, field.name) * float(draw.standard_normal())
            for field in fields(spread)
        }
    )


def draw_voice(woman: bool, draw: np.random.Generator, *, difficulty: float) -> Voice:
    """A speaker. Men and women differ at any difficulty; habits differ in proportion to it."""
    return Voice(
        pitch=_PITCH_HZ[woman] * math.exp(0.11 * difficulty * float(draw.standard_normal())),
        tract=_TRACT[woman] * math.exp(0.045 * difficulty * float(draw.standard_normal())),
        breath=0.1 + 0.15 * float(draw.random()),
        expression=math.exp(0.15 * difficulty * float(draw.standard_normal())),
        habits=_scatter(SPEAKER_SPREAD, draw, scale=difficulty),
    )


def draw_score(
    voice: Voice, emotion: str, draw: np.random.Generator, *, difficulty: float
) -> Score:
    """One utterance: a random text of five to seven syllables said with an emotion.

    Args:
        voice: the speaker.
        emotion: one of ``EMOTIONS``.
        draw: where text and variation come from.
        difficulty: scale of the variation; the text is random even at 0.

    Returns:
        A score of 0.9 to 1.8 s.
    """
    how = voice.habits.plus(EFFECTS[emotion], weight=voice.expression)
    how = how.plus(_scatter(UTTERANCE_SPREAD, draw, scale=difficulty))
    syllables = int(draw.integers(5, 8))
    lengths = (
        _SYLLABLE_SECONDS * math.exp(-how.tempo) * np.exp(0.15 * draw.standard_normal(syllables))
    )
    total = float(np.clip(lengths.sum(), _SHORTEST_SECONDS - 0.1, _LONGEST_SECONDS - 0.1))
    lengths *= total / lengths.sum()

    points = int(round((total + 0.1) * SAMPLE_RATE / HOP)) + 1
    # 50 ms of the room before and after.
    time = np.arange(points) * HOP / SAMPLE_RATE - 0.05
    starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    which = np.clip(np.searchsorted(starts, time, side="right") - 1, 0, syllables - 1)
    inside = np.clip((time - starts[which]) / lengths[which], 0.0, 1.0)
    spoken = (time >= 0.0) & (time <= total)
    place = np.clip(time / total, 0.0, 1.0)

    # Each syllable: a consonant (a share of it, sometimes none), then a vowel.
    onset = np.where(draw.random(syllables) < 0.75, 0.18 + 0.14 * draw.random(syllables), 0.02)[
        which
    ]
    in_vowel = np.clip((inside - onset) / (1.0 - onset), 0.0, 1.0)
    rise = 0.3 * math.exp(-how.attack)
    shape = np.minimum(in_vowel / rise, 1.0) * np.minimum((1.0 - in_vowel) / 0.25, 1.0)
    stress = 1.5 * draw.standard_normal(syllables)
    loudness = how.level + how.swell * (place - 0.5) + stress[which]
    voicing = np.where(spoken, np.clip(shape, 0.0, 1.0), 0.0) * 10.0 ** (loudness / 20.0)
    consonant = spoken & (inside < onset) & (onset > 0.05)
    friction = np.where(consonant, np.sin(np.pi * np.clip(inside / onset, 0.0, 1.0)), 0.0)
    centre = draw.uniform(2200.0, 5500.0, syllables)[which] * voice.tract

    # Pitch: declination, accents on some syllables, and the voice's own level.
    accents = 2.0 * draw.standard_normal(syllables)
    accent = accents[which] * np.sin(np.pi * inside)
    semitones = how.pitch - (2.0 + how.fall) * (place - 0.5) + math.exp(how.span) * accent
    pitch = np.clip(voice.pitch * 2.0 ** (semitones / 12.0), 60.0, 480.0)

    vowels = _VOWELS[draw.integers(0, len(_VOWELS), syllables)]
    middles = starts + 0.6 * lengths
    formants = np.stack(
        [np.interp(time, middles, vowels[:, formant]) for formant in range(3)]
        + [np.full(points, 3500.0)],
        axis=1,
    )
    # Loud syllables are brighter, in every voice.
    tilt = -9.0 + how.tilt + 0.15 * (loudness - how.level)
    recording = difficulty * draw.standard_normal(2)
    return Score(
        pitch=pitch,
        voicing=voicing,
        friction=0.06 * friction * 10.0 ** (loudness / 20.0),
        friction_centre=centre,
        formants=np.minimum(formants * voice.tract, 0.45 * SAMPLE_RATE),
        bandwidths=_BANDWIDTHS,
        tilt=tilt,
        breath=voice.breath,
        jitter=0.01,
        background=0.01 * math.exp(0.5 * float(recording[0])),
        gain=0.15 * 10.0 ** (3.0 * float(recording[1]) / 20.0),
    )
