"""What a sweep had seen of the utterances that its best recipe is tested on."""

from __future__ import annotations

import warnings
from collections.abc import Collection

from orchestrator.experiment import Experiment
from orchestrator.preparation import Prepared
from orchestrator.protocols import make_folds


def seen_by_sweep(
    experiment: Experiment, prepared: Prepared, tested: Collection[str]
) -> int | None:
    """How many of the ``tested`` ids some fold of the sweep trained or validated on.

    In leave-one-out protocols that is all of them: what one fold tests, another trains on. Under
    ``official`` and a ``cross-corpus`` with fixed parts it is none.

    Returns:
        The count, or None where the recipe was not selected by a sweep, or by one on another state
        of the corpus, of which nobody knows.
    """
    selected, corpus = experiment.selected, prepared.corpus
    if selected is None or selected.fingerprints.get(corpus.name) != corpus.fingerprint:
        return None
    seen: set[str] = set()
    protocol = selected.protocols.get(corpus.name, selected.protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in selected.seeds:
            for fold in make_folds(corpus.table, protocol, seed=seed):
                seen.update(fold.train, fold.held, fold.validation)
    return len(seen & set(tested))
