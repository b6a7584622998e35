"""How an evaluation's recipe came about, and what that had seen of what is tested."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.evaluate import Selected, Selection
from orchestrator.preparation import Prepared
from orchestrator.protocols import Fold, make_folds

BLIND = ("random", "qmc", "grid")
"""Samplers whose proposals depend on no score."""

_SAID = {
    "fixed": "fixed (the recipe as written)",
    "same-corpus": "same-corpus (the best trial of a sweep on this corpus: its speakers' labels "
    "were seen as validation, so these figures are optimistic)",
}
_UNSEEN = (
    "same-corpus (the best trial of a sweep on this corpus, which neither trained nor validated on "
    "any of the tested utterances)"
)
_BRIEFLY: Mapping[Selection, str] = {
    "per-fold": "each fold has the recipe of the trial that its own validation liked best",
    "nested": "each fold has the recipe of the best trial of a search inside its training",
}


def refuse_other_corpora(experiment: Experiment, fingerprints: Mapping[str, str]) -> None:
    """Raise where folds chose their recipes on another state of a corpus.

    What a fold tests now might have been validation of its choice then.

    Args:
        experiment: to be evaluated.
        fingerprints: of its corpora, by name.

    Raises:
        ExperimentError: names the corpora that differ.
    """
    selected = experiment.selected
    if selected is None or not selected.choices:
        return
    theirs = selected.fingerprints
    changed = [name for name in fingerprints if theirs.get(name) != fingerprints[name]]
    if changed:
        named = ", ".join(
            f"{name!r} (fingerprint {theirs.get(name, 'unknown')} then, {fingerprints[name]} now)"
            for name in changed
        )
        raise ExperimentError(
            f"evaluate.selection is {experiment.evaluate.selection!r}, but the search "
            f"{selected.sweep!r} ran on another state of corpus {named}, so its folds are not "
            "those of the evaluation; undo the change, or search again under a new name"
        )


def selected_briefly(experiment: Experiment) -> str:
    """What the protocol string adds where each fold has a recipe of its own (law 7); else empty."""
    if experiment.selected is None or not experiment.selected.choices:
        return ""
    how = experiment.evaluate.selection
    return f" | selection: {how}, {_BRIEFLY[how]}"


def seen_by_sweep(
    experiment: Experiment, prepared: Prepared, tested: Collection[str]
) -> int | None:
    """How many of the ``tested`` ids the sweep had trained or validated on where it chose a recipe.

    A recipe for all folds was chosen by all folds of the sweep. In leave-one-out protocols these
    have seen everything: what one fold tests, another trains on. Under ``official`` and a
    ``cross-corpus`` with fixed parts it is nothing.

    Returns:
        The count, or None where the recipe was not selected by a sweep, or by one on another state
        of the corpus, of which nobody knows; or where each fold chose its own, of which
        :func:`promised` tells.
    """
    selected, corpus = experiment.selected, prepared.corpus
    if selected is None or selected.choices:
        return None
    if selected.fingerprints.get(corpus.name) != corpus.fingerprint:
        return None
    protocol = selected.protocols.get(corpus.name, selected.protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folds = [
            f for seed in selected.seeds for f in make_folds(corpus.table, protocol, seed=seed)
        ]
    seen = {name for fold in folds for name in _heard(fold)}
    return len(seen & set(tested))


def _heard(fold: Fold) -> set[str]:
    return {*fold.train, *fold.held, *fold.validation}


def promised(selected: Selected | Mapping[str, Any], how: str) -> str:
    """What may be expected of test scores where each fold chose its recipe, as a sentence's part.

    Args:
        selected: of the experiment, or as a result has it.
        how: ``per-fold`` or ``nested``.
    """
    told = selected.model_dump() if isinstance(selected, Selected) else selected
    sweep, sampler, pruner = told["sweep"], told["sampler"], told["pruner"]
    by = f"sampler {sampler}, " + ("no pruning" if pruner == "none" else f"pruner {pruner}")
    if how == "nested":
        return (
            f"nested (each fold takes the best trial of a search of its own, {sweep}, inside its "
            f"training; {by}: nothing of what a fold tests was heard before the end, so these "
            "figures carry no debt)"
        )
    said = (
        f"per-fold (each fold takes the trial of the sweep {sweep} that its own validation liked "
        f"best; {by}"
    )
    debts = []
    if sampler not in BLIND:
        debts.append("proposals had seen other folds' validation")
    if pruner != "none":
        debts.append("trials were stopped by other folds' validation")
    if debts:
        return f"{said}: {' and '.join(debts)}, so some debt is left)"
    return f"{said}: no proposal depended on a score, so these figures carry no debt)"


def selection_told(result: Mapping[str, Any], corpus: str) -> list[str]:
    """How the recipe behind a corpus's scores came about, as lines of the report.

    Args:
        result: of an evaluation, as stored.
        corpus: of the result.
    """
    how, selected = result["selection"], result.get("selected") or {}
    if any(place.startswith(f"{corpus}/") for place in selected.get("choices", {})):
        return [f"selection: {promised(selected, how)}"]
    if result.get("seen_by_sweep", {}).get(corpus) == 0:
        return [f"selection: {_UNSEEN}"]
    return [f"selection: {_SAID.get(how, how)}"]
