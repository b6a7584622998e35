"""The content-addressed home of everything expensive: what it holds, who needs it, what may go."""

from __future__ import annotations

from orchestrator.store.environment import environment_inputs
from orchestrator.store.store import (
    ARTIFACTS,
    BUILDING,
    CHECKPOINTS,
    DAMAGED,
    FIT,
    LOCKS,
    RESERVED,
    STAGE_VERSIONS,
    Artifact,
    Store,
)

__all__ = [
    "ARTIFACTS",
    "BUILDING",
    "CHECKPOINTS",
    "DAMAGED",
    "FIT",
    "LOCKS",
    "RESERVED",
    "STAGE_VERSIONS",
    "Artifact",
    "Store",
    "environment_inputs",
]
