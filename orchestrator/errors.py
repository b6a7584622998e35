"""The errors a user can meet. The command line turns them into one paragraph and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnderstudyError(Exception):
    """Something went wrong that the user should read about in one paragraph (exit code 1)."""

    exit_code = 1


class InputError(UnderstudyError):
    """What the user gave cannot be used; the message names it and the mend (exit code 2)."""

    exit_code = 2


class ExperimentError(InputError):
    """An experiment file, an override or an environment variable it names is wrong."""


class CorpusError(InputError):
    """A corpus is missing, damaged, or does not hold what its description promises."""


class ProtocolError(InputError):
    """A protocol cannot turn this corpus into valid folds."""


class PretrainedError(InputError):
    """A folder given as a pretrained encoder is not one, or its weights cannot be read."""


class BundleError(InputError):
    """A folder given as a student holds none, or one that is damaged."""


class StoreError(UnderstudyError):
    """The store cannot be read or written, or holds a damaged artifact."""


class TrainingError(UnderstudyError):
    """A fold run failed; the message says at which step and why."""


class ClusterError(UnderstudyError):
    """A Ray cluster does not answer, or refuses or loses a job."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause suggesting the known name closest to ``name``, or listing the known names.

    >>> nearest("epohcs", ["epochs", "lr"])
    "did you mean 'epochs'?"
    >>> nearest("zzz", ["epochs", "lr"])
    'known: epochs, lr'
    """
    candidates = sorted(known)
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(candidates)}"
