"""What is learned of a space by drawing from it."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.sweep import probing, space_checks
from orchestrator.sweep.probing import Parameter, probe_space
from tests import small


@pytest.fixture
def experiment(tmp_path: Any) -> Experiment:
    return small.load(tmp_path)


def use(monkeypatch: pytest.MonkeyPatch, suggest: Any) -> None:
    monkeypatch.setattr(space_checks, "get_space", lambda name: suggest)


def test_every_parameter_is_listed_with_its_range_and_how_often_it_occurs(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        found: dict[str, Any] = {
            "recipe.training.lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True),
            "recipe.training.label_smoothing": trial.suggest_float("even", 0.0, 0.2, step=0.05),
            "recipe.training.weight_decay": trial.suggest_float("plain", 0.0, 0.5),
            "recipe.training.epochs": trial.suggest_int("epochs", 1, 3),
        }
        if trial.suggest_categorical("taught", [True, False, None]):
            found["recipe.temperature.value"] = trial.suggest_int("value", 2, 8, step=2)
        return found

    use(monkeypatch, suggest)

    probe = probe_space(experiment)

    *always, value = probe.parameters
    assert always == [
        Parameter("lr", "0.0001 to 0.01, logarithmic", 1.0),
        Parameter("even", "0 to 0.2, step 0.05", 1.0),
        Parameter("plain", "0 to 0.5", 1.0),
        Parameter("epochs", "1 to 3, whole", 1.0),
        Parameter("taught", "one of: True, False, None", 1.0),
    ]
    assert (value.name, value.range) == ("value", "2 to 8, whole, step 2")
    assert value.share == pytest.approx(1 / 3, abs=0.1)
    assert len(probe.recipes) == probing.DRAWS
    assert {recipe.training.epochs for recipe in probe.recipes} == {1, 2, 3}
    assert (probe.impossible, probe.reason) == (0, "")


def test_a_range_that_changes_is_told_with_all_its_forms(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        most = trial.suggest_categorical("most", [2, 4])
        return {"recipe.training.epochs": trial.suggest_int("epochs", 1, most)}

    use(monkeypatch, suggest)

    assert set(probe_space(experiment, draws=50).parameters[1].range.split(" or ")) == {
        "1 to 2, whole",
        "1 to 4, whole",
    }


def test_draws_that_make_no_recipe_are_counted_with_the_first_reason(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {"recipe.training.epochs": trial.suggest_int("epochs", 0, 1)}

    use(monkeypatch, suggest)

    probe = probe_space(experiment, draws=40)

    assert 0 < probe.impossible < 40
    assert len(probe.recipes) + probe.impossible == 40
    assert "recipe.training.epochs" in probe.reason


def test_a_space_that_does_not_go_with_the_experiment_is_refused(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, lambda trial: {"recipe.student.dpeth": trial.suggest_int("depth", 1, 2)})

    with pytest.raises(ExperimentError, match=r"'distillation' does not go with .* 5 .*dpeth"):
        probe_space(experiment, draws=5)


def test_an_unknown_space_suggests_the_nearest(experiment: Experiment) -> None:
    assert experiment.search is not None
    search = experiment.search.model_copy(update={"space": "distilation"})

    with pytest.raises(ExperimentError, match=r"search\.space.*did you mean 'distillation'"):
        probe_space(experiment.model_copy(update={"search": search}))


def test_changes_of_the_space_are_listed_with_it(experiment: Experiment) -> None:
    data = experiment.model_dump()
    data["search"]["parameters"] = {
        "listens": ["logits", "both"],
        "recipe.temperature.value": 4,
        "recipe.training.lr": {"high": 0.01},
        "recipe.training.epochs": {"low": 1, "high": 3},
    }

    probe = probe_space(Experiment.model_validate(data), draws=60)

    assert {parameter.name: parameter.range for parameter in probe.parameters} == {
        "listens": "one of: logits, both",
        "recipe.objectives.distillation": "0.05 to 5, logarithmic",
        "recipe.temperature.value": "fixed at 4.0",
        "recipe.objectives.feature_map": "0.05 to 5, logarithmic",
        "recipe.training.lr": "0.0002 to 0.01, logarithmic",
        "recipe.training.label_smoothing": "0 to 0.2, step 0.05",
        "recipe.training.epochs": "1 to 3, whole",
    }
    assert {recipe.temperature.value for recipe in probe.recipes} == {4.0}  # type: ignore[union-attr]
