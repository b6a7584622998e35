"""What the numbers of a stage depend on beside its inputs: libraries, and the kind of device."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from functools import cache

from orchestrator.canonical import JSON


def environment_inputs(device: str) -> dict[str, JSON]:
    """What every stage that computes with torch adds to its inputs.

    Args:
        device: a torch device such as ``cpu`` or ``cuda:1``; only its kind is an input.
    """
    return {"versions": dict(_versions()), "device": device.partition(":")[0]}


@cache
def _versions() -> Mapping[str, str]:
    """Looked up once: each look parses a distribution's metadata anew."""
    libraries = ("torch", "torchaudio", "transformers")
    return {name: importlib.metadata.version(name) for name in libraries}
