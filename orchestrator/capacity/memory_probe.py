"""How much memory a fold run needs, measured by one in miniature in a process of its own.

The process is a fresh Python that has imported what a worker of Ray imports, so that the most that
it ever holds is what a worker will hold. It takes seconds, and runs beside whatever its starter
does. What was measured is remembered in the store's folder.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import orchestrator
from orchestrator.canonical import digest
from orchestrator.capacity.machine_memory import peak_private_bytes
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import ablation_recipes
from orchestrator.store import environment_inputs

if TYPE_CHECKING:
    from orchestrator.capacity.miniature import Outline
    from orchestrator.preparation import Prepared

# orchestrator.capacity.miniature is imported where it is used: torch takes seconds

FILE: Final = "fold-run-memory.json"
"""Name of what is remembered, in the store's folder: from digests to needs."""

VERSION: Final = 1
"""Raised when the same fold runs are measured differently."""

COMMAND: tuple[str, ...] = ("-P", "-m", "orchestrator.capacity.memory_probe")
PATIENCE: Final = 120.0
"""Seconds that measuring may take, from its start, where somebody waits to read it."""
HEADROOM: Final = 0.15
"""What is added to a measurement: a worker that goes from fold run to fold run holds more than
after the first. Of the shipped demo's, whose miniature held 0.75 GiB, the largest held 0.86."""
CONTEXT_BYTES: Final = 2**30
"""The most that a process's context takes of a GPU; what more is taken there is of others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Need:
    """What each worker of a fold run holds where it holds most, in bytes."""

    host: int
    """Of the machine's memory, mapped files aside."""
    libraries: int
    """What of ``host`` the process held before it began."""
    gpu: int = 0
    """Of a GPU, its context included; 0 without one."""
    gpu_total: int = 0
    """Of the GPU that this was measured on."""
    how: str = "measured"
    """How this is known."""


class MemoryProbe:
    """Measures in another process from the moment it is made, unless that is remembered.

    Use as a context manager, which ends the process if it still runs.

    Args:
        outline: of the experiment; None: nothing is measured.
        memory: folder where measurements are remembered.
        said: what is known without measuring.

    Attributes:
        unmeasured: why there is no measurement; empty while there may still be one.
    """

    def __init__(self, outline: Outline | None, *, memory: Path, said: Need | None = None) -> None:
        self.unmeasured = ""
        self._file = memory / FILE
        self._need = said
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()
        if outline is None:
            return
        if outline.gpu and not _gpu_name():
            self.unmeasured = "fold runs ask for a GPU, and this machine has none"
            return
        if outline.threads > (here := os.cpu_count() or 1):
            # so many threads on so few cores would hold up everybody
            self.unmeasured = f"fold runs ask for {outline.threads} CPUs, this machine has {here}"
            return
        self._key = digest([VERSION, json.loads(outline.text()), _surroundings(outline)])
        self._need = _remembered(self._file).get(self._key)
        if self._need is None:
            self._start(outline)

    @classmethod
    def of(
        cls, experiment: Experiment, prepared: Iterable[Prepared], *, memory: Path
    ) -> MemoryProbe:
        """Of an experiment's fold runs, its ablations' among them; or what the file says."""
        told = experiment.resources.trial.memory_gib
        if told is None:
            return cls(outline_of(experiment, prepared), memory=memory)
        said = Need(round(told * 2**30), 0, how="as resources.trial.memory_gib says")
        return cls(None, memory=memory, said=said)

    @property
    def running(self) -> bool:
        """Whether it has yet to be waited for."""
        return self._process is not None and self._process.poll() is None

    def need(self, *, patience: float = PATIENCE) -> Need | None:
        """What was measured, as soon as it is there; None where it could not be, and a log line.

        Args:
            patience: seconds that measuring may take, from its start.
        """
        if self._process is not None:
            self._wait(self._process, patience)
        return self._need

    def _start(self, outline: Outline) -> None:
        self._began = time.monotonic()
        try:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            told = folder / "told"
            told.write_text(outline.text())
            # files, for a pipe that nobody empties stops its writer
            self._said, self._complained = folder / "said", folder / "complained"
            with (
                told.open() as stdin,
                self._said.open("w") as stdout,
                self._complained.open("w") as stderr,
            ):
                self._process = subprocess.Popen(
                    [sys.executable, *COMMAND],
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env=_environment(outline),
                )
        except OSError as error:
            self._give_up(str(error))

    def _wait(self, process: subprocess.Popen[bytes], patience: float) -> None:
        try:
            code = process.wait(max(0.0, patience - (time.monotonic() - self._began)))
        except subprocess.TimeoutExpired:
            self._give_up(f"it took more than {patience:g} s")
            return
        try:
            # libraries may have said something before
            need = Need(**json.loads(self._said.read_text().splitlines()[-1]))
        except (OSError, ValueError, TypeError, IndexError):
            lines = self._complained.read_text(errors="replace").splitlines()
            self._give_up(f"it ended with {code}: {lines[-1] if lines else 'it said nothing'}")
            return
        self._need, self._process = need, None
        _remember(self._file, self._key, need)

    def _give_up(self, reason: str) -> None:
        self.close()
        self.unmeasured = f"measuring a fold run's memory failed ({reason})"
        log.warning("%s; fold runs are packed by CPUs and GPUs alone", self.unmeasured)

    def close(self) -> None:
        """End the process if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._stack.close()

    def __enter__(self) -> MemoryProbe:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def outline_of(experiment: Experiment, prepared: Iterable[Prepared]) -> Outline:
    """What the memory of an experiment's fold runs depends on: recipes as they are written."""
    from orchestrator.capacity.miniature import Outline, shrunk

    prepared = tuple(prepared)
    resources = experiment.resources
    recipes = (experiment.recipe, *ablation_recipes(experiment).values())
    plain = [
        shrunk(
            recipe,
            teacher_workers=resources.teacher_workers,
            student_workers=resources.student_workers,
            utterances=max(len(one.corpus.table) for one in prepared),
        )
        for recipe in recipes
    ]
    heard = [corpus for one in prepared if one.unlabelled for corpus in one.unlabelled.corpora]
    return Outline(
        recipes=tuple({digest(one): one for one in plain}.values()),
        features=experiment.features.model_dump(mode="json"),
        classes=max(len(one.corpus.emotions) for one in prepared),
        utterances=max(len(one.corpus.table) for one in prepared),
        seconds=max(float(one.corpus.table["duration"].max()) for one in prepared),
        unlabelled_seconds=max(
            (float(corpus.table["duration"].max()) for corpus in heard), default=0.0
        ),
        threads=resources.trial.cpus,
        gpu=bool(resources.trial.gpus),
        deterministic=resources.deterministic,
    )


