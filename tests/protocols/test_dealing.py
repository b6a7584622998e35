"""Dealing and choosing by hashes: even, covering, and moved little by a new name."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocols.dealing import choose_validation, deal, ranked

names = st.lists(st.text("abcdef", min_size=1, max_size=3), unique=True, min_size=1, max_size=30)


@given(names, st.integers(1, 7), st.integers())
def test_groups_differ_in_size_by_at_most_one(names: list[str], count: int, seed: int) -> None:
    group = deal(names, count, salt=[seed])
    sizes = Counter(dict.fromkeys(range(count), 0))
    sizes.update(group.values())

    assert set(group) == set(names)
    assert max(sizes.values()) - min(sizes.values()) <= 1


@given(names, st.integers(1, 7), st.randoms())
def test_the_order_of_names_means_nothing(names: list[str], count: int, random: object) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert deal(shuffled, count, salt=["x"]) == deal(names, count, salt=["x"])
    assert ranked(shuffled, salt=["x"]) == ranked(names, salt=["x"])


def test_a_new_name_moves_few_others() -> None:
    names = [f"speaker {place}" for place in range(40)]
    moved = []
    for seed in range(20):
        before = deal(names, 5, salt=[seed])
        after = deal([*names, "new"], 5, salt=[seed])
        moved.append(sum(before[name] != after[name] for name in names))

    # dealing round in one order would move four fifths of those behind the new one, 16 on average
    assert sum(moved) / len(moved) < 4


def test_a_new_name_does_not_reorder_others() -> None:
    names = [f"speaker {place}" for place in range(20)]
    with_new = ranked([*names, "new"], salt=[1])

    assert [name for name in with_new if name != "new"] == ranked(names, salt=[1])


@pytest.mark.parametrize(
    ("holds", "count", "expected"),
    [
        # everybody has everything: the first in order
        ({"p": "ab", "q": "ab", "r": "ab"}, 1, ("p",)),
        ({"p": "ab", "q": "ab", "r": "ab"}, 2, ("p", "q")),
        # the first lacks a class, so the next that covers it
        ({"p": "a", "q": "ab", "r": "ab"}, 1, ("q",)),
        # only p has c: it must train, and validation cannot cover c
        ({"p": "abc", "q": "ab", "r": "ab"}, 1, ("q",)),
        # two cover together what none covers alone
        ({"p": "a", "q": "a", "r": "b", "s": "ab"}, 2, ("p", "r")),
        # every choice would take a class away
        ({"p": "a", "q": "b"}, 1, None),
        ({"p": "ab", "q": "ab", "r": "c"}, 2, None),
        # taking p first leads nowhere: its class and those of q and r clash
        ({"p": "xy", "q": "x", "r": "y"}, 2, ("q", "r")),
    ],
)
def test_choices_by_hand(
    holds: dict[str, str], count: int, expected: tuple[str, ...] | None
) -> None:
    assert choose_validation(sorted(holds), count, holds=holds) == expected


@given(
    st.dictionaries(
        st.text("pqrstuv", min_size=1, max_size=1), st.sets(st.sampled_from("abcd")), min_size=2
    ),
    st.integers(1, 3),
)
def test_choices_against_brute_force(holds: dict[str, set[str]], count: int) -> None:
    count = min(count, len(holds) - 1)
    everyone = sorted(holds)
    classes = set().union(*holds.values())

    def covered(chosen: tuple[str, ...]) -> int:
        return len(set().union(*(holds[name] for name in chosen)))

    possible = [
        chosen
        for chosen in itertools.combinations(everyone, count)
        if set().union(*(holds[name] for name in everyone if name not in chosen)) == classes
    ]
    expected = max(possible, key=covered, default=None)

    assert choose_validation(everyone, count, holds=holds) == expected


def test_many_speakers_and_a_rare_class_are_no_burden() -> None:
    holds = {f"{place:03}": "ab" for place in range(300)} | {"298": "abc", "299": "abc"}
    chosen = choose_validation(sorted(holds), 10, holds=holds)

    assert chosen is not None
    assert len(chosen) == 10
    assert sum("c" in holds[name] for name in chosen) == 1
