"""Whole evaluations through Ray: the same again, broken off, and of a sweep's best."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from orchestrator.errors import ExperimentError, ProtocolError
from orchestrator.evaluation.evaluate import EvaluationError, EvaluationOutcome, run_evaluation
from orchestrator.experiment import Experiment
from orchestrator.experiment.evaluate import Selected
from orchestrator.store import Store
from orchestrator.store.contents import read_contents
from orchestrator.store.pruning import to_prune
from orchestrator.sweep.choosing import best_of
from orchestrator.sweep.sweep import run_sweep
from tests import small

RESULTS = ("evaluation.json", "rows.csv", "speakers.csv")
SYSTEMS = ("teacher", "student-alone", "distilled")


def silent() -> Console:
    return Console(file=io.StringIO())


def evaluated(experiment: Experiment) -> EvaluationOutcome:
    return run_evaluation(experiment, console=silent())


def files(folder: Path) -> dict[str, bytes]:
    """The files of the evaluation's result."""
    return {name: (folder / "store" / "results" / "small" / name).read_bytes() for name in RESULTS}


def statuses(folder: Path) -> Counter[str]:
    return Counter(run.info.status for run in small.runs(folder))


@pytest.fixture(scope="module")
def first(
    ray_cluster: None, tmp_path_factory: pytest.TempPathFactory, tracking_database: Path
) -> tuple[Path, EvaluationOutcome]:
    """An evaluation in a folder of its own, two fold runs at once."""
    folder = tmp_path_factory.mktemp("first")
    experiment = small.load(folder, "resources.concurrent=2", database=tracking_database)
    return folder, evaluated(experiment)


@pytest.mark.slow
def test_every_system_is_scored_on_every_utterance_once(
    first: tuple[Path, EvaluationOutcome],
) -> None:
    folder, outcome = first
    result = json.loads(files(folder)["evaluation.json"])

    assert result == outcome.result
    assert (outcome.computed + outcome.reused, outcome.pending) == (9, 0)
    # whoever is slow to start finds that its first teacher was needed, and fitted, elsewhere
    assert outcome.reused <= 1
    assert {(row["system"], row["fold"]) for row in result["rows"]} == {
        (system, f"session={number}") for system in SYSTEMS for number in (1, 2, 3)
    }
    for system in SYSTEMS:
        confusion = result["confusion"]["synthetic"][system]["0"]
        assert sum(map(sum, confusion)) == 24
        assert sum(row["n"] for row in result["speakers"] if row["system"] == system) == 24
    assert result["selection"] == "fixed"
    assert "leave-one-session-out (3 folds)" in result["protocols"]["synthetic"]


@pytest.mark.slow
def test_all_that_it_made_is_referred_to_and_nothing_of_it_would_be_pruned(
    first: tuple[Path, EvaluationOutcome],
) -> None:
    contents = read_contents(Store(first[0] / "store"))

    assert {one.users for one in contents.artifacts} == {("small",)}
    assert {"features", "teacher", "knowledge", "student", "predictions"} == {
        one.stage for one in contents.artifacts
    }
    assert (contents.fits, contents.leftovers, contents.running) == ((), (), ())
    assert (contents.referrers.unknown, to_prune(contents).nothing) == ((), True)


@pytest.mark.slow
def test_the_run_tree_holds_each_fold_run_once(first: tuple[Path, EvaluationOutcome]) -> None:
    folder, _ = first
    top = "evaluation small"

    assert small.tree(small.runs(folder)) == sorted(
        [
            (top,),
            *((top, system) for system in SYSTEMS),
            *(
                (top, system, f"synthetic session={number} seed 0")
                for system in SYSTEMS
                for number in (1, 2, 3)
            ),
        ]
    )
    assert statuses(folder) == {"FINISHED": 13}
    (run,) = (run for run in small.runs(folder) if run.info.run_name == top)
    for name in ("macro_recall", "macro_recall_std", "macro_recall_n", "macro_recall_low"):
        assert f"distilled/synthetic/test/{name}" in run.data.metrics


