"""Where an experiment keeps things, read without what else its file needs: corpora and weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from orchestrator.errors import ExperimentError
from orchestrator.experiment.complaints import paragraph
from orchestrator.experiment.credentials import refuse_written_passwords
from orchestrator.experiment.experiment import Experiment, Tracking
from orchestrator.experiment.overrides import apply_overrides, parse_overrides
from orchestrator.experiment.reading import read_file, substitute
from orchestrator.experiment.section import Section


class Places(Section):
    """The parts of an experiment file that say where its results are."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    store: str = Experiment.model_fields["store"].default
    tracking: Tracking = Tracking()


def places_of(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Places:
    """Where the experiment of a file keeps things, so that no corpus has to be there.

    Args:
        path: the YAML file, of an experiment or of a speech recogniser.
        overrides: changes from the command line, as of the commands that computed; only those of
            ``name``, ``store`` and ``tracking`` count.
        environment: for ``${VAR}``; default ``os.environ``.

    Raises:
        ExperimentError: the file, or one of these keys, is wrong or holds a password.
    """
    file = Path(path).expanduser()
    keys = tuple(Places.model_fields)
    data = {key: value for key, value in read_file(file).items() if key in keys}
    changes = parse_overrides(overrides)
    own = {key: value for key, value in changes.items() if key.partition(".")[0] in keys}
    apply_overrides(data, own)
    told = _told(data, environment, source=str(file))
    try:
        return Places.model_validate(told)
    except ValidationError as error:
        raise ExperimentError(paragraph(error, Places, source=lambda key: str(file))) from None


def told_uri(uri: str, *, command: str, environment: Mapping[str, str] | None = None) -> str:
    """What a command's ``--uri`` says, ``${NAME}`` in it looked up as in a file.

    Args:
        uri: as given.
        command: what messages call the command.
        environment: default ``os.environ``.

    Raises:
        ExperimentError: it holds a password, or a variable is missing.
    """
    return str(_told({"--uri": uri}, environment, source=command)["--uri"])


def _told(
    data: Mapping[str, Any], environment: Mapping[str, str] | None, *, source: str
) -> dict[str, Any]:
    """Data with its variables looked up, if no password stands in it."""
    refuse_written_passwords(data, source=source)
    names = os.environ if environment is None else environment
    told: dict[str, Any] = substitute(data, names, source=source)
    return told
