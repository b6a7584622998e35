"""How hard utterances are to a network, and the easiest of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cross_entropies(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Cross-entropy of each utterance's label: 0 the easiest.

    Args:
        logits: (utterances, classes), unnormalised.
        labels: (utterances,) int.

    Returns:
        (utterances,) in nats.
    """
    exact = np.asarray(logits, dtype=np.float64)
    below = exact - exact.max(axis=1, keepdims=True)
    of_label = np.take_along_axis(below, labels[:, None], axis=1)[:, 0]
    costs: NDArray[np.float64] = np.log(np.exp(below).sum(axis=1)) - of_label
    return costs


def true_class_probabilities(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Probability of each utterance's label: 1 the easiest.

    Their order is that of the cross-entropies, reversed, but that a network so certain that
    rounding makes it 1 or 0 gives ties.

    Args:
        logits: (utterances, classes), unnormalised.
        labels: (utterances,) int.

    Returns:
        (utterances,) from 0 to 1.
    """
    return np.exp(-cross_entropies(logits, labels))


def easiest(
    difficulty: NDArray[Any], labels: NDArray[Any], *, share: float, balanced: bool
) -> NDArray[np.int64]:
    """Rows of the easiest utterances.

    Balanced, they are the ``ceil(share * n)`` easiest of each class, n its utterances: every class
    keeps at least one, and its number lies less than one utterance from its share. Otherwise they
    are the ``ceil(share * n)`` easiest of all, of whatever class. A larger share holds all rows of
    a smaller one. Of equally hard rows the first come first.

    Args:
        difficulty: (utterances,), the lowest the easiest.
        labels: (utterances,) of any kind; read only where balanced.
        share: above 0, at most 1.
        balanced: take the share of every class.

    Returns:
        Row indices, ascending.

    Raises:
        ValueError: there are no rows, labels are more or fewer than they, a difficulty is NaN or
            infinite, or ``share`` is out of range.

    >>> hard, label = np.array([4.0, 1.0, 3.0, 2.0]), np.array([0, 1, 0, 1])
    >>> easiest(hard, label, share=0.5, balanced=True).tolist()
    [1, 2]
    >>> easiest(hard, label, share=0.5, balanced=False).tolist()
    [1, 3]
    """
    if len(difficulty) == 0:
        raise ValueError("difficulty is empty; give at least one utterance")
    if len(labels) != len(difficulty):
        raise ValueError(f"{len(labels)} labels for {len(difficulty)} difficulties; give one each")
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share is {share}; it must be above 0 and at most 1")
    unknown = np.flatnonzero(~np.isfinite(difficulty))
    if len(unknown):
        row = int(unknown[0])
        raise ValueError(
            f"difficulty of row {row} is {difficulty[row]}, so it has no place in the order; "
            "give every row a finite one"
        )
    groups = (
        [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if balanced
        else [np.arange(len(difficulty))]
    )
    return np.sort(np.concatenate([_first(rows, difficulty, share) for rows in groups]))


def _first(rows: NDArray[np.int64], difficulty: NDArray[Any], share: float) -> NDArray[np.int64]:
    order = np.argsort(difficulty[rows], kind="stable")
    # less a little, since 0.1 * 30 is above 3 in floating point
    count = max(math.ceil(share * len(rows) - 1e-6), 1)
    return rows[order[:count]]
