"""What a plan counts, against what is then run; on the synthetic corpus and on two others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from orchestrator.capacity.memory_probe import Need
from orchestrator.errors import CorpusError, ExperimentError
from orchestrator.evaluation.sealed import evaluation_jobs
from orchestrator.experiment import Experiment, load_experiment
from orchestrator.plan import plan
from orchestrator.preparation import plan_folds, prepare, read_corpora
from orchestrator.store import Store
from orchestrator.sweep.study import open_study
from orchestrator.teachers_to_fit import Networks, networks_of_trials
from orchestrator.training.fold_run import run_fold
from orchestrator.training.task import FoldTask, Silent
from tests import small
from tests.corpora.trees_iemocap import small_iemocap
from tests.corpora.trees_meld import small_meld

TWO = """\
name: two
corpora:
  - {{kind: iemocap, root: "{root}/iemocap", protocol: {{kind: leave-one-session-out}}}}
  - {{kind: meld, root: "{root}/meld"}}
protocol: {{kind: official}}
features: {{kind: log-mel, bins: 8}}
recipe:
  teacher: {{kind: vertical-vit, dim: 8, depth: 1, heads: 1, head_dim: 8, training: {{epochs: 2}}}}
  student: {{kind: vertical-vit, dim: 8, depth: 1, heads: 1, head_dim: 8}}
  objectives: {{cross_entropy: 1.0, distillation: 0.5}}
  training: {{epochs: 2, batch_size: 16}}
search: {{space: distillation, trials: 24, metric: weighted_f1}}
evaluate: {{seeds: [0, 1]}}
store: "{root}/store"
"""


TAUGHT = "recipe.teacher.training={epochs: 2, batch_size: 16}"
"""A training of the teacher's own, which is none of what the space searches."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """IEMOCAP by sessions, with MELD by its official split."""
    root = tmp_path_factory.mktemp("two")
    small_iemocap(root / "iemocap", sessions=3)
    small_meld(root / "meld")
    (root / "two.yaml").write_text(TWO.format(root=root))
    return load_experiment(root / "two.yaml")


def test_a_plan_counts_what_would_be_run_and_runs_nothing(tmp_path: Path) -> None:
    experiment = small.load(tmp_path, TAUGHT)

    found = plan(experiment)

    (corpus,) = found.corpora
    assert (corpus.utterances, corpus.speakers) == (24, 6)
    assert dict(corpus.emotions) == dict.fromkeys(("anger", "happiness", "neutral", "sadness"), 6)
    assert found.search is not None
    assert (found.search.trials, found.search.ended, found.search.fold_runs) == (3, 0, 9)
    (folds,) = found.search.folds
    assert (folds.folds, folds.seeds) == (3, 1)
    assert folds.sizes == {"train": (8, 8), "held": (0, 0), "validation": (8, 8), "test": (8, 8)}
    assert "leave-one-session-out (3 folds)" in folds.protocol
    assert found.evaluation.fold_runs == {"teacher": 3, "student-alone": 3, "distilled": 3}
    for networks in (found.search.networks, found.evaluation.networks):
        assert (networks.teachers, networks.inner_teachers, networks.present) == (3, 0, 0)
    assert found.unlabelled is None
    for stage in ("artifacts", "studies", "journal"):
        assert not (tmp_path / "store" / stage).exists()


def test_parameters_are_those_of_the_space_with_the_conditional_ones(tmp_path: Path) -> None:
    search = plan(small.load(tmp_path)).search

    assert search is not None
    by_name = {one.name: one for one in search.parameters}
    assert by_name["listens"].range == "one of: logits, features, both"
    assert by_name["recipe.training.lr"].range == "0.0002 to 0.003, logarithmic"
    assert by_name["recipe.training.lr"].share == 1.0
    assert by_name["recipe.temperature.value"].share == pytest.approx(2 / 3, abs=0.25)
    assert search.impossible == 0.0


def test_what_the_store_has_is_counted(tmp_path: Path) -> None:
    experiment = small.load(tmp_path, TAUGHT)
    store = Store(experiment.store)
    before = plan(experiment)
    prepared = prepare(experiment, store)
    first, *_ = plan_folds(experiment, prepared, protocol=experiment.protocol, seeds=[0])
    run_fold(first.task, store=store, reporter=Silent(), role="teacher")
    study = open_study(experiment, store, prepared)
    study.add_trial(optuna.trial.create_trial(value=0.5))
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))

    after = plan(experiment)

    there, shards = before.corpora[0].stored["features"]
    assert there == 0
    assert 0 < shards <= 16
    assert after.corpora[0].stored == {"features": (shards, shards)}
    assert after.search is not None
    assert after.search.ended == 2
    assert after.search.networks.present == after.evaluation.networks.present == 1


