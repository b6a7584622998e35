"""What lies in a student's folder: weights, and a page of JSON. Nothing in it is unpickled (law 9).

``student.safetensors`` holds the network's tensors (``network.*``) and the mean and deviation
``(width,)`` by which it hears frames; ``student.json`` all else that hearing takes, the protocol
string under which it was chosen (law 7), and where it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.canonical import JSON

if TYPE_CHECKING:
    from orchestrator.store import Artifact
    from orchestrator.training.task import FoldTask

WEIGHTS = "student.safetensors"
FACTS = "student.json"
FORMAT = 1
"""Raised when a folder of before could not be read as one of now."""

AUDIO = "audio"
"""The column that a student is given: in each row the bytes of an audio file."""
EMOTION = "emotion"
"""The column of its answer that names the likeliest class."""


def bundle_files(
    task: FoldTask, trained: Artifact, *, facts: Mapping[str, JSON]
) -> dict[str, bytes]:
    """The files of a trained student's folder, by name; the same student gives the same bytes.

    Args:
        task: that it was trained for.
        trained: it, in the store.
        facts: what is to be known of it; ``protocol`` is the protocol string.

    Raises:
        ValueError: ``facts`` has no protocol.
    """
    from orchestrator.training import files as stored

    if not facts.get("protocol"):
        raise ValueError(f"a student's facts need its protocol, but there is {sorted(facts)} only")
    fitted = stored.read_json(trained.path / stored.FACTS)
    told = {
        "format": FORMAT,
        "network": task.recipe.student.model_dump(mode="json"),
        "features": task.features.model_dump(mode="json"),
        "emotions": list(task.emotions),
        "protocol": facts["protocol"],
        "provenance": {name: value for name, value in facts.items() if name != "protocol"}
        | {
            "corpus": task.corpus,
            "fold": task.fold,
            "seed": task.seed,
            "student": trained.key,
            "epoch": fitted["epoch"],
            "parameters": fitted["parameters"],
        },
    }
    return {
        WEIGHTS: (trained.path / stored.WEIGHTS).read_bytes(),
        FACTS: (json.dumps(told, indent=1, sort_keys=True) + "\n").encode(),
    }


def probability_columns(emotions: Sequence[str]) -> list[str]:
    """What the columns of a student's answer are called that hold probabilities.

    >>> probability_columns(["anger", "boredom"])
    ['probability_anger', 'probability_boredom']
    """
    return [f"probability_{emotion}" for emotion in emotions]
