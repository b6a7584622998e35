"""What an evaluation runs, what it may not see until it is done, and the unsealing."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.errors import ExperimentError
from orchestrator.evaluation.sealed import Job, Scored, evaluation_jobs, unseal
from orchestrator.experiment import Experiment
from orchestrator.preparation import PlannedFold, plan_folds
from orchestrator.training.student import student_inputs
from orchestrator.training.task import Unlabelled
from orchestrator.training.teacher import teacher_inputs
from tests.training.tiny import PRETRAINED, Home, experiment, recipe_of, relabelled, speakers_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.build(tmp_path_factory.mktemp("features"))


def planned(wanted: Experiment, home: Home) -> list[PlannedFold]:
    return plan_folds(
        wanted,
        [home.prepared],
        protocol=wanted.protocol,
        seeds=wanted.evaluate.seeds,
        only=["speaker=s1m", "speaker=s2w"],
    )


def jobs_of(home: Home, **sections: Any) -> list[Job]:
    wanted = experiment(**{"evaluate": {"seeds": [0, 1]}, **sections})
    return evaluation_jobs(wanted, planned(wanted, home))


def test_every_system_of_every_fold_and_seed_teachers_first(home: Home) -> None:
    jobs = jobs_of(home)

    assert [job.place for job in jobs] == [
        (system, "synthetic", fold, seed)
        for system in ("teacher", "student-alone", "distilled")
        for fold in ("speaker=s1m", "speaker=s2w")
        for seed in (0, 1)
    ]
    assert [job.role for job in jobs] == ["teacher"] * 4 + ["student"] * 8


@pytest.mark.parametrize(
    ("sections", "systems"),
    [
        ({"evaluate": {"systems": ["distilled", "teacher"]}}, ["teacher", "distilled"]),
        ({"evaluate": {"systems": ["student-alone"]}}, ["student-alone"]),
        # nobody listens to the teacher, who can still be measured
        (
            {"recipe": recipe_of({"kind": "vertical-vit"}, objectives={})},
            ["teacher", "student-alone"],
        ),
        (
            {"recipe": {**recipe_of({}, objectives={}), "teacher": None}},
            ["student-alone"],
        ),
        (
            {
                "recipe": {**recipe_of({}, objectives={}), "teacher": None},
                "evaluate": {"systems": ["teacher", "distilled"]},
            },
            [],
        ),
    ],
)
def test_only_systems_that_are_asked_for_and_exist(
    home: Home, sections: dict[str, Any], systems: list[str]
) -> None:
    assert list(dict.fromkeys(job.system for job in jobs_of(home, **sections))) == systems


def test_the_student_alone_has_no_teacher_and_the_same_utterances(home: Home) -> None:
    recipe = recipe_of(PRETRAINED, schedule={"kind": "matching-first", "matching_epochs": 2})
    wanted = experiment(recipe=recipe)
    entry = planned(wanted, home)[0]
    task = dataclasses.replace(entry.task, encoder=home.prepared.frames)  # type: ignore[arg-type]
    jobs = evaluation_jobs(wanted, [dataclasses.replace(entry, task=task)])
    teacher, alone, distilled = (job.task for job in jobs)

    assert teacher == distilled == task
    assert alone.encoder is None
    assert alone.recipe.teacher is None
    assert not alone.recipe.needs_teacher
    assert alone.recipe.training.epochs == 3 + 2
    assert dataclasses.replace(alone, recipe=task.recipe, encoder=task.encoder) == task


HELD = {"kind": "leave-one-speaker-out", "validation_speakers": 2, "held_speakers": 1}
ABLATIONS = {
    "z-no-features": {"recipe.objectives.feature_map": 0.0},
    "a-control": {"recipe.meta": {"kind": "none", "train_on_held": True}},
}


def test_ablations_come_last_in_the_files_order_with_their_own_recipes(home: Home) -> None:
    jobs = jobs_of(home, protocol=HELD, evaluate={"seeds": [0, 1], "ablations": ABLATIONS})

    assert [job.place for job in jobs[12:]] == [
        (system, "synthetic", fold, seed)
        for system in ("z-no-features", "a-control")
        for fold in ("speaker=s1m", "speaker=s2w")
        for seed in (0, 1)
    ]
    assert {job.role for job in jobs[12:]} == {"student"}
    assert {job.task.recipe.objectives.feature_map for job in jobs[12:16]} == {0.0}
    assert {job.task.recipe.objectives.feature_map for job in jobs[8:12]} == {1.0}
    for job, distilled in zip(jobs[12:16], jobs[8:12], strict=True):
        assert dataclasses.replace(job.task, recipe=distilled.task.recipe) == distilled.task
        assert job.sealed == distilled.sealed


def test_ablations_alone_are_an_evaluation_too(home: Home) -> None:
    alone = {"systems": ["student-alone"], "seeds": [0], "ablations": ABLATIONS}
    jobs = jobs_of(home, protocol=HELD, evaluate=alone)

    assert list(dict.fromkeys(job.system for job in jobs)) == ["student-alone", *ABLATIONS]


def test_the_control_trains_on_the_held_speakers_and_the_others_do_not(home: Home) -> None:
    jobs = jobs_of(home, protocol=HELD, evaluate={"seeds": [0], "ablations": ABLATIONS})
    table = home.prepared.corpus.table.set_index("id")
    (control, base) = (
        next(job.task for job in jobs if job.system == system)
        for system in ("a-control", "distilled")
    )
    assert base.held is not None
    assert control.held is None
    assert list(control.train.ids) == sorted(base.train.ids + base.held.ids)
    assert set(control.train.speakers) == set(base.train.speakers) | set(base.held.speakers)
    rows = table.loc[list(control.train.ids)]
    assert [base.emotions[label] for label in control.train.labels] == list(rows["emotion"])
    assert list(control.train.contents) == list(rows["content"])
    assert list(control.train.speakers) == list(rows["speaker"])
    assert not set(control.train.speakers) & set(table.loc[list(jobs[0].sealed.ids), "speaker"])
    for system in ("teacher", "student-alone", "distilled", "z-no-features"):
        for job in jobs:
            if job.system == system:
                assert not set(job.task.train.speakers) & set(job.task.held.speakers)  # type: ignore[union-attr]


def test_teacher_and_student_of_the_control_are_fitted_to_the_same_utterances(home: Home) -> None:
    jobs = jobs_of(home, protocol=HELD, evaluate={"seeds": [0], "ablations": ABLATIONS})
    control = next(job.task for job in jobs if job.system == "a-control")
    base = next(job.task for job in jobs if job.system == "distilled")

    fitted_to = [teacher_inputs(task, task.train)["train"]["n"] for task in (control, base)]
    assert fitted_to == [len(control.train.ids), len(base.train.ids)]
    assert fitted_to[0] > fitted_to[1]
    for task, n in zip((control, base), fitted_to, strict=True):
        assert student_inputs(task, "key")["train"]["n"] == n


def test_the_student_alone_is_the_same_whatever_is_ablated(home: Home) -> None:
    def alone(**evaluate: Any) -> list[Job]:
        jobs = jobs_of(home, protocol=HELD, evaluate={"seeds": [0], **evaluate})
        return [job for job in jobs if job.system == "student-alone"]

    with_them, without = alone(ablations=ABLATIONS), alone()

    assert with_them == without
    assert [student_inputs(job.task, None) for job in with_them] == [
        student_inputs(job.task, None) for job in without
    ]


def test_an_ablation_that_makes_no_recipe_is_named(home: Home) -> None:
    changes = {"mine": {"recipe.trainnig.lr": 1.0}}
    with pytest.raises(ExperimentError, match=r"evaluate\.ablations\.mine: .*trainnig"):
        jobs_of(home, evaluate={"seeds": [0], "ablations": changes})


def test_an_ablation_that_learns_from_votes_wants_a_corpus_that_has_them(home: Home) -> None:
    """Else it would silently be the recipe itself."""
    table = home.prepared.corpus.table.assign(votes="")
    corpus = dataclasses.replace(home.prepared.corpus, table=table)
    without = dataclasses.replace(home.prepared, corpus=corpus)
    changes = {"mine": {"recipe.training.targets": "votes"}}
    wanted = experiment(evaluate={"ablations": changes})

    with pytest.raises(ExperimentError, match=r"ablations\.mine: recipe\.training\.targets is 'v"):
        plan_folds(wanted, [without], protocol=wanted.protocol, seeds=[0])
    assert plan_folds(wanted, [home.prepared], protocol=wanted.protocol, seeds=[0])


AGREEMENT = {"recipe.curriculum": {"kind": "data", "difficulty": "agreement"}}


@pytest.mark.parametrize("ablation", [False, True])
def test_agreement_that_some_utterances_lack_is_refused_before_any_work(
    home: Home, ablation: bool
) -> None:
    table = home.prepared.corpus.table.assign(agreement=0.5)
    trains = min(home.task("speaker=s1m").train.speakers)
    mine = {"evaluate": {"ablations": {"mine": AGREEMENT}}}
    wanted = experiment(**mine) if ablation else experiment(AGREEMENT)

    def plan(agreement: pd.Series) -> list[PlannedFold]:
        corpus = dataclasses.replace(home.prepared.corpus, table=table.assign(agreement=agreement))
        of_it = dataclasses.replace(home.prepared, corpus=corpus)
        return plan_folds(
            wanted, [of_it], protocol=wanted.protocol, seeds=[0], only=["speaker=s1m"]
        )

    with pytest.raises(ExperimentError) as caught:
        plan(table["agreement"].where(~table["speaker"].isin(["s1m", trains])))
    said = str(caught.value)
    assert said.startswith("evaluate.ablations.mine: " if ablation else "recipe.curriculum")
    # five of eight speakers train, and what is only tested is not asked for
    assert "'agreement', but 4 of the 20 training utterances of corpus 'synthetic' have" in said
    with pytest.raises(ExperimentError, match="20 of the 20"):
        plan(table["agreement"].where(table["agreement"] > 1))
    assert plan(table["agreement"].where(table["speaker"] != "s1m"))


def test_a_job_as_it_travels_has_no_label_of_what_it_is_scored_on(home: Home) -> None:
    """Law 1: under other test labels it is the same job."""
    wanted = experiment(evaluate={"seeds": [0]})
    entries = planned(wanted, home)
    for entry, job in zip(entries, evaluation_jobs(wanted, entries), strict=False):
        table = home.prepared.corpus.table
        corpus = relabelled(home.prepared.corpus, speakers_of(table, entry.fold.test))
        other = dataclasses.replace(
            entry, prepared=dataclasses.replace(entry.prepared, corpus=corpus)
        )
        (same, *_) = evaluation_jobs(wanted, [other])

        assert type(job.sealed) is Unlabelled
        assert job.sealed.ids == entry.fold.test
        assert same == job
        assert not set(job.sealed.ids) & set(job.task.train.ids + job.task.validation.ids)
        assert pickle.loads(pickle.dumps(job)) == job


def test_unsealing_by_hand(home: Home) -> None:
    wanted = experiment(evaluate={"seeds": [0]})
    entry = planned(wanted, home)[0]
    job = evaluation_jobs(wanted, [entry])[0]
    # the corpus has anger, happiness, neutral and sadness in that order
    logits = np.array([[0, 9, 0, 0], [1, 2, 3, 2], [5, 5, 0, 0], [0, 0, 0, 1]], dtype=np.float32)
    found = unseal(Scored(job, logits, epoch=1, parameters=2, reused=False), entry)

    assert job.sealed.ids == ("s1m-000", "s1m-001", "s1m-002", "s1m-003")
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert found.predictions.tolist() == [1, 2, 0, 3]
    assert found.speakers == ("s1m",) * 4
    assert found.labels.dtype == found.predictions.dtype == np.int64


def test_labels_go_by_id_whatever_the_order_of_the_table(home: Home) -> None:
    wanted = experiment(evaluate={"seeds": [0]})
    entry = planned(wanted, home)[1]
    job = evaluation_jobs(wanted, [entry])[0]
    backwards = dataclasses.replace(job.sealed, ids=job.sealed.ids[::-1])
    scored = Scored(
        dataclasses.replace(job, sealed=backwards), np.eye(4), epoch=1, parameters=2, reused=True
    )
    table = home.prepared.corpus.table.set_index("id")
    expected = [
        entry.task.emotions.index(emotion) for emotion in table.loc[list(backwards.ids), "emotion"]
    ]

    assert unseal(scored, entry).labels.tolist() == expected
    assert unseal(scored, entry).speakers == ("s2w",) * 4


def test_one_fold_run_of_each_system_that_learns_attention_is_pictured(home: Home) -> None:
    conv = {
        "kind": "conv-transformer",
        "channels": [8, 8, 8],
        "dim": 8,
        "depth": 1,
        "heads": 2,
        "mlp_dim": 8,
    }
    recipe = {
        "student": conv,
        "source": {"kind": "recogniser", "network": {"dim": 8, "heads": 2}},
        "objectives": {"cross_entropy": 1.0, "attention_transfer": 1.0},
    }
    digits = {"kind": "fsdd", "root": "digits"}
    base = experiment().model_dump(mode="json")
    wanted = Experiment.model_validate(
        base
        | {
            "corpora": [*base["corpora"], digits],
            "recipe": recipe,
            "evaluate": {
                "seeds": [0, 1],
                "ablations": {"l2": {"recipe.attention_transfer.match": "l2"}},
            },
        }
    )

    pictured = [job.place for job in evaluation_jobs(wanted, planned(wanted, home)) if job.pictured]

    assert pictured == [
        ("distilled", "synthetic", "speaker=s1m", 0),
        ("l2", "synthetic", "speaker=s1m", 0),
    ]
