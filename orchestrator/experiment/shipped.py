"""The ready-to-run experiment files that come with Understudy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml

import orchestrator
from orchestrator.errors import ExperimentError, nearest


def experiments_folder() -> Path:
    """``experiments/`` beside the package: in a checkout, an editable install and a wheel alike."""
    return Path(orchestrator.__file__).resolve().parent.parent / "experiments"


def list_experiments() -> dict[str, str]:
    """From each shipped experiment's name to the first sentence of its ``description``."""
    return {
        file.stem: _first_sentence(yaml.safe_load(file.read_text(encoding="utf-8")))
        for file in sorted(experiments_folder().glob("*.yaml"))
    }


def show_experiment(name: str) -> str:
    """The text of the shipped experiment ``name``.

    Raises:
        ExperimentError: there is none of that name; the nearest is suggested.
    """
    return _file(name).read_text(encoding="utf-8")


def copy_experiment(name: str, target: Path, *, force: bool = False) -> Path:
    """Copy the shipped experiment to ``target``, a file or an existing folder; gives the new file.

    Missing parent folders are made.

    Raises:
        ExperimentError: no experiment of that name, or ``target`` exists and not ``force``.
    """
    source = _file(name)
    file = target / source.name if target.is_dir() else target
    if file.exists() and not force:
        raise ExperimentError(f"{file} exists; name another file or say --force to replace it")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, file)
    except OSError as error:
        raise ExperimentError(f"{file} cannot be written: {error.strerror}") from None
    return file


def _file(name: str) -> Path:
    known = {file.stem: file for file in experiments_folder().glob("*.yaml")}
    plain = name.removesuffix(".yaml")
    if plain not in known:
        raise ExperimentError(f"there is no shipped experiment {name!r}; {nearest(plain, known)}")
    return known[plain]


def _first_sentence(data: object) -> str:
    description = str(data.get("description", "")) if isinstance(data, dict) else ""
    # "et al." ends no sentence
    found = re.match(r".*?(?<!et al)\.(?= )", " ".join(description.split()))
    return found.group() if found else " ".join(description.split())