def test_teachers_are_those_that_the_jobs_then_ask_for(tmp_path: Path) -> None:
    """Counted by what a cross-fitted evaluation leaves in the store."""
    experiment = small.load(tmp_path, "recipe.knowledge=cross-fitted", "evaluate.seeds=[0, 1]")
    store = Store(experiment.store)
    expected = plan(experiment).evaluation.networks
    prepared = prepare(experiment, store)
    planned = plan_folds(experiment, prepared, protocol=experiment.protocol, seeds=[0, 1])
    for job in evaluation_jobs(experiment, planned)[:6] + evaluation_jobs(experiment, planned)[12:]:
        run_fold(job.task, store=store, reporter=Silent(), role=job.role)

    # 3 folds x 2 seeds, each with 2 training speakers and so 2 inner folds
    assert (expected.teachers, expected.inner_teachers) == (6, 12)
    assert len(small.artifacts(tmp_path / "store", "teacher")) == 18
    assert plan(experiment).evaluation.networks.present == 18


def test_a_trials_recipe_may_hold_speakers_that_the_files_recipe_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joins = "recipe.meta={kind: none, train_on_held: true}"
    experiment = small.load(tmp_path, joins, "protocol.held_speakers=1", "corpora.0.sessions=4")
    counted: list[FoldTask] = []

    def count(tasks: Sequence[FoldTask], *args: Any, **options: Any) -> Networks:
        counted.extend(tasks)
        return networks_of_trials(tasks, *args, **options)

    monkeypatch.setattr("orchestrator.sweep.plan.networks_of_trials", count)
    found = plan(experiment)

    assert len(counted) == 4
    assert all(task.held is not None for task in counted)
    assert found.search is not None
    assert found.search.networks.teachers > 0


def test_two_corpora_have_their_own_folds(two: Experiment) -> None:
    found = plan(two)

    assert [corpus.name for corpus in found.corpora] == ["iemocap", "meld"]
    iemocap, meld = found.evaluation.folds
    assert (iemocap.corpus, iemocap.folds, iemocap.seeds) == ("iemocap", 3, 2)
    assert (meld.corpus, meld.folds, meld.seeds) == ("meld", 1, 2)
    assert "leave-one-session-out (3 folds)" in iemocap.protocol
    assert "official" in meld.protocol
    assert iemocap.sizes["test"] == (20, 20)
    assert meld.sizes == {"train": (4, 4), "held": (0, 0), "validation": (4, 4), "test": (4, 4)}
    assert found.search is not None
    assert found.search.fold_runs == 24 * (3 + 1)
    assert found.evaluation.fold_runs == dict.fromkeys(
        ("teacher", "student-alone", "distilled"), (3 + 1) * 2
    )
    assert found.search.networks.teachers == 4
    assert found.evaluation.networks.teachers == 8


def test_a_space_that_changes_the_teacher_may_need_one_for_each_trial(tmp_path: Path) -> None:
    # it is trained as the recipe is, whose learning rate the space searches
    search = plan(small.load(tmp_path)).search

    assert search is not None
    assert search.networks.varied
    assert (search.networks.teachers, search.networks.present) == (9, None)


def test_difficulty_by_cross_validated_loss_counts_its_students(tmp_path: Path) -> None:
    curriculum = "recipe.curriculum={kind: data, difficulty: cross-validated-loss}"

    found = plan(small.load(tmp_path, curriculum))

    assert found.search is not None
    assert found.search.networks.inner_students == 3 * 3 * 2
    assert found.evaluation.networks.inner_students == 3 * 2


def test_times_are_of_updates_and_fold_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[float] = []

    def step_seconds(task: Any, *, seconds: float) -> float:
        measured.append(seconds)
        return 2.0

    monkeypatch.setattr("orchestrator.capacity.step_time.step_seconds", step_seconds)

    found = plan(small.load(tmp_path))

    # one update an epoch, two epochs; two students of three folds in the evaluation
    assert found.search is not None
    assert found.search.student_seconds == 3 * 3 * 2 * 2.0
    assert found.evaluation.student_seconds == 2 * 3 * 2 * 2.0
    assert measured == [found.corpora[0].mean_seconds]


def test_what_one_process_cannot_measure_has_no_time(tmp_path: Path) -> None:
    found = plan(small.load(tmp_path, "resources.student_workers=2"))

    assert found.evaluation.student_seconds is None
    assert "several workers" in found.resources.unmeasured


@pytest.mark.parametrize(
    ("overrides", "at_once"),
    [
        ((), 3),
        (("resources.concurrent=1",), 1),
        (("resources.trial.cpus=2",), 1),
        (("resources.teacher_workers=2",), 1),
        (("resources.trial.cpus=4",), 0),
    ],
)
def test_fold_runs_at_once_are_what_this_machine_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], at_once: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)

    assert plan(small.load(tmp_path, *overrides)).resources.at_once == at_once


def test_a_running_cluster_decides_how_many_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")

    assert plan(small.load(tmp_path)).resources.at_once is None


def here(monkeypatch: pytest.MonkeyPatch, *, cpus: int, room: int, needs: str) -> None:
    """A machine, and what measuring a fold run says."""
    monkeypatch.setattr("os.cpu_count", lambda: cpus)
    monkeypatch.setattr("orchestrator.capacity.resources_plan.room_bytes", lambda: room)
    said = f"import json; print(json.dumps({needs}))"
    monkeypatch.setattr("orchestrator.capacity.memory_probe.COMMAND", ("-S", "-E", "-c", said))


