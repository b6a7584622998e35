"""``search.max_hours``: the hours that a search has taken, over all sittings."""

from __future__ import annotations

import time
from collections.abc import Iterable

import optuna

SECONDS = "seconds_used"
"""User attribute of a study: wall time in which its trials ran, so far."""


class Budget:
    """A clock that goes on where the last sitting left it, once it is started.

    Args:
        max_hours: after which no trial begins; None: never.
        studies: of the searches that share it.
    """

    def __init__(self, max_hours: float | None, studies: Iterable[optuna.Study]) -> None:
        self._most = None if max_hours is None else 3600.0 * max_hours
        self._earlier = sum(seconds_used(study) for study in studies)
        self._began: float | None = None
        self._noted = 0.0

    def start(self) -> None:
        """Trials begin now."""
        self._began = self._noted = time.monotonic()

    @property
    def seconds(self) -> float:
        """Used so far."""
        return self._earlier + (0.0 if self._began is None else time.monotonic() - self._began)

    @property
    def spent(self) -> bool:
        """Whether no further trial may begin."""
        return self._most is not None and self.seconds >= self._most

    def note(self, study: optuna.Study) -> None:
        """Write what has passed since the start, or the last note, into a study."""
        now = time.monotonic()
        study.set_user_attr(SECONDS, seconds_used(study) + now - self._noted)
        self._noted = now


def seconds_used(study: optuna.Study) -> float:
    """Wall time in which a study's trials ran, so far, in seconds."""
    return float(study.user_attrs.get(SECONDS, 0.0))
