"""Where a fit under way leaves its state, to go on from bit by bit after a crash."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

log = logging.getLogger(__name__)

_FILE, _PROGRESS = "checkpoint.safetensors", "progress"


@dataclass
class Progress:
    """How far a fit is, and what it has seen of validation."""

    stage: int = 0
    """The stage under way, or about to begin."""
    stage_epochs: int = 0
    """Epochs done in it."""
    epoch: int = 0
    """Epochs done over all stages."""
    updates: int = 0
    """Updates done over all stages."""
    best: float = math.inf
    """The best smoothed validation score, less being better."""
    trail: list[float] = field(default_factory=list)
    """Validation scores of the epochs that may be chosen."""
    history: list[dict[str, float]] = field(default_factory=list)
    kept_epoch: int = 0


@dataclass(frozen=True)
class Saved:
    """Everything that the next epoch depends on."""

    parts: dict[str, dict[str, Tensor]]
    """Tensors by part (network, optimiser, ...) and name."""
    progress: Progress


class Checkpoint:
    """One file in a folder, replaced whole after epochs, at most every so many minutes.

    Args:
        folder: is made when it is needed.
        minutes: at least so long after the last one; 0: after every epoch.
        clock: seconds; for tests.
    """

    def __init__(
        self, folder: Path, *, minutes: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self.seconds = 60.0 * minutes
        self.clock = clock
        self._last = clock()

    def due(self) -> bool:
        """Whether it is time for another."""
        return self.clock() - self._last >= self.seconds

    def write(self, saved: Saved) -> None:
        """Replace the checkpoint; whoever is killed meanwhile leaves the old one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{part}/{name}": value.detach().cpu().contiguous()
            for part, own in saved.parts.items()
            for name, value in own.items()
        }
        # equal memory under two names is refused by the format
        tensors = {name: value.clone() for name, value in tensors.items()}
        facts = json.dumps(dataclasses.asdict(saved.progress))
        beside = self.folder / f"{_FILE}.{os.getpid()}"
        save_file(tensors, beside, metadata={_PROGRESS: facts})
        os.replace(beside, self.folder / _FILE)
        self._last = self.clock()

    def read(self) -> Saved | None:
        """The checkpoint, or None where there is none that can be read."""
        path = self.folder / _FILE
        if not path.is_file():
            return None
        parts: dict[str, dict[str, Tensor]] = {}
        try:
            with safe_open(path, framework="pt") as file:
                progress = Progress(**json.loads(file.metadata()[_PROGRESS]))
                for key in file.keys():  # noqa: SIM118 - no mapping
                    part, name = key.split("/", 1)
                    parts.setdefault(part, {})[name] = file.get_tensor(key)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            log.warning("%s is damaged (%s); training begins anew", path, error)
            return None
        return Saved(parts, progress)

    def remove(self) -> None:
        """Throw it away: what it was for is done."""
        # whoever was killed in the middle of writing left a file of another name
        shutil.rmtree(self.folder, ignore_errors=True)
