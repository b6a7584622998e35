"""Tune's way to stop a trial: only a scheduler can, so this one asks the searcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler


class FoldScheduler(FIFOScheduler):
    """Runs trials in the order of their proposal, and stops each when it is told to.

    Args:
        hear: is told a trial's id and what it reports after a fold, and says whether it stops now.
    """

    def __init__(self, hear: Callable[[str, Mapping[str, Any]], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._hear = hear

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """One fold of one trial is done."""
        stops = self._hear(trial.trial_id, result)
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Forget what Tune keeps of the trial's reports, means of every number of them."""
        _forget(trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Likewise."""
        _forget(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its scheduler for a restore that is never done here."""
        return {}


def _forget(trial: Any) -> None:
    kept = trial.run_metadata
    kept.metric_n_steps.clear()
    kept.metric_analysis.clear()
    kept.invalidate_cache()
