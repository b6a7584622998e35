"""Whole students fitted by two and three processes are the one that a single process fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import orchestrator.training.student as student_module
from orchestrator.store import Store
from orchestrator.training.checkpoint import Checkpoint
from orchestrator.training.data import Batch, FrameData
from orchestrator.training.files import HISTORY, read_json, read_weights
from orchestrator.training.knowledge import Knowledge, load_knowledge
from orchestrator.training.ranks import ALONE, Ranks
from orchestrator.training.state import fold_run_state
from orchestrator.training.student import fit_student
from orchestrator.training.task import FoldTask, Silent
from orchestrator.training.teacher import teacher_artifact
from tests.training.attending import AttendingHome
from tests.training.tiny import TRAINING, Home

UPDATES = 20
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Relative, of losses."""
EACH: dict[str, Any] = {
    # an epoch is one update, so that the history tells of each
    "training__epochs": UPDATES,
    "training__updates_per_epoch": 1,
    # as is usual: AdamW makes steps of noise where a gradient is next to nothing
    "training__lr": 5e-4,
    "training__augment": {"noise": 0.1, "time_masks": 1, "crop_seconds": 0.8},
    "training__weight_decay": 0.1,
    "student__dropout": 0.0,
}
OBJECTIVES = {"cross_entropy": 1.0, "distillation": 0.5, "feature_map": 1.0}
CONTRAST: dict[str, Any] = {"objectives": {**OBJECTIVES, "supervised_contrastive": 0.5}}
BILEVEL: dict[str, Any] = {"kind": "bilevel", "interval": 2}
HOTTER: dict[str, Any] = {"kind": "curriculum", "epochs": 4, "lr": 0.5}
LAST: dict[str, Any] = {
    # sixteen utterances: three batches of five, and one of which only the first worker has a part
    "training__batch_size": 5,
    "training__updates_per_epoch": None,
    "training__epochs": UPDATES // 4,
}
CASES: dict[str, dict[str, Any]] = {
    "taught": {"feature_map__match": "tokens", "training__average_decay": 0.5},
    "contrast": {**CONTRAST, "training__batches": "class-balanced"},
    "micro-batches": {
        **CONTRAST,
        "training__batches": "class-balanced",
        "training__micro_batch": 3,
    },
    "one temperature": {"temperature": HOTTER},
    "own temperatures": {"temperature": {**HOTTER, "per_instance": True}},
    "bilevel": {**CONTRAST, "meta": BILEVEL},
    "finite difference": {**CONTRAST, "meta": {**BILEVEL, "gradient": "finite-difference"}},
    "learning to teach": {
        **CONTRAST,
        "meta": {"kind": "learning-to-teach", "interval": 2, "lr": 1e-3},
    },
    "unlabelled": {"unlabelled": {"kind": "mixed", "batch_size": 5}},
    "own loss": {"curriculum": {"kind": "data", "difficulty": "own-loss"}},
    "last batch": {**CONTRAST, **LAST, "meta": BILEVEL},
    "last batch, hotter": {**LAST, "temperature": HOTTER},
    "similarity": {"attention_transfer__match": "similarity", "unlabelled": {"kind": "mixed"}},
}
RUNS = (
    *((name, torch.float64, 2) for name in CASES),
    *((name, torch.float32, 2) for name in ("taught", "contrast", "bilevel", "learning to teach")),
    *((name, torch.float64, 3) for name in ("contrast", "bilevel", "last batch", "similarity")),
)
LIKE = {"micro-batches": "contrast"}
"""What one worker is to fit that hears whole batches."""
PROCESSES = 3
pytestmark = pytest.mark.slow  # processes have to start, and their networks to be made


@contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Networks are made in ``dtype``, hear frames of it, and have the teacher's word in it."""
    heard, before = FrameData.batch, torch.get_default_dtype()
    loaded = student_module.load_knowledge

    def batch(self: FrameData, rows: Tensor, *, epoch: int | None = None) -> Batch:
        found = heard(self, rows, epoch=epoch)
        inputs = tuple(
            part.to(dtype) if part.is_floating_point() else part for part in found.inputs
        )
        return dataclasses.replace(found, inputs=inputs)

    def knowledge(*args: Any, **options: Any) -> Knowledge:
        # whose quotient by a temperature would be summed in single precision
        known = loaded(*args, **options)
        return dataclasses.replace(known, logits=known.logits.to(dtype))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameData, "batch", batch)
        patch.setattr(student_module, "load_knowledge", knowledge)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@dataclass(frozen=True)