def _surroundings(outline: Outline) -> dict[str, Any]:
    """What else a measurement depends on."""
    return {
        "understudy": orchestrator.__version__,
        "ray": importlib.metadata.version("ray"),
        "gpu": _gpu_name() if outline.gpu else "",
        **environment_inputs("cuda" if outline.gpu else "cpu"),
    }


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def _environment(outline: Outline) -> dict[str, str]:
    """As a worker's: this very package, wherever it was found, and the fold run's threads."""
    here = str(Path(orchestrator.__file__).resolve().parent.parent)
    others = os.environ.get("PYTHONPATH")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([here, *([others] if others else [])]),
        "OMP_NUM_THREADS": str(outline.threads),
    }


def _remembered(file: Path) -> dict[str, Need]:
    """What is remembered; nothing if the file is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): Need(**one) for key, one in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(file: Path, key: str, need: Need) -> None:
    """Whole or not at all. It is a memory only: without it the need is measured again."""
    known = _remembered(file) | {key: need}
    text = json.dumps({name: asdict(one) for name, one in known.items()}, indent=1)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=file.parent, prefix=f".{FILE}.", delete=False
        ) as stream:
            stream.write(text)
        os.replace(stream.name, file)


def measure(outline: Outline) -> Need:
    """What this process comes to hold by the fold runs of ``outline``; once a process."""
    # what a worker of a sweep imports, which is more than that of an evaluation
    import orchestrator.sweep.trial  # noqa: F401
    from orchestrator.capacity.miniature import run_miniatures

    libraries = peak_private_bytes()
    with tempfile.TemporaryDirectory() as folder:
        run_miniatures(outline, Path(folder))
    gpu, total = _gpu_bytes() if outline.gpu else (0, 0)
    host = round((1.0 + HEADROOM) * peak_private_bytes())
    return Need(host=host, libraries=libraries, gpu=gpu, gpu_total=total)


def _gpu_bytes() -> tuple[int, int]:
    """The most that this process has taken of its GPU, and what the GPU has."""
    import torch

    free, total = torch.cuda.mem_get_info()
    outside = total - free - torch.cuda.memory_reserved()
    return torch.cuda.max_memory_reserved() + min(outside, CONTEXT_BYTES), total


def _main() -> None:
    from orchestrator.capacity.miniature import Outline

    print(json.dumps(asdict(measure(Outline.of_text(sys.stdin.read())))))


if __name__ == "__main__":
    _main()
