"""The session that commands compute on: how many fold runs it holds, and its shards."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
from rich.console import Console

from orchestrator.capacity.machine_memory import room_bytes
from orchestrator.capacity.memory_probe import MemoryProbe, Need
from orchestrator.cluster_session import (
    ResourceError,
    connect,
    fold_runs_at_once,
    packed,
    shards_on_ray,
)
from orchestrator.errors import CorpusError
from orchestrator.experiment.experiment import Resources
from orchestrator.progress import Progress
from tests.capacity.test_memory_probe import OUTLINE, says

GIB = 2**30


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small machine, a large one, and one that has left."""
    found = [
        {"Alive": True, "Resources": {"CPU": 64.0, "memory": 3.0 * GIB}},
        {"Alive": True, "Resources": {"CPU": 2.0, "memory": 64.0 * GIB}},
        {"Alive": False, "Resources": {"CPU": 64.0, "memory": 64.0 * GIB}},
    ]
    monkeypatch.setattr("ray.nodes", lambda: found)


@pytest.mark.usefixtures("nodes")
def test_memory_limits_what_each_node_holds() -> None:
    need = Need(host=GIB, libraries=0)

    assert fold_runs_at_once(Resources()).at_once == 66
    assert fold_runs_at_once(Resources(), need).at_once == 3 + 2
    assert fold_runs_at_once(Resources(concurrent=4), need).at_once == 4


@pytest.mark.usefixtures("nodes")
def test_cpus_that_no_node_has_are_refused_whatever_the_memory() -> None:
    wide = Resources.model_validate({"trial": {"cpus": 65}})

    with pytest.raises(ResourceError, match=r"1 x 65 CPUs .* has 66 CPUs and 0 GPUs on 2 nodes"):
        fold_runs_at_once(wide, Need(host=GIB, libraries=0))


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize(
    ("code", "at_once", "line"),
    [
        (f'print(\'{{"host": {GIB}, "libraries": 1}}\')', 5, "memory limits fold runs to 5 at"),
        (f'print(\'{{"host": {99 * GIB}, "libraries": 1}}\')', 1, "one at a time is tried"),
        ('print(\'{"host": 1, "libraries": 1}\')', 66, ""),
        ("raise SystemExit(1)", 66, ""),
    ],
)
def test_packing_waits_for_the_measurement_and_says_what_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, at_once: int, line: str
) -> None:
    says(monkeypatch, f"import time; time.sleep(0.2); {code}")
    screen = io.StringIO()

    with (
        MemoryProbe(OUTLINE, memory=tmp_path) as probe,
        Progress("test", Console(file=screen, width=200)) as progress,
    ):
        slots = packed(Resources(), probe, progress)

    assert slots.at_once == at_once
    assert "measuring the memory of a fold run" in screen.getvalue()
    assert line in screen.getvalue()
    assert ("memory" in screen.getvalue().replace("measuring the memory", "")) is bool(line)


def test_a_session_of_our_own_has_the_room_that_a_plan_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: dict[str, object] = {}
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **options: told.update(options))

    connect(Resources())
    assert told["_memory"] == room_bytes()

    # a cluster has what its nodes were started with
    told.clear()
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    connect(Resources())
    assert "_memory" not in told


@dataclass(frozen=True)
class Shard:
    """Leaves a mark each time it is made; may fail, or take its process with it, at first."""

    folder: Path
    name: str
    fails: str = ""

    def __call__(self) -> bool:
        done = self.folder / f"{self.name}.done"
        if done.exists():
            return True
        tries = self.folder / self.name
        with tries.open("a") as file:
            file.write("x")
        if self.fails == "always" or (self.fails and tries.read_text() == "x"):
            if self.fails == "killed":
                os._exit(1)
            raise CorpusError(f"{self.name} cannot be read")
        done.touch()
        return False

    @property
    def tries(self) -> int:
        return len((self.folder / self.name).read_text())


@pytest.fixture
def progress() -> Iterator[Progress]:
    with Progress("test", Console(file=io.StringIO())) as shown:
        yield shown


@pytest.mark.usefixtures("ray_cluster")
def test_a_shard_whose_worker_is_killed_is_made_again_and_no_other(
    tmp_path: Path, progress: Progress
) -> None:
    assert ray.is_initialized()
    shards = [Shard(tmp_path, "a"), Shard(tmp_path, "b", "killed"), Shard(tmp_path, "c")]

    shards_on_ray(Resources(), progress)("shards", shards)

    assert [shard.tries for shard in shards] == [1, 2, 1]
    assert (progress.computed, progress.reused, progress.done) == (3, 0, 3)


@pytest.mark.usefixtures("ray_cluster")
def test_a_shard_that_fails_loses_itself_and_the_next_call_makes_what_is_missing(
    tmp_path: Path, progress: Progress
) -> None:
    shards = [Shard(tmp_path, name, "once" if name in "be" else "") for name in "abcdef"]
    run = shards_on_ray(Resources(), progress)

    with pytest.raises(CorpusError, match="[be] cannot be read"):
        run("shards", shards)
    made = {shard.name for shard in shards if (tmp_path / f"{shard.name}.done").exists()}
    assert made == set("acdf")
    assert (progress.computed, progress.failed) == (4, 2)
    run("shards", shards)

    assert (progress.computed, progress.reused) == (2, 4)
    assert [shard.tries for shard in shards] == [1, 2, 1, 1, 2, 1]
