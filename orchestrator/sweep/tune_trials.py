"""Trials on Tune: warm actors that a searcher keeps busy."""

from __future__ import annotations

import contextlib
import logging
import signal
import tempfile
import threading
from collections.abc import Iterator

from ray import tune

from orchestrator.capacity.slots import Slots, process_asks
from orchestrator.errors import StoreError, UnderstudyError
from orchestrator.sweep.scheduler import FoldScheduler
from orchestrator.sweep.searcher import StudySearcher
from orchestrator.sweep.trial import TrialActor, TrialContext
from orchestrator.tracking.address import redacted


def run_trials(
    context: TrialContext, searcher: StudySearcher, *, trials: int, slots: Slots
) -> None:
    """Run trials in warm actors, as many at once as there are slots.

    Args:
        context: what the trials share.
        searcher: proposes them and is told of them.
        trials: the most that it will propose.
        slots: fold runs at once.

    Raises:
        StoreError: the study could not be written, or the space raised; what it held is kept.
        UnderstudyError: as it was raised in the space or the study.
    """
    searcher.budget.start()
    with _terminated_as_interrupted():
        _fit(context, searcher, trials=trials, slots=slots)
    problem = searcher.problem
    if isinstance(problem, UnderstudyError):
        raise problem
    if problem is not None:
        said = redacted((str(problem).strip() or "no reason was given").splitlines()[0])
        raise StoreError(
            f"the search cannot go on ({type(problem).__name__}: {said}); what its study holds is "
            "kept, and once that is mended the same command goes on from there"
        ) from problem


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, as batch systems and containers send it, ends a sweep as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fit(context: TrialContext, searcher: StudySearcher, *, trials: int, slots: Slots) -> None:
    # its warnings advise Tuner.restore; ours is to run the same command again
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    bundle = process_asks(context.experiment.resources, slots)
    trainable = tune.with_resources(tune.with_parameters(TrialActor, context=context), bundle)
    with tempfile.TemporaryDirectory() as scratch:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=FoldScheduler(searcher.hear),
                num_samples=trials,
                # a custom searcher otherwise gets one pending trial at a time
                max_concurrent_trials=min(slots.at_once, trials),
                reuse_actors=True,
            ),
            # the study and the store are the state; what Tune writes beside them is not kept
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=2),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
            ),
        ).fit()
