"""A student as a folder that ``mlflow.pyfunc`` loads anywhere, without store or checkout.

In it lie the student's own folder, the sources that hear with it as one zip, which MLflow puts in
front of Python's path, and what has to be installed beside these.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import struct
import wave
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import models
import orchestrator
from orchestrator.bundle.files import AUDIO, EMOTION, FACTS, probability_columns
from orchestrator.errors import UnderstudyError

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

LOADER = "orchestrator.bundle.pyfunc"
SOURCES = "understudy.zip"
REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pydantic",
    "PyYAML",
    "safetensors",
    "soundfile",
    "torch",
    "torchaudio",
)
"""Distributions that the sources need to hear with a student."""

_TONE_HZ, _TONE_SECONDS = 220.0, 0.3


class MissingSourcesError(UnderstudyError):
    """Understudy's own sources have gone from under it."""


def write_model_folder(folder: Path, files: Mapping[str, bytes], *, model: LoggedModel) -> None:
    """Write the MLflow model of a student.

    Args:
        folder: empty or not there yet.
        files: the student's, as by ``bundle_files``.
        model: MLflow's entry for it.

    Raises:
        ValueError: the files are no student's.
        MissingSourcesError: the sources cannot be read.
    """
    # what lies in the working directory is none of the model's business
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
    import pandas as pd
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    told = json.loads(files[FACTS])
    student = folder.with_name("student")
    for name, data in files.items():
        (student / name).parent.mkdir(parents=True, exist_ok=True)
        (student / name).write_bytes(data)
    made = Model(
        artifact_path=model.artifact_location,
        model_uuid=model.model_id,
        model_id=model.model_id,
        run_id=model.source_run_id,
        metadata={"protocol": told["protocol"]},
    )
    save_model(
        path=str(folder),
        loader_module=LOADER,
        data_path=str(student),
        mlflow_model=made,
        signature=signature(told["emotions"]),
        input_example=pd.DataFrame({AUDIO: [tone(told["features"]["sample_rate"])]}),
        pip_requirements=requirements(),
    )
    (folder / SOURCES).write_bytes(sources())
    # MLflow itself would copy folders, file by file
    made.flavors["python_function"]["code"] = SOURCES
    made.save(str(folder / "MLmodel"))


def signature(emotions: list[str]) -> ModelSignature:
    """Bytes of an audio file in; an emotion and its probabilities out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    shares = [ColSpec(DataType.double, name) for name in probability_columns(emotions)]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, AUDIO)]),
        outputs=Schema([ColSpec(DataType.string, EMOTION), *shares]),
    )


def requirements() -> list[str]:
    """What to install beside the sources, as it is installed here."""
    # an index knows a build for one kind of machine ("2.14.1+cpu") by its plain version
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def tone(rate: int) -> bytes:
    """A short WAV file of a tone at ``rate`` Hz: something to try a student with."""
    count = round(_TONE_SECONDS * rate)
    wanted = (math.sin(2 * math.pi * _TONE_HZ * place / rate) for place in range(count))
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{count}h", *(round(8000 * value) for value in wanted)))
    return held.getvalue()


@cache
def sources() -> bytes:
    """The packages that hear with a student, as a zip that Python imports from.

    All of them, since whoever loads a student may go on to use another part of Understudy, and
    would find it gone if the zip held less. The same sources give the same bytes.

    Raises:
        MissingSourcesError: they have gone, as those of a submitted job may when it has ended.
    """
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        for package in (models, orchestrator):
            folder = Path(str(package.__file__)).parent
            for path in sorted(folder.rglob("*.py")):
                name = f"{package.__name__}/{path.relative_to(folder).as_posix()}"
                entry = zipfile.ZipInfo(name)  # of 1980, whenever the file was written
                entry.compress_type = zipfile.ZIP_DEFLATED
                packed.writestr(entry, path.read_bytes())
    names = zipfile.ZipFile(held).namelist()
    if not {"models/__init__.py", "orchestrator/__init__.py"} <= set(names):
        raise MissingSourcesError(
            "the sources of Understudy are not where they were imported from, so that no model can "
            "carry them; `understudy tracking repair` sends it from where Understudy is installed"
        )
    return held.getvalue()
