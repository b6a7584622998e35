"""The same draws each time they are made, and every sampler with all that a study may hold."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import NSGAIISampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from scipy.stats import qmc

from orchestrator.errors import ExperimentError
from orchestrator.experiment.search import Search
from orchestrator.sweep.drawing import Choose, from_trial
from orchestrator.sweep.samplers import TrialSampler, in_generations, refuse_sampler, scored
from orchestrator.sweep.space import SearchSpace

KINDS = ("tpe", "gp", "nsga2", "random", "qmc", "grid")


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Conditional; with steps, so that a grid goes through it."""
    found: dict[str, Any] = {
        "rate": trial.suggest_float("rate", 0.1, 0.9, step=0.1),
        "epochs": trial.suggest_int("epochs", 1, 9),
    }
    found["curriculum"] = trial.suggest_categorical("curriculum", [None, "linear", "root"])
    if found["curriculum"]:
        found["start"] = trial.suggest_float("start", 0.0, 1.0, step=0.25)
    if found["curriculum"] == "root":
        found["power"] = trial.suggest_int("power", 1, 8)
    found["joins"] = trial.suggest_categorical("joins", [False, True])
    return found


def searched(kind: str, **changes: Any) -> SearchSpace:
    search = Search.model_validate({"space": "own", "sampler": kind, "trials": 16, **changes})
    return SearchSpace(search, suggest)


class KilledError(Exception):
    pass


def dying(choose: Choose, calls: int) -> Choose:
    left = iter(range(calls))

    def chosen(name: str, distribution: Any) -> Any:
        if next(left, None) is None:
            raise KilledError
        return choose(name, distribution)

    return chosen


def straight(study: optuna.Study, space: SearchSpace, number: int) -> tuple[Trial, dict[str, Any]]:
    study.sampler = space.sampler(number)
    trial = study.ask()
    return trial, space.suggest(trial)


def killed(study: optuna.Study, space: SearchSpace, number: int) -> tuple[Trial, dict[str, Any]]:
    """A driver that dies before the first value, after one, two, ..., and is begun again."""
    study.sampler = space.sampler(number)
    trial = study.ask()
    for calls in itertools.count():
        try:
            return trial, dict(space.draw(dying(from_trial(trial), calls)).overrides)
        except KilledError:
            study.sampler = space.sampler(number)
            trial = Trial(study, trial._trial_id)
    raise AssertionError


def end(study: optuna.Study, trial: Trial, drawn: dict[str, Any]) -> None:
    """Ends of all sorts, as the values decide."""
    score = 1.0 - (drawn["rate"] - 0.4) ** 2 - 0.1 * (drawn["curriculum"] is None)
    macs = 10.0 * drawn["epochs"]
    trial.set_constraint("parameters", -1.0)
    trial.set_constraint("macs", macs - 75.0)
    if macs > 75.0:
        study.tell(trial, state=TrialState.PRUNED)
    elif trial.number % 7 == 3:
        study.tell(trial, state=TrialState.FAIL)
    elif len(study.directions) > 1:
        study.tell(trial, [score, macs])
    elif trial.number % 5 == 4:
        trial.report(score - 0.1, step=1)
        trial.report(score, step=2)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, score)


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_that_is_killed_after_any_draw_draws_the_same(kind: str, objectives: int) -> None:
    found = []
    for way in (straight, killed):
        study = optuna.create_study(directions=["maximize", "minimize"][:objectives])
        space = searched(kind)
        straight(study, space, 0)  # another that runs all the time
        for number in range(1, 14):
            trial, drawn = way(study, space, number)
            assert trial.params == drawn
            end(study, trial, drawn)
        found.append(study.get_trials())

    ends = {trial.state for trial in found[0]}
    assert ends == {*TrialState} - {TrialState.WAITING}
    assert [trial.params for trial in found[0]] == [trial.params for trial in found[1]]
    assert [trial.values for trial in found[0]] == [trial.values for trial in found[1]]


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("kind", ["tpe", "gp", "nsga2"])
def test_a_sampler_that_learns_goes_where_it_is_better(kind: str, objectives: int) -> None:
    """Trials after the random ones, with every sort of end among those before."""

    def score(x: float, c: str) -> float:
        return -((x - 0.2) ** 2) - (c == "worse")

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        x = trial.suggest_float("x", 0.0, 1.0)
        c = trial.suggest_categorical("c", ["worse", "better"])
        return {"x": x, "c": c, "y": c == "better" and trial.suggest_float("y", 0.0, 1.0)}

    study = optuna.create_study(directions=["maximize", "minimize"][:objectives])
    axes = optuna.distributions
    drawn = np.random.default_rng(0)
    for number in range(40):
        x, c = drawn.random(), ["worse", "better"][number % 2]
        params = {"x": x, "c": c} | ({"y": drawn.random()} if c == "better" else {})
        choices: dict[str, Any] = {"c": axes.CategoricalDistribution(["worse", "better"])}
        floats = {name: axes.FloatDistribution(0, 1) for name in params if name != "c"}
        told: dict[str, Any] = {"params": params, "distributions": floats | choices}
        value = score(x, c)
        if number % 10 == 9:
            told |= {"state": TrialState.FAIL}
        elif x > 0.8:
            told |= {"state": TrialState.PRUNED}
        elif number % 4 == 3 and objectives == 1:
            told |= {"state": TrialState.PRUNED, "intermediate_values": {1: value}, "value": value}
        else:
            told |= {"values": [value, x + (c == "worse")][:objectives]}
        study.add_trial(create_trial(**told, constraints={"macs": x - 0.8}))

    space = SearchSpace(Search(space="own", sampler=kind, trials=24, seed=3), suggest)  # type: ignore[arg-type]
    found = []
    for number in range(40, 46):
        study.sampler = space.sampler(number)
        trial = study.ask()
        found.append(space.suggest(trial))
        study.tell(trial, state=TrialState.FAIL)

    assert sum(point["c"] == "better" for point in found) >= 4
    assert np.median([point["x"] for point in found]) < 0.45
    assert sum(point["x"] > 0.8 for point in found) <= 1


