"""What a fold run keeps in memory of its own, by the size of its corpus and of its batches.

Run from a checkout, on a machine with some GB of free disk::

    python -m benchmarks.memory
    python -m benchmarks.memory --utterances 1000 20000 --batch 16 64 --json memory.json

For each size a corpus of numbers drawn at random is written into a store, as packed frames and the
outputs of a speech encoder; there is no audio. For each teacher (a ``vertical-vit`` whose tokens
are matched, a ``frozen`` encoder's head) and each batch size a whole fold run (teacher, what it
says of every utterance, student) of a few updates then runs in a fresh process, which looks at
``/proc/self/status`` while it works:

- private: anonymous memory (RssAnon) at its peak, less what it was before the fold run began;
- mapped: pages of files (RssFile) at their peak, which the system may take back at any time;
- corpus: bytes of the frames and outputs that the fold run reads.

What is private should grow with the batch and not with the corpus; of an utterance only its name,
label and place in the files stay.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.pinned import Job, at_once
from orchestrator.canonical import JSON
from orchestrator.encoder_outputs import EncoderHandle
from orchestrator.errors import InputError, UnderstudyError
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.recipe import Recipe
from orchestrator.features import PackHandle
from orchestrator.packing import FRAMES, ArrayWriter, write_index
from orchestrator.store import Store
from orchestrator.training.fold_run import run_fold
from orchestrator.training.task import FoldTask, Silent, Utterances

TEACHERS = ("vertical-vit", "frozen")
FEATURES = LogMelFeatures(bins=40)
EMOTIONS = ("anger", "happiness", "neutral", "sadness")
LAYERS, WIDTH = 7, 256
VALIDATION = 64
_MIB = 2**20


@dataclass(frozen=True)
class Used:
    """Memory of one fold run, in MiB.

    Attributes:
        teacher: ``vertical-vit`` or ``frozen``.
        utterances: of the training set.
        batch: utterances of an update.
        frames: of the average utterance.
        corpus: what lies on disk.
        private: anonymous memory at its peak, beyond what it was before.
        mapped: pages of files at their peak.
    """

    teacher: str
    utterances: int
    batch: int
    frames: float
    corpus: float
    private: float
    mapped: float


@dataclass(frozen=True)
class Generated:
    """A corpus of random numbers in a store.

    Attributes:
        folder: of the store.
        utterances: of the training set; ``VALIDATION`` more are for validation.
        frames: of the average utterance; they have half to one and a half times as many.
    """

    folder: str
    utterances: int
    frames: int = 300

    @property
    def inputs(self) -> dict[str, JSON]:
        """What the store's keys are made of."""
        return {"generated": self.utterances, "frames": self.frames}

    @property
    def ids(self) -> list[str]:
        """Of all utterances."""
        return [f"u{number:07}" for number in range(self.utterances + VALIDATION)]

    @property
    def offsets(self) -> list[int]:
        """Where each one's frames begin and end."""
        spread = np.random.default_rng(0).uniform(0.5, 1.5, len(self.ids))
        lengths = np.maximum(1, (self.frames * spread).astype(np.int64))
        return [0, *np.cumsum(lengths).tolist()]

    def write(self) -> float:
        """Write the corpus; how many bytes it has."""
        store = Store(self.folder)
        made = [
            store.obtain("features", self.inputs, self._write_frames),
            store.obtain("encoder", self.inputs, self._write_outputs),
        ]
        return float(
            sum(
                (one.path / name).stat().st_size
                for one, name in zip(made, (FRAMES, "pooled.npy"), strict=True)
            )
        )

    def _write_frames(self, folder: Path) -> None:
        draw, offsets = np.random.default_rng(1), self.offsets
        with ArrayWriter(folder / FRAMES, shape=(FEATURES.bins,), dtype=np.float32) as frames:
            for begin, end in zip(offsets, offsets[1:], strict=False):
                frames.append(draw.standard_normal((end - begin, FEATURES.bins), dtype=np.float32))
        write_index(folder, self.ids, offsets)

    def _write_outputs(self, folder: Path) -> None:
        draw = np.random.default_rng(2)
        path = folder / "pooled.npy"
        with ArrayWriter(path, shape=(LAYERS, WIDTH), dtype=np.float32) as pooled:
            for _ in self.ids:
                pooled.append(draw.standard_normal((1, LAYERS, WIDTH), dtype=np.float32))
        write_index(folder, self.ids, [0] * (len(self.ids) + 1))
        facts = {"layers": list(range(LAYERS)), "width": WIDTH, "seconds_per_frame": 0.02}
        (folder / "facts.json").write_text(json.dumps(facts))

    def task(self, *, teacher: str, batch: int) -> FoldTask:
        """A fold run on it, of a few updates."""
        store, ids = Store(self.folder), self.ids

        def utterances(begin: int, end: int) -> Utterances:
            return Utterances(
                ids=tuple(ids[begin:end]),
                contents=tuple(ids[begin:end]),
                labels=tuple(number % len(EMOTIONS) for number in range(begin, end)),
                speakers=tuple(f"s{number % 8}" for number in range(begin, end)),
            )

        return FoldTask(
            corpus="generated",
            fold="one",
            seed=0,
            recipe=recipe(teacher, batch=batch),
            features=FEATURES,
            emotions=EMOTIONS,
            train=utterances(0, self.utterances),
            validation=utterances(self.utterances, len(ids)),
            frames=PackHandle((store.key("features", self.inputs),), "generated"),
            encoder=EncoderHandle(
                (store.key("encoder", self.inputs),), "generated", weights="generated"
            ),
        )