@pytest.mark.slow
def test_students_are_linked_to_the_teacher_that_is_evaluated_too(
    first: tuple[Path, EvaluationOutcome],
) -> None:
    runs = {run.info.run_id: run for run in small.runs(first[0])}

    taught = [run for run in runs.values() if "understudy.teacher" in run.data.tags]
    assert len(taught) == 3
    for run in taught:
        teacher = runs[run.data.tags["understudy.teacher"]]
        assert (teacher.data.params["role"], teacher.data.params["fold"]) == (
            "teacher",
            run.data.params["fold"],
        )
        assert (
            teacher.data.tags["understudy.key.teacher"] == run.data.tags["understudy.key.teacher"]
        )


@pytest.mark.slow
def test_its_runs_have_pictures_tables_and_the_best_student(
    first: tuple[Path, EvaluationOutcome],
) -> None:
    folder, outcome = first
    client = MlflowClient(f"sqlite:///{folder}/runs.db")
    runs = {run.info.run_name: run.info.run_id for run in small.runs(folder)}

    def files(run: str, path: str | None = None) -> set[str]:
        return {one.path for one in client.list_artifacts(runs[run], path)}

    assert files("evaluation small") >= {
        "environment.json",
        "evaluation.json",
        "experiment.yaml",
        "report.md",
        "pictures",
    }
    assert files("distilled") == {"curves.png", "test"}
    assert files("distilled", "test") == {
        "test/synthetic-classes.csv",
        "test/synthetic-confusion.png",
        "test/synthetic-speakers.csv",
    }
    version = client.get_model_version_by_alias("small", "evaluated")
    told = version.description
    assert told is not None
    assert outcome.result["protocols"]["synthetic"] in told


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_another_store_and_one_fold_run_at_a_time_give_the_same_bytes(
    first: tuple[Path, EvaluationOutcome], tmp_path: Path, tracking_database: Path
) -> None:
    experiment = small.load(tmp_path, "resources.concurrent=1", database=tracking_database)

    outcome = evaluated(experiment)

    assert outcome.computed == 9
    assert files(tmp_path) == files(first[0])


@pytest.mark.slow
def test_a_failed_fold_run_fails_the_evaluation_and_only_it_is_run_again(
    first: tuple[Path, EvaluationOutcome], tmp_path: Path, tracking_database: Path
) -> None:
    experiment = small.load(tmp_path, database=tracking_database)
    store = tmp_path / "store"
    shutil.copytree(first[0] / "store" / "artifacts", store / "artifacts")
    taught = next(
        folder
        for folder in sorted((store / "artifacts" / "student").glob("*/*"))
        if json.loads((folder / "inputs.json").read_text())["inputs"]["knowledge"]
    )
    shutil.rmtree(taught)
    in_the_way = store / "locks" / f"{taught.name}.lock"
    in_the_way.mkdir(parents=True)

    with pytest.raises(EvaluationError) as caught:
        evaluated(experiment)

    said = str(caught.value)
    assert said.startswith("1 of 9 fold runs failed, so there is no result: distilled, synthetic, ")
    assert "seed 0: store" in said
    assert "cannot be written" in said
    assert "What is done (8) is kept" in said
    assert caught.value.exit_code == 1
    assert not (store / "results").exists()
    # the run, its system and the evaluation
    assert statuses(tmp_path)["RUNNING"] == 0
    assert statuses(tmp_path)["FAILED"] >= 3

    in_the_way.rmdir()
    outcome = evaluated(experiment)

    assert (outcome.computed, outcome.reused) == (1, 8)
    assert files(tmp_path) == files(first[0])
    assert statuses(tmp_path) == {"FINISHED": 13}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_the_evaluation_of_a_sweeps_best_reuses_its_teachers_and_students(
    tmp_path: Path, tracking_database: Path
) -> None:
    experiment = small.load(tmp_path, "search.trials=1", database=tracking_database)
    run_sweep(experiment, console=silent())

    outcome = evaluated(best_of(experiment, name="small"))

    assert outcome.result["selection"] == "same-corpus"
    # what one fold tests, the others train on
    assert outcome.result["seen_by_sweep"] == {"synthetic": 24}
    # the students alone are new: a sweep has no use for them
    assert (outcome.computed, outcome.reused) == (3, 6)