@pytest.mark.parametrize("kind", ["tpe", "gp", "nsga2"])
def test_the_first_draws_may_all_lie_beyond_a_constraint(kind: Any) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    axis = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for number in range(12):
        beyond = {"macs": 0.9 - number / 20}
        point = {"x": number / 20}
        study.add_trial(
            create_trial(
                params=point, distributions=axis, state=TrialState.PRUNED, constraints=beyond
            )
        )
    space = SearchSpace(
        Search(space="own", sampler=kind, trials=40),
        lambda trial: {"x": trial.suggest_float("x", 0.0, 1.0)},
    )
    study.sampler = space.sampler(12)
    found = space.suggest(study.ask())["x"]

    # the others have only random draws, or hardly more, until a trial is complete
    assert found > 0.55 if kind == "gp" else 0.0 <= found <= 1.0


def test_a_trial_does_not_see_itself() -> None:
    study = optuna.create_study()
    space = searched("tpe")
    straight(study, space, 0)
    trial, _ = straight(study, space, 1)
    sampler = space.sampler(1)
    assert isinstance(sampler, TrialSampler)

    seen = sampler._others(study, study.get_trials()[trial.number])

    assert [other.number for other in seen.get_trials()] == [0]


def test_other_names_asked_for_before_change_nothing() -> None:
    def sooner(trial: optuna.Trial) -> dict[str, Any]:
        return {"b": trial.suggest_float("b", 0, 1)}

    def later(trial: optuna.Trial) -> dict[str, Any]:
        return {"a": trial.suggest_float("a", 0, 1), "b": trial.suggest_float("b", 0, 1)}

    found = []
    for function in (sooner, later):
        space = SearchSpace(Search(space="own"), function)
        study = optuna.create_study()
        found.append(straight(study, space, 0)[1])
        assert found[-1]["b"] != straight(study, space, 1)[1]["b"]

    assert found[0]["b"] == found[1]["b"] != found[1]["a"]


def test_another_seed_draws_other_values() -> None:
    for kind in KINDS:
        drawn: list[list[dict[str, Any]]] = []
        for seed in (0, 1):
            study = optuna.create_study()
            drawn.append([straight(study, searched(kind, seed=seed), n)[1] for n in range(3)])
        assert drawn[0] != drawn[1], kind


def test_trial_n_of_qmc_is_point_n_of_one_sobol_sequence() -> None:
    def flat(trial: optuna.Trial) -> dict[str, Any]:
        if trial.suggest_categorical("more", [False, True]):
            trial.suggest_float("only sometimes", 0.0, 1.0)
        return {name: trial.suggest_float(name, 0.0, 2.0) for name in ("b", "a")}

    space = SearchSpace(Search(space="own", sampler="qmc"), flat)
    study = optuna.create_study()
    found = [straight(study, space, number)[1] for number in range(8)]

    # coordinates in the order of names: a, b, more
    points = np.array([[point["a"] / 2, point["b"] / 2] for point in found])
    sampler = space.sampler(0)
    assert isinstance(sampler, TrialSampler)
    seed = sampler._inner()._seed  # type: ignore[attr-defined]
    expected = qmc.Sobol(3, scramble=True, seed=seed).random(8)
    np.testing.assert_allclose(points, expected[:, :2])
    assert space.independent == ("only sometimes",)
    # of each coordinate one half of the points lies in each half of the range
    assert ((points < 0.5).sum(axis=0) == 4).all()


