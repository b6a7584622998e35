"""What a fold run needs: measured in a process of its own, remembered, done without if need be."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.capacity import memory_probe
from orchestrator.capacity.memory_probe import FILE, MemoryProbe, Need, outline_of
from orchestrator.capacity.miniature import Outline, shrunk
from orchestrator.experiment.recipe import Recipe
from orchestrator.preparation import read_corpora
from orchestrator.store import Store
from tests.training.tiny import RICH, experiment

OUTLINE = Outline(
    recipes=(),
    features={},
    classes=4,
    utterances=10,
    seconds=1.0,
    unlabelled_seconds=0.0,
    threads=1,
    gpu=False,
    deterministic=True,
)
SAYS = "import json; print('a library greets'); print(json.dumps({}))"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands of processes that were started."""
    commands: list[list[str]] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        commands.append(command)
        return popen(command, **options)

    monkeypatch.setattr("subprocess.Popen", start)
    return commands


def says(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Another process in the place of the one that measures."""
    monkeypatch.setattr(memory_probe, "COMMAND", ("-S", "-E", "-c", code))


def test_what_was_measured_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
) -> None:
    says(monkeypatch, SAYS.replace("{}", "{'host': 7, 'libraries': 3}"))
    with MemoryProbe(OUTLINE, memory=tmp_path) as first:
        assert first.need() == first.need() == Need(host=7, libraries=3)
    with MemoryProbe(OUTLINE, memory=tmp_path) as second:
        assert not second.running
        assert second.need() == Need(host=7, libraries=3)
    assert len(started) == 1

    # another fold run is measured, and the first not forgotten
    for outline in (replace(OUTLINE, seconds=2.0), OUTLINE):
        with MemoryProbe(outline, memory=tmp_path) as probe:
            assert probe.need() is not None
    assert len(started) == 2


@pytest.mark.parametrize("version", ["VERSION", "orchestrator.__version__"])
def test_another_version_measures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]], version: str
) -> None:
    with MemoryProbe(OUTLINE, memory=tmp_path) as probe:
        probe.need()
    monkeypatch.setattr(f"orchestrator.capacity.memory_probe.{version}", "another")
    with MemoryProbe(OUTLINE, memory=tmp_path) as probe:
        probe.need()

    assert len(started) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"host": 1, "cellar": 2}}'])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)

    with MemoryProbe(OUTLINE, memory=tmp_path) as probe:
        assert probe.need() is not None
    assert len(json.loads((tmp_path / FILE).read_text())) == 1


def test_a_store_that_cannot_be_written_costs_the_memory_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with MemoryProbe(OUTLINE, memory=tmp_path / "file") as probe:
        assert probe.need() is not None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('no weights')", "it ended with 1: no weights"),
        ("import os; os.kill(os.getpid(), 9)", "it ended with -9: it said nothing"),
        ("print('{\"roof\": 1}')", "it ended with 0: it said nothing"),
        ("pass", "it ended with 0: it said nothing"),
    ],
)
def test_a_measurement_that_fails_is_said_and_done_without(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: str,
    reason: str,
) -> None:
    says(monkeypatch, code)

    with MemoryProbe(OUTLINE, memory=tmp_path) as probe:
        assert probe.need() is None
        assert probe.need() is None

    assert probe.unmeasured == f"measuring a fold run's memory failed ({reason})"
    (line,) = caplog.messages
    assert line == f"{probe.unmeasured}; fold runs are packed by CPUs and GPUs alone"
    assert not (tmp_path / FILE).exists()


def test_a_process_that_cannot_start_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    with MemoryProbe(OUTLINE, memory=tmp_path) as probe:
        assert probe.need() is None

    assert "/nowhere/python" in probe.unmeasured


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, "import time; time.sleep(60)")

    began = time.monotonic()
    with MemoryProbe(OUTLINE, memory=tmp_path) as probe:
        assert probe.running
        assert probe.need(patience=0.1) is None
        assert not probe.running

    assert "more than 0.1 s" in probe.unmeasured
    assert time.monotonic() - began < 20.0


def test_who_does_not_wait_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, "import time; time.sleep(60)")

    with MemoryProbe(OUTLINE, memory=tmp_path) as probe:
        assert probe.running

    assert not probe.running


def test_a_gpu_that_is_not_here_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    with MemoryProbe(replace(OUTLINE, gpu=True), memory=tmp_path) as probe:
        assert probe.need() is None

    assert probe.unmeasured == "fold runs ask for a GPU, and this machine has none"
    assert started == []


def outlined(folder: Path, changes: Mapping[str, Any] | None = None, **sections: Any) -> Outline:
    wanted = experiment(changes, **sections)
    return outline_of(wanted, read_corpora(wanted, Store(folder)))


def test_an_outline_has_the_longest_utterances_and_every_ablation(tmp_path: Path) -> None:
    ablations = {
        "slower": {"recipe.training.lr": 0.1},
        "wider": {"recipe.student.dim": 16},
        "longer": {"recipe.training.epochs": 99},
    }
    wanted = experiment(
        {"recipe.unlabelled": {"kind": "mixed"}}, **RICH, evaluate={"ablations": ablations}
    )
    (prepared,) = read_corpora(wanted, Store(tmp_path))

    found = outline_of(wanted, [prepared])

    assert found.seconds == prepared.corpus.table["duration"].max()
    assert prepared.unlabelled is not None
    (crowd,) = prepared.unlabelled.corpora
    assert found.unlabelled_seconds == crowd.table["duration"].max()
    assert (found.utterances, found.classes, found.threads) == (32, 4, 1)
    # neither more epochs nor another rate is more memory
    assert [recipe["student"]["dim"] for recipe in found.recipes] == [8, 16]


def test_epochs_and_curricula_are_measured_once(tmp_path: Path) -> None:
    curriculum = {"recipe.curriculum": {"kind": "data"}, "recipe.training.epochs": 77}

    assert outlined(tmp_path, curriculum) == outlined(tmp_path)


FORKS = """\
import json, os, sys
import orchestrator.sweep.trial
import torch._dynamo  # which AdamW asks for
from orchestrator.capacity.memory_probe import measure
from orchestrator.capacity.miniature import Outline

for line in sys.stdin:
    if not os.fork():
        print(measure(Outline.of_text(line)).host, flush=True)
        os._exit(0)
    os.wait()
"""
"""Several measurements for the price of one start."""


@pytest.mark.slow
def test_the_need_grows_with_batch_and_length_and_shrinks_with_micro_batches(
    tmp_path: Path,
) -> None:
    vit = {"kind": "vertical-vit", "dim": 64, "depth": 3, "mlp_dim": 64, "patch_frames": 1}

    def wide(seconds: float, **training: int) -> Outline:
        recipe = Recipe.model_validate({"student": vit, "training": training})
        return replace(
            outlined(tmp_path), recipes=(shrunk(recipe),), seconds=seconds, utterances=1000
        )

    outlines = {
        "base": wide(2.0, batch_size=64),
        "longer": wide(6.0, batch_size=64),
        "larger": wide(2.0, batch_size=256),
        "micro": wide(2.0, batch_size=256, micro_batch=16),
    }

    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        input="".join(one.text() + "\n" for one in outlines.values()),
        capture_output=True,
        text=True,
        check=True,
    )

    found = dict(zip(outlines, map(int, done.stdout.split()), strict=True))
    # one run and the next of the same differ by tens of MiB
    assert found["longer"] > found["base"] + 80 * 2**20
    assert found["larger"] > found["base"] + 80 * 2**20
    assert found["micro"] < found["larger"] - 80 * 2**20


@pytest.mark.slow
def test_a_process_of_its_own_measures_and_says_it(tmp_path: Path) -> None:
    outline = replace(outlined(tmp_path), seconds=0.5)

    done = subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.capacity.memory_probe"],
        input=outline.text(),
        capture_output=True,
        text=True,
        check=True,
    )

    need = Need(**json.loads(done.stdout))
    # Python, torch and Ray alone hold some 200 MiB or more
    assert 100 * 2**20 < need.libraries < need.host < 4 * 2**30
    assert (need.gpu, need.gpu_total) == (0, 0)


def test_more_threads_than_there_are_processors_are_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
) -> None:
    """A thousand threads on two processors would hold up everybody for minutes."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    with MemoryProbe(replace(OUTLINE, threads=3), memory=tmp_path) as probe:
        assert probe.need() is None

    assert not started
    assert probe.unmeasured == "fold runs ask for 3 CPUs, this machine has 2"


def test_what_the_user_says_is_not_measured(tmp_path: Path, started: list[list[str]]) -> None:
    wanted = experiment({"resources": {"trial": {"memory_gib": 1.5}}})
    prepared = read_corpora(wanted, Store(tmp_path))

    with MemoryProbe.of(wanted, prepared, memory=tmp_path) as probe:
        assert not probe.running
        said = probe.need()

    assert started == []
    assert said is not None
    assert (said.host, said.how) == (3 * 2**29, "as resources.trial.memory_gib says")
