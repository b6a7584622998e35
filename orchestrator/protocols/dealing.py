"""Dealing into folds and picking validation by hashes: it looks random and moves little."""

from __future__ import annotations

import itertools
import math
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


def deal_balanced(
    weights: Mapping[str, Mapping[str, int]], count: int, *, salt: Sequence[JSON]
) -> dict[str, int]:
    """Deal names into groups whose sizes differ by at most one, balanced by class.

    Names come in the order of their hashes; each goes to the group, among those not full, where it
    makes the sum of squared class shares smallest. Counts are taken to the nearest half octave, so
    that a row more or less seldom moves anybody.

    Args:
        weights: utterances of each class by name (speaker).
        count: of groups.
        salt: of the hashes.

    Returns:
        The group of each name, 0 .. ``count`` - 1.

    >>> two = {"a": {"joy": 8}, "b": {"joy": 8}, "c": {"fear": 8}, "d": {"fear": 8}}
    >>> place = deal_balanced(two, 2, salt=["fold"])
    >>> place["a"] != place["b"] and place["c"] != place["d"]
    True
    """
    order = ranked(weights, salt=salt)
    classes = sorted({value for counts in weights.values() for value in counts})
    coarse = {
        name: [_half_octave(weights[name].get(value, 0)) for value in classes] for name in order
    }
    totals = [sum(coarse[name][place] for name in order) for place in range(len(classes))]
    base, larger = divmod(len(order), count)
    filled: list[list[float]] = [[0.0] * len(classes) for _ in range(count)]
    sizes = [0] * count
    group: dict[str, int] = {}
    for name in order:

        def cost(place: int, name: str = name) -> tuple[float, str]:
            added = sum(
                ((old + new) ** 2 - old**2) / total**2
                for old, new, total in zip(filled[place], coarse[name], totals, strict=True)
                if total
            )
            return round(added, 9), digest([*salt, name, place])

        # every group gets ``base`` names, and ``larger`` of them one more
        room = [
            place
            for place in range(count)
            if sizes[place] < base or (sizes[place] == base and larger)
        ]
        place = min(room, key=cost)
        larger -= sizes[place] == base
        sizes[place] += 1
        filled[place] = [old + new for old, new in zip(filled[place], coarse[name], strict=True)]
        group[name] = place
    return group


def _half_octave(count: int) -> float:
    return 2.0 ** (round(2.0 * math.log2(count)) / 2.0) if count else 0.0


def choose_validation(
    candidates: Sequence[str],
    count: int,
    *,
    holds: Mapping[str, Collection[str]],
    covers: Mapping[str, Collection[str]] | None = None,
    mixes: Mapping[str, Collection[str]] | None = None,
) -> tuple[str, ...] | None:
    """The first ``count`` of the ranked ``candidates`` that make a good validation set.

    The rest must keep every class that the candidates hold. Among such sets, in the order of the
    candidates, the first is taken that covers every class and mixes what can be mixed (genders);
    where none of the first 20 000 does, the first of those that cover most, and of these the one
    that mixes most.

    Args:
        candidates: speakers or sessions, ranked.
        count: of them, less than all.
        holds: the classes of each that training may hear.
        covers: the classes of each that validation would hear; default: ``holds``.
        mixes: the genders of each; default: unknown.

    Returns:
        The chosen, or None where every set of ``count`` takes a class away from the rest.

    >>> holds = {"x": "ab", "y": "a", "z": "ab"}
    >>> choose_validation(["y", "x", "z"], 1, holds=holds)
    ('x',)
    """
    holders = _holders(candidates, holds)
    parts = (covers or holds, mixes or {})
    everything = [_united(candidates, part) for part in parts]
    most = (len(everything[0]), len(everything[1]))
    best: tuple[tuple[int, int], tuple[str, ...]] | None = None
    for chosen in itertools.islice(_keeping(candidates, count, holders), _TRIED):
        reached = (len(_united(chosen, parts[0])), len(_united(chosen, parts[1])))
        if best is None or reached > best[0]:
            best = reached, chosen
        if reached == most:
            break
    return None if best is None else best[1]


def _united(names: Iterable[str], values: Mapping[str, Collection[str]]) -> set[str]:
    return {value for name in names for value in values.get(name, ())}


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
