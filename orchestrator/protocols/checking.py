"""Laws 1 and 2: what the roles of a fold must not share, and must have."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import (
    CrossCorpus,
    LeaveOneSessionOut,
    Official,
    ProtocolSection,
    RandomFolds,
)
from orchestrator.protocols.fold import ROLES, Fold, Rows

if TYPE_CHECKING:
    import pandas as pd


def promises(protocol: ProtocolSection, one: str, other: str) -> tuple[str, ...]:
    """The columns whose values two roles must not share, besides utterances themselves.

    Speakers are apart but under ``official`` and ``random-folds``. Whole sessions and whole corpora
    are apart from validation and test where they are what is tested; ``held`` is cut from training
    by speakers, so that those two may share them. Texts are apart from the test set's only in
    training and what is cut from it.
    """
    fitted = {"train", "held"}
    apart = [] if isinstance(protocol, Official | RandomFolds) else ["speaker"]
    if isinstance(protocol, LeaveOneSessionOut) and {one, other} != fitted:
        apart.append("session")
    if isinstance(protocol, CrossCorpus) and "test" in (one, other):
        apart.append("corpus")
    if protocol.text_disjoint and "test" in (one, other) and {one, other} & fitted:
        apart.append("text")
    return tuple(apart)


def check_fold(fold: Fold, table: pd.DataFrame | Rows, protocol: ProtocolSection) -> None:
    """Refuse a fold whose roles share what they must not (laws 1 and 2).

    No utterance is in two roles, and no value of what :func:`promises` names. No role is empty
    (``held`` may be), and training has every class of the corpus.

    Raises:
        ProtocolError: naming the fold, the roles and what they share or lack.
    """
    rows = table if isinstance(table, Rows) else Rows.of(table)
    for role in ROLES:
        ids = fold.role(role)
        unknown = [name for name in ids if name not in rows.emotion]
        if unknown:
            msg = f"fold {fold.name}: {role} holds {unknown[0]!r}, which the corpus does not have"
            raise ProtocolError(msg)
        if not ids and role != "held":
            msg = (
                f"protocol {protocol.kind}: fold {fold.name} has no utterances for {role}; "
                "use fewer folds or less validation"
            )
            raise ProtocolError(msg)
    names = {name: name for name in rows.emotion}
    for one, other in itertools.combinations(ROLES, 2):
        for what in ("utterance", *promises(protocol, one, other)):
            value = names if what == "utterance" else rows.column(what)
            its = {value[name] for name in fold.role(one)}
            shared = its & {value[name] for name in fold.role(other)}
            if shared:
                msg = (
                    f"protocol {protocol.kind}: in fold {fold.name}, {one} and {other} share "
                    f"{what} {min(shared)!r}; give the corpus a column that keeps them apart "
                    "(corpora: columns) or use another protocol"
                )
                raise ProtocolError(msg)
    missing = rows.classes - {rows.emotion[name] for name in fold.train}
    if missing:
        raise class_left_out(protocol, fold.name, min(missing))


def class_left_out(protocol: ProtocolSection, fold: str, emotion: str) -> ProtocolError:
    """The error of a fold whose training cannot have an emotion."""
    less = "set text_folds higher, or " if protocol.text_disjoint else ""
    msg = (
        f"protocol {protocol.kind}: training of fold {fold} would have no utterance of emotion "
        f"{emotion!r}; {less}merge it with another or leave it out (corpora: labels), or use a "
        "protocol that tests on less"
    )
    return ProtocolError(msg)