def test_memory_limits_fold_runs_where_it_is_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch, cpus=64, room=24 * 2**30, needs="{'host': 2**30, 'libraries': 0}")

    found = plan(small.load(tmp_path)).resources

    assert (found.at_once, found.decides) == (24, "memory")
    assert found.fit == {"CPUs": 64, "memory": 24}
    assert found.need == Need(host=2**30, libraries=0)
    assert found.need_unmeasured == ""
    assert found.memory_told == (
        "memory limits fold runs to 24 at once: each needs about 1.0 GiB (measured); "
        "if that is wrong, say it with resources.trial.memory_gib",
    )


def test_a_plan_does_without_a_measurement_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch, cpus=4, room=1, needs="nothing")

    found = plan(small.load(tmp_path)).resources

    assert (found.at_once, found.decides, found.need) == (4, "CPUs", None)
    assert "NameError" in found.need_unmeasured


def test_with_a_running_cluster_the_need_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")

    found = plan(small.load(tmp_path)).resources

    assert (found.at_once, found.decides, found.fit, found.memory_told) == (None, None, {}, ())
    assert found.need is not None
    assert found.need.host == 100 * 2**20


def test_a_gpu_that_is_not_here_leaves_the_need_unmeasured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    found = plan(small.load(tmp_path, "resources.trial.gpus=0.5")).resources

    assert found.need is None
    assert found.need_unmeasured == "fold runs ask for a GPU, and this machine has none"


def test_students_of_the_recipe_as_written_are_looked_for(tmp_path: Path) -> None:
    experiment = small.load(tmp_path, TAUGHT)
    store = Store(experiment.store)
    before = plan(experiment).evaluation.students
    planned = plan_folds(
        experiment, prepare(experiment, store), protocol=experiment.protocol, seeds=[0]
    )
    taught = [job for job in evaluation_jobs(experiment, planned) if job.system == "distilled"]
    run_fold(taught[1].task, store=store, reporter=Silent())

    # three alone and three taught
    assert before == (0, 6)
    assert plan(experiment).evaluation.students == (1, 6)
    assert plan(small.load(tmp_path, "evaluate.systems=[teacher]")).evaluation.students == (0, 0)


def test_what_nested_selection_costs_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.capacity.step_time.step_seconds", lambda *_, **__: 2.0)
    options = (
        "evaluate.selection=nested",
        "evaluate.nested={inner_folds: 2, trials: 5}",
        "search.seeds=[0, 1]",
        "search.pruner={kind: wilcoxon}",
    )

    evaluation = plan(small.load(tmp_path, *options)).evaluation

    assert evaluation.nested is not None
    # three folds, each with two inner ones
    assert evaluation.nested.cost.fold_runs == 3 * 5 * 2 * 2
    assert evaluation.nested.networks.teachers == 3 * 5 * 2 * 2
    assert (evaluation.nested.pruner.looks, evaluation.nested.constrained) == ((), False)
    # one update an epoch, two epochs
    assert evaluation.nested.student_seconds == 60 * 2 * 2.0
    assert "no debt" in evaluation.promised


def test_other_selections_ask_for_no_search_of_their_own(tmp_path: Path) -> None:
    per_fold = plan(small.load(tmp_path, "evaluate.selection=per-fold")).evaluation
    fixed = plan(small.load(tmp_path)).evaluation

    assert (per_fold.nested, fixed.nested, fixed.promised) == (None, None, "")
    assert "some debt is left" in per_fold.promised


def test_without_a_search_section_only_the_evaluation_is_planned(tmp_path: Path) -> None:
    experiment = small.load(tmp_path).model_copy(update={"search": None})

    assert plan(experiment).search is None


def test_a_plan_is_json(two: Experiment) -> None:
    facts = json.loads(json.dumps(plan(two).facts()))

    assert facts["search"]["space"] == "distillation"
    assert facts["corpora"][0]["stored"]["features"][0] == 0
    assert facts["evaluation"]["folds"][1]["sizes"]["train"] == [4, 4]
    assert facts["resources"]["need"]["host"] == 100 * 2**20
    assert facts["resources"]["fit"]["memory"] > 0


def test_what_is_wrong_is_the_usual_error(tmp_path: Path, two: Experiment) -> None:
    experiment = small.load(tmp_path)
    study = open_study(
        experiment, Store(experiment.store), read_corpora(experiment, Store(experiment.store))
    )
    study.ask()  # without a trial any change would do
    other = small.load(tmp_path, "recipe.training.epochs=3")

    with pytest.raises(ExperimentError, match="was begun with another recipe"):
        plan(other)
    with pytest.raises(ExperimentError, match=r"search\.space.*did you mean"):
        plan(small.load(tmp_path, "search.space=kim2025"))
    with pytest.raises(CorpusError, match="is no folder"):
        plan(
            load_experiment(
                Path(two.store).parent / "two.yaml", overrides=["corpora.1.root=/nowhere"]
            )
        )