def test_a_view_stands_in_the_place_of_the_study() -> None:
    def shown(turned: bool) -> float:
        study = optuna.create_study(direction="maximize")
        axis = {"x": optuna.distributions.FloatDistribution(0, 1)}
        for index in range(20):
            x = index / 20
            study.add_trial(create_trial(params={"x": x}, distributions=axis, value=x))

        def view(study: optuna.Study) -> optuna.Study:
            other = optuna.create_study(direction="maximize")
            for trial in study.get_trials(states=(TrialState.COMPLETE,)):
                value = -trial.values[0]
                other.add_trial(create_trial(params=trial.params, distributions=axis, value=value))
            return other

        space = SearchSpace(
            Search(space="own"), lambda trial: {"x": trial.suggest_float("x", 0.0, 1.0)}
        )
        study.sampler = space.sampler(20, view=view if turned else None)
        return float(space.suggest(study.ask())["x"])

    assert shown(turned=False) > 0.6
    assert shown(turned=True) < 0.4


def pruned(number: int, **told: Any) -> FrozenTrial:
    trial = create_trial(state=TrialState.PRUNED, **told)
    trial.number = number
    return trial


def test_pruned_trials_are_shown_as_complete_with_the_value_that_they_reached() -> None:
    best = create_trial(values=[0.9, 5.0], constraints={"macs": -2.0})
    worst = create_trial(values=[0.4, 1.0], constraints={"macs": -6.0})
    failed = create_trial(state=TrialState.FAIL)
    running = create_trial(state=TrialState.RUNNING)
    beyond = pruned(4, constraints={"macs": 3.0})
    unfinished = pruned(5, constraints={"macs": -1.0})
    bare = create_trial(values=[1.0, 1.0])
    trials = [best, worst, failed, running, beyond, unfinished, bare]

    found = scored(trials, [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE])

    assert [(trial.state.name, trial.values) for trial in found] == [
        ("COMPLETE", [0.9, 5.0]),
        ("COMPLETE", [0.4, 1.0]),
        ("FAIL", None),
        ("RUNNING", None),
        ("COMPLETE", [0.4, 5.0]),
    ]
    assert beyond.state == TrialState.PRUNED  # the study's own is left alone


def test_a_pruned_trial_keeps_its_last_value_and_without_complete_ones_the_worst_is_zero() -> None:
    reached = pruned(0, value=0.3, intermediate_values={2: 0.3}, constraints={"macs": -1.0})
    beyond = pruned(1, constraints={"macs": 1.0})

    found = scored([reached, beyond], [StudyDirection.MAXIMIZE])

    assert [trial.values for trial in found] == [[0.3], [0.0]]


def test_constraints_are_shown_in_one_order() -> None:
    there = create_trial(value=1.0, constraints={"macs": 1.0, "parameters": 2.0})
    back = create_trial(value=1.0, constraints={"parameters": 4.0, "macs": 3.0})

    found = scored([there, back], [StudyDirection.MAXIMIZE])

    assert [list(trial.constraints.values()) for trial in found] == [[1.0, 2.0], [3.0, 4.0]]


def test_generations_are_those_that_optuna_notes() -> None:
    study = optuna.create_study(sampler=NSGAIISampler(population_size=4, seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=14)
    key = NSGAIISampler._get_generation_key()
    noted = [trial.system_attrs[key] for trial in study.get_trials()]
    bare = study.get_trials()
    for trial in bare:
        trial.system_attrs = {}

    assert [trial.system_attrs[key] for trial in in_generations(bare, size=4)] == noted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "grid", "start": [{"x": 1}]}, r"search\.start .*'grid' goes through all"),
        ({"sampler": "gp", "trials": 10}, r"'gp' draws its first 10 trials .*search\.trials is 10"),
        ({"sampler": "nsga2", "trials": 4}, r"'nsga2' draws its first 4 trials"),
    ],
)
def test_a_sampler_that_could_not_do_what_is_asked_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExperimentError, match=message):
        refuse_sampler(Search.model_validate({"space": "own", **changes}))


@pytest.mark.parametrize("kind", KINDS)
def test_every_sampler_may_search_for_several_objectives_with_constraints(kind: str) -> None:
    refuse_sampler(
        Search.model_validate(
            {
                "space": "own",
                "sampler": kind,
                "minimise": ["macs", "parameters"],
                "constraints": {"macs": 1e6},
            }
        )
    )
