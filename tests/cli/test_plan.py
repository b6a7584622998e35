"""What `plan` shows, and that a report shows what a sweep found."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from orchestrator.capacity.memory_probe import Need
from orchestrator.cli.plan import show_plan
from orchestrator.plan import plan
from orchestrator.preparation import read_corpora
from orchestrator.store import Store
from orchestrator.sweep.study import open_study
from tests import small
from tests.cli.said import Said


@pytest.fixture(autouse=True)
def a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("orchestrator.capacity.resources_plan.room_bytes", lambda: 9 * 2**30)
    monkeypatch.setattr("orchestrator.capacity.resources_plan.machine_bytes", lambda: 10 * 2**30)


def test_a_plan_is_told_to_people(tmp_path: Path, understudy: Callable[..., Said]) -> None:
    said = understudy("plan", small.write(tmp_path), "evaluate.seeds=[0, 1]")

    assert (said.code, said.err) == (0, "")
    for text in (
        "small: nothing is run",
        "24 utterances of",
        "6 speakers; anger 6, happiness 6, neutral 6, sadness 6",
        "3 trials (tpe, by macro_recall on validation) x 3 folds x 1 seed = 9 fold runs",
        "3 folds of synthetic, utterances in each: train 8, validation 8, test 8",
        "protocol: synthetic | leave-one-session-out (3 folds)",
        "teachers: at most 9, since the space changes the teacher",
        "3 systems (teacher, student-alone, distilled) x 3 folds x 2 seeds = 18 fold runs",
        "teachers: 6; 0 are in the store",
        "students: 12; 0 of them are in the store",
        "a fold run asks for 1 CPU; 2 at once on this machine (CPUs decide)",
        "a fold run needs about 0.1 GiB of memory (measured); 92 fit into this machine's 10 GiB, "
        "of which a tenth is left to the system",
        "teachers, recognisers, encoders, features, validation",
    ):
        assert text in said.out
    assert re.search(r"recipe\.training\.lr: 0\.0002 to 0\.003, logarithmic\n", said.out)
    assert re.search(r"temperature\.value: .* \(conditional: in \d\d % of draws\)\n", said.out)
    assert re.search(
        r"students alone: at least about .* one after another, .* with 2 at once", said.out
    )


NESTED = ("evaluate.selection=nested", "evaluate.nested={inner_folds: 2, trials: 5}")


@pytest.mark.parametrize(
    ("overrides", "texts"),
    [
        (
            ("search.pruner={kind: wilcoxon}", "search.max_hours=6"),
            (
                "no trial begins after 6 hours (search.max_hours), of which 0.0 are used",
                "pruner: wilcoxon (p 0.1) can stop no trial on 3 folds; it needs 5 at least",
            ),
        ),
        (
            ("search.aggregate=rank",),
            ("a trial's score: the mean of its ranks among the trials in each corpus",),
        ),
        (
            ("search.pruner={kind: median}", "search.trials=40", "search.folds=[session=1]"),
            (
                "40 trials (tpe, by macro_recall on validation) x 1 fold x 1 seed = 40 fold runs",
                "only the folds session=1 are searched on",
                "can stop no trial on 1 fold; it needs 3 at least",
            ),
        ),
        (
            ("search.pruner={kind: median}", "search.trials=40"),
            (
                "may stop a trial after fold 2: at least 84 and at most 120 fold runs are left; "
                "how many it stops is not known before",
                ", if none is stopped; with every trial stopped as early as can be, ",
            ),
        ),
        (
            (
                "search.parameters={listens: both, recipe.student.depth: [1, 4]}",
                "search.start=[{recipe.student.depth: 1}]",
                "search.constraints={macs: 15000}",
            ),
            (
                "1 starting point is tried first",
                "listens: fixed at both, by search.parameters\n",
                "recipe.student.depth: one of: 1, 4, added by search.parameters\n",
                "constraints: at most 15,000 macs (drawn: ",
                "of random draws are within, the other trials are counted and not run",
                "pruner: none, so that every trial runs every fold",
            ),
        ),
        (
            (
                "search.space=null",
                "search.sampler=grid",
                "search.parameters={recipe.student.depth: [1, 2]}",
                "search.minimise=[macs]",
            ),
            (
                "2 trials (grid, by macro_recall on validation, few macs), of 2 points of the "
                "grid, x 3 folds",
                "several objectives: the outcome is the set of trials of which none is better",
                "space, by search.parameters alone:",
            ),
        ),
        (
            (*NESTED, "search.pruner={kind: halving, keep: 0.5}"),
            (
                "before it comes a search inside each fold: 3 folds x 5 trials x 2 inner folds x "
                "1 seed = at most 30 fold runs; the sweep above is no part of it",
                "pruner: halving (keep 0.5, first 2) can stop no trial on 2 inner folds; it needs "
                "3 at least",
                "selection: nested (each fold takes the best trial of a search of its own, small,",
            ),
        ),
        (
            ("evaluate.selection=per-fold",),
            (
                "selection per-fold asks for no further search than the sweep above",
                "proposals had seen other folds' validation, so some debt is left",
            ),
        ),
    ],
)
def test_how_it_is_searched_is_told(
    tmp_path: Path,
    understudy: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
    texts: tuple[str, ...],
) -> None:
    monkeypatch.setenv("COLUMNS", "400")

    said = understudy("plan", small.write(tmp_path), *overrides)

    assert (said.code, said.err) == (0, "")
    for text in texts:
        assert text in said.out


def test_how_far_a_sweep_is_is_told(tmp_path: Path, understudy: Callable[..., Said]) -> None:
    at = f"search.storage=journal:{tmp_path}/study.log"
    experiment = small.load(tmp_path, at)
    store = Store(experiment.store)
    study = open_study(experiment, store, read_corpora(experiment, store))
    for state in ("FAIL", "RUNNING"):
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state], user_attrs={"folds": {"synthetic/a": 0.5}}
            )
        )

    same = understudy("plan", small.write(tmp_path), at)
    more = understudy("plan", small.write(tmp_path), at, "search.seeds=[0, 1]")
    other = understudy("plan", small.write(tmp_path), at, "search.metric=accuracy")

    assert "trials so far: 1 failed, 1 begun, which go on; left: 2\n" in same.out
    assert f"study: {tmp_path}/study.log" in same.out
    assert re.search(
        r"goes on with the same 2 trials on more \(.*search\.seeds was \[0\] and is \[0, 1\]\): "
        r"2 of their fold runs are done already",
        more.out,
    )
    assert other.code == 2
    assert "was begun with another" in other.err


def test_a_plan_for_a_machine(tmp_path: Path, understudy: Callable[..., Said]) -> None:
    said = understudy("plan", small.write(tmp_path), "--json", "search.trials=5")

    found = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert found["search"]["fold_runs"] == 15
    assert found["resources"]["at_once"] == 2


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (("resources.student_workers=2",), "asks for 2 x (1 CPU); 1 at once on this machine"),
        (("resources.student_workers=2",), "no times: students are trained by several workers"),
        (("evaluate.systems=[distilled]", "recipe.objectives.distillation=0"), "none of the"),
        (("recipe.knowledge=cross-fitted",), "teachers: 3 and 6 of inner speaker folds"),
        (("protocol.held_speakers=1",), "held "),
        (("resources.concurrent=1",), "1 at once on this machine (resources.concurrent decides)"),
        (("resources.student_workers=2",), "each worker of a fold run needs about 0.1 GiB"),
    ],
)
def test_what_is_special_is_said(
    tmp_path: Path, understudy: Callable[..., Said], overrides: tuple[str, ...], text: str
) -> None:
    said = understudy("plan", small.write(tmp_path), *overrides)

    assert said.code == 0
    assert text in said.out


@pytest.mark.parametrize(
    ("needed", "texts"),
    [
        (
            "3 * 2**30",
            (
                "1 at once on this machine (memory decides)",
                "1 fit into this machine's 10 GiB",
                "memory limits fold runs to 1 at once: each needs about 3.0 GiB (measured)",
            ),
        ),
        (
            "30 * 2**30",
            (
                "0 fit into this machine's 10 GiB",
                "needs about 30 GiB of memory (measured), more than any machine has for it; one at "
                "a time is tried. To need less, lower recipe.training.batch_size, or set "
                "recipe.training.micro_batch",
            ),
        ),
    ],
)
def test_memory_that_is_little_is_told(
    tmp_path: Path,
    understudy: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    needed: str,
    texts: tuple[str, ...],
) -> None:
    code = f"import json; print(json.dumps({{'host': {needed}, 'libraries': 0}}))"
    monkeypatch.setattr("orchestrator.capacity.memory_probe.COMMAND", ("-S", "-E", "-c", code))
    monkeypatch.setattr("orchestrator.capacity.resources_plan.room_bytes", lambda: 5 * 2**30)

    said = understudy("plan", small.write(tmp_path))

    assert said.code == 0
    for text in texts:
        assert text in said.out


@pytest.mark.parametrize(
    ("asked", "texts", "mend"),
    [
        (
            "resources.trial.cpus=4",
            ("asks for 4 CPUs, which this machine does not have", "no times: fold runs ask for 4"),
            "resources.trial.cpus: not one fold run fits into this machine: it asks for 4 CPUs, "
            "and this machine has 2 CPUs; lower that, or set RAY_ADDRESS",
        ),
        (
            "resources.trial.gpus=0.5",
            ("memory of a fold run: not measured; fold runs ask for a GPU, and this machine has",),
            "resources.trial.gpus: not one fold run fits into this machine: it asks for 0.5 GPU, "
            "and this machine has no GPU; lower that",
        ),
        (
            "resources.student_workers=3",
            ("asks for 3 x (1 CPU), which this machine does not have",),
            "it asks for 1 CPU for each of 3 workers, and this machine has 2 CPUs",
        ),
    ],
)
def test_what_this_machine_cannot_hold_is_planned_and_then_wrong(
    tmp_path: Path,
    understudy: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    texts: tuple[str, ...],
    mend: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    said = understudy("plan", small.write(tmp_path), asked)
    as_json = understudy("plan", small.write(tmp_path), asked, "--json")

    assert (said.code, as_json.code) == (2, 2)
    assert mend in said.err
    for text in (*texts, "3 systems (teacher, student-alone, distilled) x 3 folds"):
        assert text in said.out
    assert mend in json.loads(as_json.out)["resources"]["impossible"]


def test_a_running_cluster_is_not_judged_by_this_machine(
    tmp_path: Path, understudy: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")

    said = understudy("plan", small.write(tmp_path), "resources.trial.cpus=64")

    assert (said.code, said.err) == (0, "")
    assert "asks for 64 CPUs; as many at once as the running cluster holds" in said.out


def test_a_gpu_is_told_of_beside_the_machine(tmp_path: Path) -> None:
    found = plan(small.load(tmp_path))
    resources = replace(
        found.resources,
        gpus=0.25,
        decides="GPUs",
        at_once=4,
        need=Need(host=2**30, libraries=0, gpu=15 * 2**30, gpu_total=80 * 2**30),
        fit={"CPUs": 64, "GPUs": 4, "GPU memory": 5, "memory": 9},
    )
    screen = io.StringIO()

    show_plan(Console(file=screen, width=300), replace(found, resources=resources))

    assert "1 CPU and 0.25 GPU; 4 at once on this machine (GPUs decide)\n" in screen.getvalue()
    assert (
        "needs about 1.0 GiB of memory (measured); 9 fit into this machine's 10 GiB, of which a "
        "tenth is left to the system; and about 15 GiB of a GPU's 80 GiB: 5 fit into this machine's"
    ) in screen.getvalue()


def test_draws_that_are_impossible_are_said(
    tmp_path: Path, understudy: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trial of a hundred is found by the plan, not by who checks a few draws."""

    def suggest(trial: optuna.Trial) -> dict[str, object]:
        return {"recipe.training.epochs": trial.suggest_int("epochs", 0, 60)}

    monkeypatch.setattr("orchestrator.sweep.space_checks.get_space", lambda name: suggest)
    monkeypatch.setattr("orchestrator.sweep.space_checks.RECIPES", 1)

    said = understudy("plan", small.write(tmp_path))

    assert said.code == 0
    assert re.search(r"\d % of random draws make no valid recipe.*recipe\.training\.ep", said.out)