class Plan:
    """What the processes are to fit."""

    tasks: dict[str, FoldTask]
    stores: dict[str, Path]
    folder: Path

    def place(self, name: str, dtype: torch.dtype, ranks: Ranks) -> Path:
        """Where a rank leaves what it fitted."""
        return self.folder / f"{name}-{str(dtype)[-2:]}-{ranks.rank}-of-{ranks.world}"

    def fit(self, name: str, dtype: torch.dtype, ranks: Ranks) -> None:
        """Fit a student as one rank of its workers, without a checkpoint."""
        task, folder = self.tasks[name], self.place(name, dtype, ranks)
        folder.mkdir()
        none = cast(Checkpoint, None)
        with fold_run_state(seed=task.seed, threads=1), computing_in(dtype):
            fit_student(task, Store(self.stores[name]), none, None, folder, Silent(), ranks)


def _process(number: int, plan: Plan) -> None:
    """In groups of two and of three, and whoever is in no group fits alone meanwhile."""
    torch.set_num_threads(1)
    for world in (2, 3):
        if number < world:
            meeting = f"file://{plan.folder}/meeting{world}"
            torch.distributed.init_process_group(
                "gloo", init_method=meeting, rank=number, world_size=world
            )
            for name, dtype, workers in RUNS:
                if workers == world:
                    plan.fit(name, dtype, Ranks.current())
            torch.distributed.destroy_process_group()
        else:
            for name, dtype in dict.fromkeys(run[:2] for run in RUNS):
                plan.fit(name, dtype, ALONE)


@pytest.fixture(scope="module")
def plan(home: Home, attending: AttendingHome, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """All of them, fitted."""
    folder = tmp_path_factory.mktemp("workers")
    home.store(folder / "home")
    attending.store(folder / "attending")
    tasks = {
        name: attending.task(**EACH, **recipe)
        if name == "similarity"
        # one teacher for all
        else home.rich_task(**{**EACH, "teacher__training": TRAINING, **recipe})
        for name, recipe in CASES.items()
    }
    stores = {name: folder / ("attending" if name == "similarity" else "home") for name in CASES}
    for name, task in tasks.items():
        if task.recipe.needs_teacher:
            # what workers find in the store, since two of them would fit it twice
            store = Store(stores[name])
            load_knowledge(task, store, reporter=Silent())
            teacher_artifact(task, store, train=task.train, reporter=Silent())
    made = Plan(tasks, stores, folder)
    torch.multiprocessing.spawn(_process, args=(made,), nprocs=PROCESSES)
    return made


def fitted(folder: Path) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """The history of losses and the weights that a rank left."""
    history: list[dict[str, float]] = read_json(folder / HISTORY)
    return history, read_weights(folder)[0]


@pytest.mark.parametrize(("name", "dtype", "world"), RUNS)
def test_workers_fit_the_student_that_one_fits(
    plan: Plan, name: str, dtype: torch.dtype, world: int
) -> None:
    """Losses, learned values and temperatures of every update, and the weights in the end."""
    one, weights = fitted(plan.place(LIKE.get(name, name), dtype, ALONE))
    ranks = [fitted(plan.place(name, dtype, Ranks(rank, world))) for rank in range(world)]
    tolerance = TOLERANCE[dtype]
    assert len(one) == plan.tasks[name].recipe.training.epochs
    # it has learned something
    assert abs(one[-1]["train/cross_entropy"] - one[0]["train/cross_entropy"]) > 1e-3

    for history, found in ranks:
        for update, (row, expected) in enumerate(zip(history, one, strict=True)):
            assert row.keys() == expected.keys()
            for key, value in expected.items():
                # validation is scored in single precision
                close = 1e-5 if key.startswith("validation") else tolerance
                assert row[key] == pytest.approx(value, rel=close, abs=close), (key, update)
        for key, value in weights.items():
            torch.testing.assert_close(
                found[key], value, rtol=10 * tolerance, atol=10 * tolerance, msg=key
            )
            # all workers have the same, to the bit
            assert torch.equal(found[key], ranks[0][1][key]), key
