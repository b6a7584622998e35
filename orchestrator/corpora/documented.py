"""A copy of a corpus against what its publishers or the literature say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.corpora.listing import Documented, Listing


@dataclass(frozen=True)
class Comparison:
    """One documented number and the one found.

    Attributes:
        what: the columns that are counted by, such as ``emotion`` or ``session x emotion``;
            ``utterances`` for all of them, ``speakers`` and so on for how many there are.
        value: of those columns, such as ``anger``; "" where there is none.
        documented: of a complete copy.
        found: in this copy, before labels and subset.
        ok: whether they are the same.
    """

    what: str
    value: str
    documented: int
    found: int
    ok: bool


def compared(listing: Listing, documented: Documented) -> tuple[Comparison, ...]:
    """Every documented number against the listing: the total, then counts, then crossed counts.

    A value that the documents do not have is compared too, with none, where what they have of its
    column adds up to the total.
    """
    table = listing.table
    rows = [_row("utterances", "", documented.utterances, len(table))]
    for column, expected in documented.counts.items():
        if column not in table:
            continue
        found = Counter(str(value) for value in table[column] if value)
        if sum(expected.values()) == documented.utterances:
            rows.append(_row(f"{column}s", "", len(expected), len(found)))
        rows += _rows(column, expected, found, total=documented.utterances)
    for (one, other), pairs in documented.crossed.items():
        if one not in table or other not in table:
            continue
        both = zip(table[one], table[other], strict=True)
        found = Counter(f"{first}, {second}" for first, second in both)
        expected = {f"{first}, {second}": count for (first, second), count in pairs.items()}
        rows += _rows(f"{one} x {other}", expected, found, total=documented.utterances)
    return tuple(rows)


def difference(row: Comparison) -> str:
    """A sentence on a number that is not as documented.

    >>> difference(Comparison("emotion", "anger", documented=127, found=2, ok=False))
    '2 utterances of anger, 127 as documented'
    >>> difference(Comparison("speakers", "", documented=10, found=9, ok=False))
    '9 speakers, 10 as documented'
    """
    if not row.value:
        what = row.what
    elif row.what == "emotion":
        what = f"utterances of {row.value}"
    else:
        what = f"utterances of {row.what} {row.value}"
    return f"{row.found} {what}, {row.documented} as documented"


def _rows(
    what: str, expected: Mapping[str, int], found: Mapping[str, int], *, total: int
) -> list[Comparison]:
    complete = sum(expected.values()) == total
    values = [*expected, *(sorted(found.keys() - expected.keys()) if complete else ())]
    return [_row(what, value, expected.get(value, 0), found.get(value, 0)) for value in values]


def _row(what: str, value: str, documented: int, found: int) -> Comparison:
    return Comparison(
        what=what, value=value, documented=documented, found=found, ok=documented == found
    )
