"""Passwords that a file or a command line would give away: they come from the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.errors import ExperimentError
from orchestrator.experiment.reading import VARIABLE

_PLACES = ("tracking.uri", "search.storage", "store", "--uri")
"""Keys and options that hold addresses."""


def refuse_written_passwords(data: Mapping[str, Any], *, source: str) -> None:
    """Raise where an address holds a password as such, and not as ``${NAME}`` without a default.

    Files are shared, and command lines read by other users of the machine.

    Args:
        data: of an experiment, or of a command by option, its ``${NAME}`` as written.
        source: what messages call it.

    Raises:
        ExperimentError: names the key and the mend, and not the password.
    """
    # brings much with it, which this room does otherwise without
    from orchestrator.tracking.address import has_password

    for key, text in _addresses(data):
        if has_password(VARIABLE.sub(lambda found: found[2] or "", text)):
            raise ExperimentError(
                f"{source}: {key} holds a password; put it into an environment variable and write "
                "${NAME} in its place, as in postgresql+psycopg://me:${RUNS_PASSWORD}@host/runs "
                "(of an MLflow server: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)"
            )


def _addresses(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in _PLACES:
        found: Any = data
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            yield key, found
