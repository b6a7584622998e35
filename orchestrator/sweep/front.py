"""The trials of a search with several objectives of which none is better in everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


def undominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Places of the points that no other dominates, in their order; of each number less is better.

    One point dominates another if it is at least as good in every number and better in one; so
    equal points stay or go together.
    """
    front: list[int] = []
    # In this order what dominates a point comes before it, and is on the front or dominated by one
    # that is, which then dominates the point too.
    for place in sorted(range(len(points)), key=lambda place: tuple(points[place])):
        if not any(_dominates(points[other], points[place]) for other in front):
            front.append(place)
    return sorted(front)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def front_of(
    trials: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    *,
    scores: Mapping[int, float],
) -> list[FrozenTrial]:
    """The Pareto front of the complete trials among ``trials``, by number.

    Args:
        trials: in any state.
        directions: of the study, one an objective.
        scores: of the complete trials, by number: their first value, which may be another than
            when it was told, where it is relative to other trials.
    """
    complete = sorted(
        (trial for trial in trials if trial.state == TrialState.COMPLETE), key=lambda t: t.number
    )
    points = [
        [
            -value if direction == StudyDirection.MAXIMIZE else value
            for value, direction in zip(
                [scores[trial.number], *trial.values[1:]], directions, strict=True
            )
        ]
        for trial in complete
    ]
    return [complete[place] for place in undominated(points)]
