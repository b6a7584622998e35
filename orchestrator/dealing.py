"""Dealing into folds and picking validation by hashes: it looks random and moves little."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from orchestrator.canonical import JSON, digest

_TRIED = 20_000
"""Validation sets weighed at most, which is more than every pair of 200 speakers."""


def ranked(names: Iterable[str], *, salt: Sequence[JSON]) -> list[str]:
    """``names`` in the order of a hash of (salt, name), so that a new name moves no two others."""
    return sorted(names, key=lambda name: digest([*salt, name]))


def deal(names: Collection[str], count: int, *, salt: Sequence[JSON]) -> dict[str, int]:
    """Deal names into groups 0 .. ``count`` - 1 whose sizes differ by at most one.

    Pairs of (name, group) are taken in the order of their hashes, each where the name is not dealt
    and the group not full. So a new name pushes out few others, where dealing round in one order
    would move half of them.

    >>> sorted(deal(["a", "b", "c"], 2, salt=["fold"]).values()) in ([0, 0, 1], [0, 1, 1])
    True
    """
    base, larger = divmod(len(names), count)
    sizes = [0] * count
    group: dict[str, int] = {}
    pairs = itertools.product(names, range(count))
    for name, place in sorted(pairs, key=lambda pair: digest([*salt, *pair])):
        if name in group or sizes[place] > base or (sizes[place] == base and not larger):
            continue
        larger -= sizes[place] == base
        sizes[place] += 1
        group[name] = place
    return group


def choose_validation(
    candidates: Sequence[str], count: int, *, holds: Mapping[str, Collection[str]]
) -> tuple[str, ...] | None:
    """The first ``count`` of the ranked ``candidates`` that make a good validation set.

    The rest must keep every class that the candidates have. Among such sets, in the order of the
    candidates, the first that has all those classes is taken; where none of the first 20 000 has,
    the first of those that have most.

    Args:
        candidates: speakers or sessions, ranked.
        count: of them, less than all.
        holds: the classes of each.

    Returns:
        The chosen, or None where every set of ``count`` takes a class away from the rest.

    >>> holds = {"x": "ab", "y": "a", "z": "ab"}
    >>> choose_validation(["y", "x", "z"], 1, holds=holds)
    ('x',)
    """
    holders = _holders(candidates, holds)
    best: tuple[int, tuple[str, ...]] | None = None
    for chosen in itertools.islice(_keeping(candidates, count, holders), _TRIED):
        covered = len(set[str]().union(*(holds[name] for name in chosen)))
        if best is None or covered > best[0]:
            best = covered, chosen
        if covered == len(holders):
            break
    return None if best is None else best[1]


def _holders(
    candidates: Sequence[str], holds: Mapping[str, Collection[str]]
) -> dict[str, frozenset[str]]:
    classes = {value for name in candidates for value in holds[name]}
    return {c: frozenset(name for name in candidates if c in holds[name]) for c in classes}


def _keeping(
    candidates: Sequence[str],
    count: int,
    holders: Mapping[str, frozenset[str]],
    chosen: tuple[str, ...] = (),
) -> Iterator[tuple[str, ...]]:
    """Combinations in order that never hold all the holders of a class, pruned as they grow."""
    if any(held <= set(chosen) for held in holders.values()):
        return
    if len(chosen) == count:
        yield chosen
        return
    for place in range(len(candidates) - (count - len(chosen)) + 1):
        further = (*chosen, candidates[place])
        yield from _keeping(candidates[place + 1 :], count, holders, further)
