"""What a sweep had seen of the utterances that its best recipe is tested on."""

from __future__ import annotations

import warnings
from collections.abc import Collection

from orchestrator.experiment import Experiment
from orchestrator.preparation import Prepared
from orchestrator.protocols import make_folds


def validated_on(experiment: Experiment, prepared: Prepared, tested: Collection[str]) -> int | None:
    """How many of the ``tested`` ids are validation in some fold of the experiment's sweep.

    In leave-one-out protocols that is most of them, with several seeds all: one fold's validation
    speakers are tested in another. Under ``official`` and a ``cross-corpus`` with fixed parts it is none.

    Returns:
        The count, or None where the recipe was not selected by a sweep.
    """
    if experiment.evaluate.selection != "same-corpus" or experiment.search is None:
        return None
    protocol = experiment.search.protocol or experiment.protocol
    seen: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in experiment.search.seeds:
            for fold in make_folds(prepared.corpus.table, protocol, seed=seed):
                seen |= set(fold.validation)
    return len(seen & set(tested))
