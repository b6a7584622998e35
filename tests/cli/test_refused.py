"""What `plan` and `sweep` refuse before any work: nothing is computed and Ray does not start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import small
from tests.cli.said import Said

SEVERAL = "search.minimise=[macs]"
CASES = {
    "a typo in the name of a space": (
        ("search.space=distilation",),
        "search.space: no search space is called 'distilation'; did you mean 'distillation'?",
    ),
    "a typo in the name of a parameter": (
        ("search.parameters={lisens: both}",),
        "search.parameters.lisens: 'lisens' is neither a parameter of the space nor a key of the "
        "recipe; did you mean 'listens'?",
    ),
    "a typo in a range": (
        ("search.parameters={recipe.training.lr: {low: 1e-4, hihg: 1e-3}}",),
        "unknown key 'hihg'; did you mean 'high'?",
    ),
    "a typo in a starting point": (
        ("search.start=[{listen: both}]",),
        "search.start.0.listen: there is no such parameter; did you mean 'listens'?",
    ),
    "a typo in a key of the section": (
        ("search.trails=3",),
        "unknown key 'search.trails' (value 3); did you mean 'trials'?",
    ),
    "a typo in a pruner": (
        ("search.pruner.kind=hlving",),
        "'search.pruner.kind' is 'hlving'; did you mean 'halving'?",
    ),
    "a parameter that the recipe does not have": (
        ("search.parameters={recipe.student.dpth: [1, 2]}",),
        "unknown key 'recipe.student.dpth'",
    ),
    "a value that the recipe cannot have": (
        ("search.parameters={recipe.student.heads: [1, 0]}",),
        "'recipe.student.heads' is 0; it should be greater than or equal to 1",
    ),
    "more CPUs than there are": (
        ("resources.trial.cpus=64",),
        "resources.trial.cpus: not one fold run fits into this machine: it asks for 64 CPUs, and "
        "this machine has 2 CPUs",
    ),
    "a GPU where there is none": (
        ("resources.trial.gpus=4",),
        "resources.trial.gpus: not one fold run fits into this machine: it asks for 4 GPUs, and "
        "this machine has no GPU",
    ),
    "a sampler that there is not": (
        ("search.sampler=cmaes", SEVERAL),
        "'search.sampler' is 'cmaes'; known: gp, grid, nsga2, qmc, random, tpe",
    ),
    "a sampler that would never learn": (
        ("search.sampler=nsga2", SEVERAL),
        "search.sampler 'nsga2' draws its first",
    ),
    "a grid without end": (("search.sampler=grid",), "search.sampler is 'grid', but recipe."),
    "an objective that there is not": (
        ("search.minimise=[latency]",),
        "'search.minimise.0' is 'latency'; known: macs, parameters",
    ),
    "a pruner with several objectives": (
        ("search.pruner={kind: halving}", SEVERAL),
        "search.pruner is 'halving' but there are several objectives",
    ),
    "per-fold selection with several objectives": (
        ("evaluate.selection=per-fold", SEVERAL),
        "evaluate.selection is 'per-fold', which takes the best trial of each fold, but",
    ),
    "nested selection with several objectives": (
        ("evaluate.selection=nested", SEVERAL),
        "evaluate.selection is 'nested', which takes the best trial of each fold, but",
    ),
    "a fold that no corpus has": (
        ("search.folds=[session=9]",),
        "search.folds: there is no fold 'session=9'; the folds of synthetic: session=1, session=2",
    ),
    "a constraint that nothing meets": (
        ("search.constraints={macs: 10}",),
        "search.constraints: of 300 random draws not one has at most macs 10 (the least that was "
        "drawn has ",
    ),
    "a constraint on what is not counted": (
        ("search.constraints={latency: 10}",),
        "'search.constraints.latency'",
    ),
    "runs in a place that there is not": (
        ("tracking.uri=sqlte:///runs.db",),
        "tracking.uri: 'sqlte:///runs.db' is of a kind (sqlte) that runs cannot be kept in",
    ),
    "a password as such": (
        ("tracking.uri=http://me:hidden@host:5000",),
        "tracking.uri holds a password",
    ),
    "a study in a place that there is not": (
        ("search.storage=sqlte:///study.db",),
        "search.storage 'sqlte:///study.db': a study cannot lie there; did you mean 'sqlite'?",
    ),
}


@pytest.mark.parametrize("command", ["plan", "sweep"])
@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_before_any_work(
    tmp_path: Path,
    understudy: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    command: str,
) -> None:
    """The fixture fails where Ray is started."""
    overrides, text = CASES[case]
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("ray.is_initialized", lambda: False)

    said = understudy(command, small.write(tmp_path), *overrides)

    assert said.code == 2
    assert text in said.err
    assert said.err.startswith("understudy: ")
    assert said.err.count("\n") == 1
    for stage in ("artifacts", "journal", "studies"):
        assert not (tmp_path / "store" / stage).exists()
    assert not (tmp_path / "runs.db").exists()
