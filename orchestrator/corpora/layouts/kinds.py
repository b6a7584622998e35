"""The kinds of corpora: what each is, and how its layout is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.corpora.layouts import (
    crema_d,
    emodb,
    folder,
    from_table,
    fsdd,
    iemocap,
    meld,
    ravdess,
    savee,
    synthetic,
)
from orchestrator.corpora.listing import About, Listing
from orchestrator.experiment.corpus import CorpusSection


@dataclass(frozen=True)
class Kind:
    """One kind of corpus."""

    about: About
    read: Callable[[Any], Listing]
    """From a section of this kind to its utterances; raises CorpusError."""


KINDS: Final[dict[str, Kind]] = {
    "crema-d": Kind(crema_d.ABOUT, crema_d.list_crema_d),
    "emodb": Kind(emodb.ABOUT, emodb.list_emodb),
    "folder": Kind(folder.ABOUT, folder.list_folder),
    "fsdd": Kind(fsdd.ABOUT, fsdd.list_fsdd),
    "iemocap": Kind(iemocap.ABOUT, iemocap.list_iemocap),
    "meld": Kind(meld.ABOUT, meld.list_meld),
    "ravdess": Kind(ravdess.ABOUT, ravdess.list_ravdess),
    "savee": Kind(savee.ABOUT, savee.list_savee),
    "synthetic": Kind(synthetic.ABOUT, synthetic.list_synthetic),
    "table": Kind(from_table.ABOUT, from_table.list_table),
}
"""By the ``kind`` of a section."""


def list_corpus(section: CorpusSection) -> Listing:
    """The utterances that a corpus's layout names.

    Raises:
        CorpusError: the layout is not there, or cannot be read.
    """
    return KINDS[section.kind].read(section)