def test_what_is_wrong_is_one_paragraph(tmp_path: Path, understudy: Callable[..., Said]) -> None:
    said = understudy("plan", small.write(tmp_path), "search.space=distilation")

    assert (said.code, said.out) == (2, "")
    assert re.fullmatch(r"understudy: search\.space: .*did you mean 'distillation'\?\n", said.err)


def test_a_report_shows_what_the_sweep_found(
    tmp_path: Path, understudy: Callable[..., Said]
) -> None:
    file = small.write(tmp_path)
    experiment = small.load(tmp_path)
    store = Store(experiment.store)
    study = open_study(experiment, store, read_corpora(experiment, store))
    for score in (0.9, 0.5, 0.8):
        folds = {"synthetic/a": score, "synthetic/b": score - 0.01 * score**2}
        trial = optuna.trial.create_trial(
            value=sum(folds.values()) / 2, user_attrs={"folds": folds}
        )
        study.add_trial(trial)

    plain = understudy("report", file, "--plots", tmp_path / "plots")
    written = understudy("report", file, "--markdown")
    as_json = understudy("report", file, "--json")

    assert (plain.code, written.code, as_json.code) == (0, 0, 0)
    assert "0 of 2 other complete trials" in plain.out
    assert "fewer than 8 trials are complete" in plain.out
    assert f"wrote {tmp_path}/plots/small-sweep.png" in plain.out
    assert "There is no evaluation yet" in plain.out
    assert "**small: the next ones**" in written.out
    findings = json.loads(as_json.out)["sweep"]["findings"]
    assert [one["number"] for one in findings["comparisons"]] == [2, 1]
