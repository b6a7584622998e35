"""Text-disjoint folds: test sets cut by what is said, and what training must not hear."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import (
    CrossCorpus,
    LeaveOneSessionOut,
    LeaveOneSpeakerOut,
    ProtocolSection,
    RandomFolds,
    SpeakerFolds,
)
from orchestrator.protocols.dealing import deal
from orchestrator.protocols.fold import Rows

Cut = CrossCorpus | LeaveOneSessionOut | LeaveOneSpeakerOut | RandomFolds | SpeakerFolds
"""Protocols that can cut a test set by its texts."""

# With two groups of texts a fold still trains on about half of what is said.
_FEWEST = 2


def refuse_unknown(rows: Rows, protocol: ProtocolSection) -> None:
    """Raise where ``text_disjoint`` is wanted and what is said is not known.

    Raises:
        ProtocolError: counting the utterances without a text.
    """
    unknown = [name for name, text in rows.text.items() if not text]
    if protocol.text_disjoint and unknown:
        msg = (
            f"protocol {protocol.kind}: text_disjoint needs the text of every utterance, but "
            f"{len(unknown)} of {len(rows.text)} have none, {unknown[0]!r} for one; give the "
            "corpus a column of texts or transcripts, or leave text_disjoint out"
        )
        raise ProtocolError(msg)


def repeated(rows: Rows, test: Collection[str], others: Collection[str]) -> set[str]:
    """The ids among ``others`` whose text occurs in ``test``."""
    said = {rows.text[name] for name in test}
    return {name for name in others if rows.text[name] in said}


def by_text(
    tests: Mapping[str, Collection[str]], rows: Rows, protocol: Cut
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each test set, cut into ``text_folds`` parts of different texts where that is wanted.

    Texts are dealt by hash over the whole corpus, so the same texts go together in every fold. A
    part without utterances is no fold.

    Args:
        tests: ids by the name of the fold.
        rows: of the corpus.
        protocol: with ``text_disjoint`` and ``text_folds``.

    Yields:
        Names such as ``speaker=03,texts=1`` with the sorted ids of the part.
    """
    count = text_groups(tests, rows, protocol)
    if count == 1:
        yield from ((name, tuple(sorted(ids))) for name, ids in tests.items())
        return
    texts = sorted(set(rows.text.values()))
    if len(texts) < count:
        msg = (
            f"protocol {protocol.kind}: text_folds is {count} but the corpus has only "
            f"{len(texts)} different texts; lower text_folds"
        )
        raise ProtocolError(msg)
    group = deal(texts, count, salt=["texts"])
    for name, ids in tests.items():
        for place in range(count):
            part = tuple(sorted(each for each in ids if group[rows.text[each]] == place))
            if part:
                yield f"{name},texts={place + 1}", part


def text_groups(tests: Mapping[str, Collection[str]], rows: Rows, protocol: Cut) -> int:
    """Into how many parts each test set is cut: as asked for, or so that training keeps emotions.

    Validation is not looked at, since it rotates by seed and folds must not.
    """
    if not protocol.text_disjoint:
        return 1
    if protocol.text_folds is not None:
        return protocol.text_folds
    for test in tests.values():
        others = rows.emotion.keys() - set(test)
        left = others - repeated(rows, test, others)
        if {rows.emotion[name] for name in left} != {rows.emotion[name] for name in others}:
            return _FEWEST
    return 1
