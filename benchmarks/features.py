"""How fast audio is checked and packed, beside the plain loop over files and kaldi-native-fbank.

Run from a checkout, on a machine that does nothing else::

    python -m benchmarks.features
    python -m benchmarks.features --root CORPUS --json features.json

All systems make log-Mel frames (16 kHz, 25 ms window, 10 ms hop) of the same files:

- ours: check (decode, judge and hash every file, in threads) and pack (decode again, log-Mel, write
  the sealed shards of a store, in as many processes as cores);
- loop: ``soundfile.read``, torchaudio's ``MelSpectrogram`` and the logarithm, a process a core;
- loop, kept: the same, and ``numpy.save`` of each file's frames;
- kaldi: ``soundfile.read`` and kaldi-native-fbank, a process a core, if it is installed.

The loops and kaldi check nothing and hash nothing; only ours and the second loop keep frames. Every
run has fresh processes, pinned to their cores and warmed up before the clock starts. Systems take
turns, and a ratio is to the loop of the same turn.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import soundfile

from benchmarks.pinned import Job, Timed, at_once
from benchmarks.systems import Check, Kaldi, Loop, Pack, make_files
from orchestrator.corpora.audio import Heard
from orchestrator.corpora.table import Corpus
from orchestrator.errors import InputError, UnderstudyError
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.store import environment_inputs


@dataclass(frozen=True)
class Run:
    """One system's turn.

    Attributes:
        system: ``ours``, ``ours: check``, ``ours: pack``, ``loop``, ``loop, kept`` or ``kaldi``.
        seconds: of wall time.
        peak: MiB, of the largest process.
    """

    system: str
    cores: int
    turn: int
    files: int
    seconds: float
    peak: float


def ours(
    paths: Sequence[str], *, section: LogMelFeatures, cores: Sequence[int], folder: Path, turn: int
) -> list[Run]:
    """Check and pack ``paths`` on ``cores``, in a new store under ``folder``.

    Raises:
        InputError: no file passed the check.
    """

    def run(name: str, timed: Timed) -> Run:
        return Run(name, len(cores), turn, len(paths), timed.seconds, max(timed.peaks))

    check = at_once([(Check(paths), cores)])
    rows = [
        (f"{number:07}", path, heard.duration, heard.content)
        for number, (path, heard) in enumerate(zip(paths, check.found[0], strict=True))
        if isinstance(heard, Heard)
    ]
    if not rows:
        raise InputError(f"none of the {len(paths)} files passed the check; name others by --root")
    table = pd.DataFrame(rows, columns=["id", "path", "duration", "content"])
    corpus = Corpus("benchmark", "table", table.assign(speaker="", session="", emotion=""))
    store = folder / "store"
    try:
        jobs: list[tuple[Job, Sequence[int]]] = [
            (Pack(corpus, section, str(store), part, len(cores)), [core])
            for part, core in enumerate(cores)
        ]
        pack = at_once(jobs)
    finally:
        shutil.rmtree(store, ignore_errors=True)
    parts = [run("ours: check", check), run("ours: pack", pack)]
    seconds, peak = sum(one.seconds for one in parts), max(one.peak for one in parts)
    return [Run("ours", len(cores), turn, len(paths), seconds, peak), *parts]


def other(
    name: str,
    paths: Sequence[str],
    *,
    section: LogMelFeatures,
    cores: Sequence[int],
    folder: Path,
    turn: int,
) -> Run:
    """One turn of ``loop``, ``loop, kept`` or ``kaldi``, its files dealt to a process a core."""
    kept = folder / "kept"
    kept.mkdir()
    jobs: list[tuple[Job, Sequence[int]]] = []
    for part, core in enumerate(cores):
        own = paths[part :: len(cores)]
        job: Job = Loop(own, section, str(kept) if name == "loop, kept" else None)
        jobs.append((Kaldi(own, section) if name == "kaldi" else job, [core]))
    try:
        timed = at_once(jobs)
    finally:
        shutil.rmtree(kept)
    return Run(name, len(cores), turn, len(paths), timed.seconds, max(timed.peaks))


def measure(
    paths: Sequence[str],
    *,
    section: LogMelFeatures,
    cores: Sequence[int],
    turns: int,
    folder: Path,
) -> tuple[list[Run], list[Run]]:
    """All turns of all systems, on one core and on all; and ours on a quarter and half the files.

    Args:
        folder: for the stores, which are removed again.

    Returns:
        The runs to compare, and those that show memory against the number of files.
    """
    others = [
        "loop",
        "loop, kept",
        *(["kaldi"] if importlib.util.find_spec("kaldi_native_fbank") else []),
    ]
    systems = [*others, "ours"]
    runs: list[Run] = []
    for turn in range(turns):
        # Each turn begins with another, since what has run before is not without effect.
        first = turn % len(systems)
        for some in [cores[:1], cores] if len(cores) > 1 else [cores]:
            for name in systems[first:] + systems[:first]:
                if name == "ours":
                    runs += ours(paths, section=section, cores=some, folder=folder, turn=turn)
                    continue
                runs.append(
                    other(name, paths, section=section, cores=some, folder=folder, turn=turn)
                )
    # In the order of the tables, whoever began.
    runs.sort(
        key=lambda run: (run.cores, [*systems, "ours: check", "ours: pack"].index(run.system))
    )
    memory = []
    for files in sorted({max(1, len(paths) // 4), max(1, len(paths) // 2)} - {len(paths)}):
        memory += ours(paths[:files], section=section, cores=cores[:1], folder=folder, turn=0)
    memory += [run for run in runs if (run.cores, run.turn) == (1, 0)]
    return runs, [run for run in memory if run.system in ("ours: check", "ours: pack")]


@dataclass(frozen=True)
class Speed:
    """A system on some cores, over all turns.

    Attributes:
        hours: of audio per second of wall time and core, the median.
        ratio: of speed to the loop's in the same turn on as many cores, the median.
        lowest: of the ratios.
        highest: of the ratios.
        peak: MiB of memory, of the largest process in any turn.
    """

    system: str
    cores: int
    hours: float
    ratio: float
    lowest: float
    highest: float
    peak: float


def summarise(runs: Sequence[Run], *, hours: float) -> list[Speed]:
    """Speeds by system and cores, of runs over ``hours`` of audio."""
    loop = {(run.cores, run.turn): run.seconds for run in runs if run.system == "loop"}
    result = []
    for cores, system in dict.fromkeys((run.cores, run.system) for run in runs):
        mine = [run for run in runs if (run.cores, run.system) == (cores, system)]
        ratios = [loop[cores, run.turn] / run.seconds for run in mine]
        result.append(
            Speed(
                system=system,
                cores=cores,
                hours=statistics.median(hours / run.seconds / cores for run in mine),
                ratio=statistics.median(ratios),
                lowest=min(ratios),
                highest=max(ratios),
                peak=max(run.peak for run in mine),
            )
        )
    return result


def tables(speeds: Sequence[Speed], memory: Sequence[Run]) -> str:
    """Both results as Markdown."""
    lines = [
        "| system | cores | hours of audio per second, in all | per core "
        "| times the loop (lowest to highest) | peak MiB a process |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.system} | {one.cores} | {one.hours * one.cores:.2f} | {one.hours:.2f} "
        f"| {one.ratio:.2f} ({one.lowest:.2f} to {one.highest:.2f}) | {one.peak:.0f} |"
        for one in speeds
    ]
    lines += ["", "| files | check, peak MiB | pack, peak MiB |", "| ---: | ---: | ---: |"]
    for files in dict.fromkeys(run.files for run in memory):
        check, pack = (run.peak for run in memory if run.files == files)
        lines.append(f"| {files} | {check:.0f} | {pack:.0f} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--files", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--root", type=Path, help="a folder of WAV files (default: make them)")
    parser.add_argument("--cores", type=int, help="how many (default: all this process may use)")
    parser.add_argument("--turns", type=int, default=3, help="of every system (default: 3)")
    parser.add_argument("--bins", type=int, default=64, help="of the Mel scale (default: 64)")
    parser.add_argument("--json", type=Path, help="write everything measured there")
    given = parser.parse_args(arguments)
    try:
        if min(given.files, given.turns, given.cores or 1) < 1:
            raise InputError("--files, --turns and --cores must be at least 1")
        may = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        section = LogMelFeatures(bins=given.bins)
        with tempfile.TemporaryDirectory(prefix="understudy-benchmark-") as folder:
            place = Path(folder)
            paths = _paths(given.root, given.files, place)
            hours = sum(_seconds(path) for path in paths) / 3600
            print(f"{len(paths)} files, {hours:.2f} hours of audio", file=sys.stderr)
            runs, memory = measure(
                paths,
                section=section,
                cores=may[: given.cores or len(may)],
                turns=given.turns,
                folder=place,
            )
    except UnderstudyError as error:
        print(f"features: {error}", file=sys.stderr)
        return error.exit_code
    speeds = summarise(runs, hours=hours)
    print(tables(speeds, memory), end="")
    if given.json is not None:
        result = {
            "files": len(paths),
            "hours": hours,
            "bins": section.bins,
            "environment": environment_inputs("cpu"),
            "speeds": [asdict(one) for one in speeds],
            "runs": [asdict(run) for run in runs],
            "memory": [asdict(run) for run in memory],
        }
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def _paths(root: Path | None, files: int, folder: Path) -> list[str]:
    if root is None:
        audio = folder / "audio"
        audio.mkdir()
        paths = make_files(audio, count=files)
    else:
        paths = sorted(str(path) for path in root.rglob("*.wav"))[:files]
        if not paths:
            raise InputError(f"--root: there are no WAV files under {root}")
    # Whoever comes first would else wait for the disk that the others find in memory.
    for path in paths:
        Path(path).read_bytes()
    os.sync()
    return paths


def _seconds(path: str) -> float:
    about = soundfile.info(path)
    return float(about.frames / about.samplerate)


if __name__ == "__main__":
    sys.exit(main())