def recipe(teacher: str, *, batch: int) -> Recipe:
    """A few updates of a small student, its teacher's features matched."""
    plain = {"epochs": 2, "batch_size": batch, "updates_per_epoch": 4}
    augment = {"time_stretch": 0.1, "frequency_warp": 0.1, "gain_db": 6.0, "time_masks": 1}
    training = {**plain, "augment": augment}
    vit = {"kind": "vertical-vit", "dim": 32, "depth": 1, "heads": 2, "head_dim": 16, "mlp_dim": 32}
    taught = (
        {**vit, "patch_frames": 4}
        if teacher == "vertical-vit"
        # its outputs are in the store, so nobody looks for the encoder
        else {"kind": "pretrained", "root": "generated", "training": plain}
    )
    return Recipe.model_validate(
        {
            "teacher": taught,
            "student": {**vit, "patch_frames": 8},
            "objectives": {"cross_entropy": 1.0, "distillation": 1.0, "feature_map": 1.0},
            "feature_map": {"match": "tokens" if teacher == "vertical-vit" else "pooled"},
            "training": training,
        }
    )


@dataclass(frozen=True)
class FoldRun:
    """A fold run in a process of its own."""

    corpus: Generated
    teacher: str
    batch: int

    def ready(self) -> FoldRun:
        """Once through a corpus of next to nothing, so that all code is loaded."""
        with tempfile.TemporaryDirectory() as folder:
            little = Generated(folder, 2 * self.batch, self.corpus.frames)
            little.write()
            FoldRun(little, self.teacher, self.batch)()
        return self

    def __call__(self) -> tuple[int, int]:
        """Most bytes of anonymous memory, beyond those before, and of files, at any time."""
        task = self.corpus.task(teacher=self.teacher, batch=self.batch)
        with watched() as seen:
            run_fold(task, store=Store(self.corpus.folder), reporter=Silent())
        return max(one for one, _ in seen) - seen[0][0], max(other for _, other in seen)


@contextmanager
def watched(*, seconds: float = 0.002) -> Iterator[list[tuple[int, int]]]:
    """Anonymous memory and pages of files, in bytes, before, every so often, and at the end."""
    _give_back()
    seen = [resident()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(seconds):
            seen.append(resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
        seen.append(resident())


def _give_back() -> None:
    """Let the allocator return what is free, which would hide what is taken next."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident() -> tuple[int, int]:
    """Anonymous memory of this process and its pages of files, in bytes.

    Raises:
        InputError: the system does not say.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError as error:
        raise InputError(
            "memory is measured on Linux only: there is no /proc/self/status"
        ) from error
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    anonymous, files = (int(said[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return anonymous, files


def measure(
    sizes: Sequence[int], batches: Sequence[int], *, folder: Path, frames: int = 300
) -> list[Used]:
    """Run every teacher's fold runs for corpora of ``sizes`` utterances and ``batches``."""
    cores = sorted(os.sched_getaffinity(0))
    found = []
    for size in sizes:
        corpus = Generated(str(folder / str(size)), size, frames)
        written = corpus.write()
        for teacher in TEACHERS:
            for batch in batches:
                job: Job = FoldRun(corpus, teacher, batch)
                ((private, mapped),) = at_once([(job, cores)]).found
                parts = [part / _MIB for part in (written, private, mapped)]
                found.append(Used(teacher, size, batch, frames, *parts))
    return found


def table(rows: Sequence[Used]) -> str:
    """The figures as Markdown."""
    lines = [
        "| teacher | utterances | batch | corpus (MiB) | private (MiB) | mapped (MiB) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.teacher} | {row.utterances} | {row.batch} | {row.corpus:.0f} | {row.private:.1f} "
        f"| {row.mapped:.0f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--utterances", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--frames", type=int, default=300, help="of an utterance; default 300")
    parser.add_argument(
        "--folder", help="where corpora are written; default: among temporary files"
    )
    parser.add_argument("--json", help="a file to write the figures into")
    given = parser.parse_args(arguments)
    if min(*given.utterances, *given.batch, given.frames) < 1:
        print("memory: give numbers of at least 1", file=sys.stderr)
        return InputError.exit_code
    try:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            rows = measure(given.utterances, given.batch, folder=Path(folder), frames=given.frames)
    except UnderstudyError as error:
        print(f"memory: {error}", file=sys.stderr)
        return error.exit_code
    print(table(rows), end="")
    if given.json:
        found = {"rows": [asdict(one) for one in rows]}
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
