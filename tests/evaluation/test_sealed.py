"""What an evaluation runs, what it may not see until it is done, and the unsealing."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from orchestrator.evaluation.sealed import Job, Scored, evaluation_jobs, unseal
from orchestrator.experiment import Experiment
from orchestrator.preparation import PlannedFold, plan_folds
from orchestrator.training.task import Unlabelled
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
