"""Jobs in fresh processes, each pinned to its cores, started together and timed."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import UnderstudyError


class Job(Protocol):
    """Work for one process; picklable."""

    def ready(self) -> Callable[[], Any]:
        """Import and warm up; the work proper, which is timed."""


@dataclass(frozen=True)
class Timed:
    """What jobs that ran together gave.

    Attributes:
        seconds: from the first start to the last end.
        peaks: most memory resident at any time in MiB, of each process.
        found: what each job returned.
    """

    seconds: float
    peaks: tuple[float, ...]
    found: tuple[Any, ...]


def at_once(jobs: Sequence[tuple[Job, Sequence[int]]]) -> Timed:
    """Run every job in a process of its own, on the cores given with it.

    Raises:
        UnderstudyError: a job failed; its traceback is the message.
    """
    # What others have left for the disk to write is not ours to wait for.
    os.sync()
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(len(jobs))
    running = []
    for job, cores in jobs:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(job, tuple(cores), gate, there))
        process.start()
        there.close()
        running.append((process, here))
    said = []
    for process, here in running:
        try:
            said.append(here.recv())
        except EOFError:
            said.append("it ended without a word, killed perhaps")
            gate.abort()
        process.join()
    wrong = [one for one in said if isinstance(one, str)]
    if wrong:
        raise UnderstudyError(f"a process of the benchmark failed: {wrong[0]}")
    starts, ends, peaks, found = zip(*said, strict=True)
    return Timed(seconds=max(ends) - min(starts), peaks=peaks, found=found)


def _run(job: Job, cores: Sequence[int], gate: Any, answer: Connection) -> None:
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        work = job.ready()
        gate.wait()
        start = time.monotonic()
        found = work()
        answer.send((start, time.monotonic(), _peak(), found))
    except Exception:
        gate.abort()
        answer.send(traceback.format_exc())


def _peak() -> float:
    """Most memory that was resident in this process at any time, in MiB."""
    try:
        # getrusage counts, of a process that was forked, its parent's memory too
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / 2**20 if sys.platform == "darwin" else most / 1024
