"""What `plan` shows, and that a report shows what a sweep found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from orchestrator.preparation import read_corpora
from orchestrator.store import Store
from orchestrator.sweep import probing
from orchestrator.sweep.study import open_study
from tests import small
from tests.cli.said import Said


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "DRAWS", 40)
    monkeypatch.setattr("os.cpu_count", lambda: 2)


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
        "a fold run asks for 1 CPU; 2 at once on this machine",
        "teachers, recognisers, encoders, features, validation",
    ):
        assert text in said.out
    assert re.search(r"recipe\.training\.lr: 0\.0002 to 0\.003, logarithmic\n", said.out)
    assert re.search(r"temperature\.value: .* \(conditional: in \d\d % of draws\)\n", said.out)
    assert re.search(
        r"students alone: at least about .* one after another, .* with 2 at once", said.out
    )


def test_a_plan_for_a_machine(tmp_path: Path, understudy: Callable[..., Said]) -> None:
    said = understudy("plan", small.write(tmp_path), "--json", "search.trials=5")

    found = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert found["search"]["fold_runs"] == 15
    assert found["resources"]["at_once"] == 2


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (("resources.trial.cpus=4",), "asks for 4 CPUs, which this machine does not have"),
        (("resources.student_workers=2",), "asks for 2 x (1 CPU); 1 at once on this machine"),
        (("resources.student_workers=2",), "no times: students are trained by several workers"),
        (("evaluate.systems=[distilled]", "recipe.objectives.distillation=0"), "none of the"),
        (("recipe.knowledge=cross-fitted",), "teachers: 3 and 6 of inner speaker folds"),
        (("protocol.held_speakers=1",), "held "),
    ],
)
def test_what_is_special_is_said(
    tmp_path: Path, understudy: Callable[..., Said], overrides: tuple[str, ...], text: str
) -> None:
    said = understudy("plan", small.write(tmp_path), *overrides)

    assert said.code == 0
    assert text in said.out


def test_draws_that_are_impossible_are_said(
    tmp_path: Path, understudy: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    def suggest(trial: optuna.Trial) -> dict[str, object]:
        return {"recipe.training.epochs": trial.suggest_int("epochs", 0, 1)}

    monkeypatch.setattr(probing, "get_space", lambda name: suggest)

    said = understudy("plan", small.write(tmp_path))

    assert said.code == 0
    assert re.search(r"\d\d % of random draws make no valid recipe.*recipe\.training\.ep", said.out)


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
