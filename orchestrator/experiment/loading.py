"""From an experiment file to a validated Experiment: variants, overrides, environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from orchestrator.errors import ExperimentError, nearest
from orchestrator.experiment import reading
from orchestrator.experiment.complaints import paragraph
from orchestrator.experiment.credentials import refuse_written_passwords
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.overrides import apply_overrides, parse_overrides
from orchestrator.experiment.recogniser import RecogniserExperiment

RECOGNISER = "recogniser"
"""The top-level key that only the file of a speech recogniser has."""

File = TypeVar("File", Experiment, RecogniserExperiment)


def load_experiment(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    variant: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Experiment:
    """Read and validate an experiment file.

    The file's values are changed first by ``variant`` (a name under the file's ``variants``), then
    by ``overrides`` (``"recipe.training.epochs=20"``, see :func:`parse_overrides`); ``${VAR}`` and
    ``${VAR:-default}`` are looked up last, so that a variable whose key is overridden is not
    needed. An override may itself say ``${VAR}``.

    Args:
        path: the YAML file.
        overrides: changes from the command line, the last one winning.
        variant: default none.
        environment: default ``os.environ``.

    Raises:
        ExperimentError: anything is wrong; one paragraph names file, key, value and mend.
    """
    if is_recogniser_file(path):
        raise ExperimentError(
            f"{path}: has the key {RECOGNISER!r}, so it is the file of a speech recogniser and not "
            "of an emotion student; `understudy evaluate` and `report` take such a file"
        )
    own, source = _read(path, overrides=overrides, variant=variant, environment=environment)
    return _validated(own, Experiment, source=source)


def load_recogniser_experiment(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    variant: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> RecogniserExperiment:
    """Read and validate the file of a speech recogniser; arguments as :func:`load_experiment`.

    Raises:
        ExperimentError: anything is wrong; one paragraph names file, key, value and mend.
    """
    own, source = _read(path, overrides=overrides, variant=variant, environment=environment)
    return _validated(own, RecogniserExperiment, source=source)


def is_recogniser_file(path: str | Path) -> bool:
    """Whether a file is that of a speech recogniser, by its top-level keys.

    Raises:
        ExperimentError: the file cannot be read.
    """
    return RECOGNISER in reading.read_file(Path(path).expanduser())


def _read(
    path: str | Path,
    *,
    overrides: Sequence[str],
    variant: str | None,
    environment: Mapping[str, str] | None,
) -> tuple[dict[str, Any], Callable[[str], str]]:
    """The file's data, changed and filled in, and what set each key."""
    file = Path(path).expanduser()
    data, origins = _merged(file, overrides=overrides, variant=variant)
    own = {key: value for key, value in data.items() if key != "variants"}
    refuse_written_passwords(own, source=str(file))
    names = os.environ if environment is None else environment
    own = reading.substitute(own, names, source=str(file))
    if "variants" in data:
        own["variants"] = data["variants"]
    if variant is not None:
        own["variant"] = variant
    return own, _source(str(file), origins)


def variables_of(
    path: str | Path, *, overrides: Sequence[str] = (), variant: str | None = None
) -> tuple[str, ...]:
    """The environment variables that loading the same file would look up, sorted.

    Raises:
        ExperimentError: the file, the variant or an override cannot be read.
    """
    data, _ = _merged(Path(path).expanduser(), overrides=overrides, variant=variant)
    data.pop("variants", None)
    return tuple(sorted(reading.variables(data)))


def override_recipe(experiment: Experiment, overrides: Mapping[str, object]) -> Experiment:
    """The experiment with single values changed, validated again; what a search trial trains.

    Args:
        experiment: stays as it is.
        overrides: from dotted keys of the whole file (``recipe.training.lr``) to values. A new
            ``kind`` starts its section afresh from that kind's defaults.

    Raises:
        ExperimentError: an unknown key, a value that does not fit, or an impossible combination.
    """
    data = experiment.model_dump(mode="json")
    apply_overrides(data, overrides)
    origins = dict.fromkeys(overrides, f"experiment {experiment.name}, overridden")
    source = _source(f"experiment {experiment.name}", origins)
    return _validated(data, Experiment, source=source)


def resolved(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain JSON data, every default written out: what was run, for the record.

    Left out are ``variants``, since the one that counts has been applied. Equal experiments give
    equal data, whatever their files looked like, and the data loads as the same experiment.
    """
    return experiment.model_dump(mode="json", exclude={"variants"})


def _merged(
    file: Path, *, overrides: Sequence[str], variant: str | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The file's data with variant and overrides applied, and what set each changed key."""
    data = reading.read_file(file)
    changes = parse_overrides(overrides)
    if "variant" in data or "variant" in changes:
        raise ExperimentError(f"{file}: 'variant' is chosen by --variant NAME, not by a key")
    origins: dict[str, str] = {}
    if variant is not None:
        chosen = _variant(data, variant, file)
        origins.update(dict.fromkeys(chosen, f"{file}, variant {variant!r}"))
        apply_overrides(data, chosen)
    texts = {text.partition("=")[0].strip(): text for text in overrides}
    origins.update({key: f"{file}, override {text!r}" for key, text in texts.items()})
    apply_overrides(data, changes)
    return data, origins


def _variant(data: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    known = data.get("variants") or {}
    if not isinstance(known, dict) or not known:
        raise ExperimentError(f"{file}: there is no variant {name!r}, for the file has none")
    if name not in known:
        raise ExperimentError(f"{file}: there is no variant {name!r}; {nearest(name, known)}")
    if not isinstance(known[name], dict):
        raise ExperimentError(
            f"{file}: variants.{name} is {reading.shown(known[name])}; it should hold dotted keys "
            "and values, such as recipe.training.epochs: 50"
        )
    return cast("dict[str, Any]", known[name])


def _source(default: str, origins: Mapping[str, str]) -> Callable[[str], str]:
    """From a dotted key to what set it: the closest change at, above or below it, or the file."""
    changes = list(origins.items())

    def source(key: str) -> str:
        for changed, origin in reversed(changes):
            if f"{key}.".startswith(f"{changed}.") or f"{changed}.".startswith(f"{key}."):
                return origin
        return default

    return source


def _validated(data: dict[str, Any], model: type[File], *, source: Callable[[str], str]) -> File:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ExperimentError(paragraph(error, model, source=source)) from None