@pytest.mark.slow
def test_ablations_are_systems_of_their_own_and_nothing_else_is_done_again(
    first: tuple[Path, EvaluationOutcome], tmp_path: Path, tracking_database: Path
) -> None:
    experiment = small.load(
        tmp_path,
        "evaluate.ablations.softer={recipe.temperature.value: 8.0}",
        "evaluate.ablations.as-it-is={recipe.temperature.kind: fixed}",
        database=tracking_database,
    )
    shutil.copytree(first[0] / "store" / "artifacts", tmp_path / "store" / "artifacts")

    outcome = evaluated(experiment)
    result = outcome.result

    # an ablation that changes nothing is the distilled student itself
    assert (outcome.computed, outcome.reused) == (3, 12)
    assert result["ablations"] == {
        "softer": {"recipe.temperature.value": 8.0},
        "as-it-is": {"recipe.temperature.kind": "fixed"},
    }
    changed = {run.info.run_name: run.data.params for run in small.runs(tmp_path)}
    assert changed["softer"] == {"recipe.temperature.value": "8.0"}
    assert changed["as-it-is"] == {"recipe.temperature.kind": "fixed"}
    assert changed["distilled"] == {}
    systems = [*SYSTEMS, "softer", "as-it-is"]
    assert result["systems"] == [entry["system"] for entry in result["summary"]] == systems
    assert {row["system"] for row in result["rows"]} == set(systems)
    found = {(it["a"], it["b"], it["metric"]): it for it in result["differences"]}
    assert {key[:2] for key in found} == {
        ("distilled", "student-alone"),
        ("distilled", "teacher"),
        ("softer", "student-alone"),
        ("softer", "distilled"),
        ("as-it-is", "student-alone"),
        ("as-it-is", "distilled"),
    }
    same = found["as-it-is", "distilled", "macro_recall"]
    assert (same["mean"], same["low"], same["high"]) == (0.0, 0.0, 0.0)
    by_hand = {
        system: sum(r["macro_recall"] for r in result["speakers"] if r["system"] == system) / 6
        for system in systems
    }
    for (a, b, metric), entry in found.items():
        if metric == "macro_recall":
            assert entry["mean"] == pytest.approx(by_hand[a] - by_hand[b])
    # the others are as they were
    before = first[1].result
    for part in ("rows", "speakers"):
        kept = [row for row in result[part] if row["system"] in SYSTEMS]
        assert kept == before[part]
    told = {run.info.run_name for run in small.runs(tmp_path)}
    assert {"softer", "as-it-is"} <= told


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(resources: object) -> None:
        pytest.fail("Ray was started for nothing")

    monkeypatch.setattr("orchestrator.evaluation.evaluate.connect", connect)


@pytest.mark.usefixtures("no_ray")
def test_a_recipe_without_any_of_the_systems_is_refused_before_ray_starts(tmp_path: Path) -> None:
    experiment = small.load(
        tmp_path,
        "recipe.teacher=null",
        "recipe.objectives.distillation=0",
        "evaluate.systems=[teacher, distilled]",
    )

    with pytest.raises(ExperimentError, match="the recipe has none of them"):
        evaluated(experiment)


@pytest.mark.usefixtures("no_ray")
def test_a_fold_that_the_protocol_has_not_is_refused_before_ray_starts(tmp_path: Path) -> None:
    experiment = small.load(tmp_path, "evaluate.folds=['session=9']")

    with pytest.raises(
        ProtocolError, match=r"no fold 'session=9'; the folds of synthetic: session=1"
    ):
        evaluated(experiment)


@pytest.mark.usefixtures("no_ray")
def test_choices_on_another_state_of_the_corpus_are_refused_before_ray_starts(
    tmp_path: Path,
) -> None:
    experiment = small.load(tmp_path)
    selected = Selected.model_validate(
        {
            "sweep": "small",
            "trial": None,
            "protocol": {"kind": "leave-one-session-out"},
            "seeds": [0],
            "fingerprints": {"synthetic": "then"},
            "choices": {
                f"synthetic/session={number}": {"trial": 0, "overrides": {}, "value": 0.5}
                for number in (1, 2, 3)
            },
        }
    )
    evaluate = experiment.evaluate.model_copy(update={"selection": "per-fold"})
    chosen = experiment.model_copy(update={"selected": selected, "evaluate": evaluate})

    with pytest.raises(
        ExperimentError, match=r"another state of corpus 'synthetic' \(fingerprint t"
    ):
        evaluated(chosen)
