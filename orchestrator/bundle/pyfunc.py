"""How MLflow loads and asks a student. MLflow calls this module; it needs nothing of MLflow."""

from __future__ import annotations

from typing import Any

import pandas as pd

from orchestrator.bundle.files import AUDIO
from orchestrator.bundle.student import Student, load_bundle
from orchestrator.errors import InputError


class Served:
    """A student behind MLflow's way of asking.

    Args:
        student: who answers.
    """

    def __init__(self, student: Student) -> None:
        self.student = student

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Emotion and probabilities, as :meth:`Student.predict`.

        Args:
            model_input: its column ``audio`` holds the bytes of an audio file in each row; never a
                path, so that whoever may ask a server cannot make it open files.
            params: none are known; MLflow's signature lets none pass.

        Raises:
            InputError: a row holds something else, or what cannot be heard.
        """
        for place, one in enumerate(model_input[AUDIO]):
            if not isinstance(one, bytes):
                raise InputError(
                    f"{AUDIO} {place}: the column takes the bytes of an audio file, not "
                    f"{type(one).__name__}; read the file first"
                )
        return self.student.predict(list(model_input[AUDIO]))


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls with the folder of the student."""
    return Served(load_bundle(path))
