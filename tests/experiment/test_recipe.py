"""The recipe: defaults that depend on what is trained, and parts that do not go together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.experiment.curriculum import DataCurriculum, LinearPacing
from orchestrator.experiment.recipe import PretrainedTeacher, Recipe, Training


def test_a_head_over_a_frozen_encoder_has_defaults_of_its_own() -> None:
    teacher = PretrainedTeacher(kind="pretrained", root="/whisper")

    own = {
        "epochs": 100,
        "lr": 3e-3,
        "weight_decay": 0.1,
        "warmup_share": 0.0,
        "label_smoothing": 0.1,
    }
    # the order of keys too: it is the order of the file that records what was run
    expected = Training().model_dump(mode="json") | own
    assert list(teacher.training.model_dump(mode="json").items()) == list(expected.items())


def test_setting_one_key_of_the_heads_training_keeps_the_others() -> None:
    teacher = PretrainedTeacher.model_validate(
        {"kind": "pretrained", "root": "/whisper", "training": {"epochs": 7}}
    )

    assert (teacher.training.epochs, teacher.training.lr, teacher.training.weight_decay) == (
        7,
        3e-3,
        0.1,
    )


def test_augmentation_of_a_frozen_encoder_is_refused() -> None:
    with pytest.raises(ValidationError, match="augment has no effect on a pretrained encoder"):
        PretrainedTeacher.model_validate(
            {"kind": "pretrained", "root": "/whisper", "training": {"augment": {"noise": 0.1}}}
        )


# What does not go together

VIT = {"kind": "vertical-vit"}
INVERTED = {"kind": "inverted-transformer"}
TAUGHT = {"cross_entropy": 1.0, "distillation": 0.5}
BILEVEL = {"kind": "bilevel"}
TEACHING = {"kind": "learning-to-teach"}
HOTTER = {"kind": "curriculum"}
SATN = {"kind": "satn"}
RECOGNISER = {"kind": "recogniser"}
WHISPER = {"kind": "pretrained", "root": "/whisper"}
LISTENS: dict[str, Any] = {
    "teacher": None,
    "student": SATN,
    "source": RECOGNISER,
    "objectives": {"attention_transfer": 2.0},
}
"""A student that attends as a recogniser does, and has no teacher."""


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"student": VIT, "teacher": VIT, "objectives": TAUGHT, **sections})


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"objectives": {"cross_entropy": 0.0}},
            "objectives: every weight is 0, so there is nothing to learn",
        ),
        (
            {"objectives": {"cross_entropy": 0.0, "supervised_contrastive": 0.5}},
            "objectives: supervised_contrastive alone never trains the student's head; "
            "give cross_entropy or distillation a weight",
        ),
        (
            {"objectives": {"cross_entropy": 0.0, "feature_map": 0.5}},
            "objectives: feature_map alone never trains the student's head; "
            "give cross_entropy or distillation a weight",
        ),
        (
            {"teacher": None},
            "objectives.distillation is 0.5 but there is no teacher; "
            "add recipe.teacher or set the weight to 0",
        ),
        (
            {"schedule": {"kind": "matching-first"}},
            "schedule.kind is 'matching-first' but objectives.feature_map is 0; "
            "give it a weight or use the joint schedule",
        ),
        (
            {"student": INVERTED, "training": {"augment": {"crop_seconds": 3.5}}},
            "training.augment.crop_seconds 3.5 is longer than student.window_seconds 3.0; "
            "leave it out to crop to the window",
        ),
        *(
            (
                {
                    "teacher": None,
                    "objectives": {},
                    "curriculum": {"kind": "data", "difficulty": difficulty},
                },
                f"curriculum.difficulty is {difficulty!r} but there is no teacher; add "
                "recipe.teacher, or use own-loss, cross-validated-loss, agreement or random",
            )
            for difficulty in ("teacher-loss", "teacher-probability")
        ),
        (
            {"curriculum": {"kind": "data", "difficulty": "random", "knowledge": "in-sample"}},
            "curriculum.knowledge is 'in-sample' but difficulty is 'random', which asks no "
            "teacher; leave knowledge out, or use teacher-loss",
        ),
        (
            {"objectives": {"supervised_contrastive": 0.3}, "training": {"batch_size": 1}},
            "objectives.supervised_contrastive is 0.3 but training.batch_size is 1, so no batch "
            "has two utterances to compare; raise it",
        ),
        (
            {"objectives": {"feature_map": 1.0}, "temperature": HOTTER},
            "temperature.kind is 'curriculum' but objectives.distillation is 0, so there is no "
            "temperature; give it a weight",
        ),
        (
            {"objectives": {"feature_map": 1.0}, "meta": BILEVEL},
            "meta.learn names temperatures but objectives.distillation is 0; give it a weight, or "
            "learn weights only",
        ),
        (
            {"temperature": HOTTER, "meta": BILEVEL},
            "meta.learn names temperatures but temperature.kind is 'curriculum'; use kind: fixed, "
            "whose value is where they start",
        ),
        *(
            (
                {"temperature": {"kind": "fixed", "value": value}, "meta": BILEVEL},
                f"temperature.value {value} is not between meta.temperature_bounds [1.0, 10.0], so "
                "learning cannot start there",
            )
            for value in (1.0, 10.0, 20.0)
        ),
        (
            {
                "teacher": None,
                "objectives": {},
                "meta": {**BILEVEL, "learn": ["weights"]},
            },
            "meta.learn names weights but cross_entropy is the only objective with one, and the "
            "others are weighed against it; give another a weight",
        ),
        (
            {"objectives": {"feature_map": 1.0}, "meta": TEACHING},
            "meta.kind is 'learning-to-teach' but objectives.distillation is 0; give it a weight",
        ),
        (
            {"knowledge": "cross-fitted", "meta": TEACHING},
            "meta.kind is 'learning-to-teach' but knowledge is 'cross-fitted'; the teacher that is "
            "updated is the fold's own, so use in-sample",
        ),
        (
            {
                "teacher": {
                    "kind": "pretrained",
                    "root": "/whisper",
                    "mode": {"kind": "full", "gradient_checkpointing": True},
                },
                "meta": TEACHING,
            },
            "meta.kind is 'learning-to-teach' but teacher.mode.gradient_checkpointing is true, "
            "which does not go with gradients through a step of the student; set it to false",
        ),
        *(
            (
                {"objectives": {"supervised_contrastive": 1.0}, "unlabelled": {"kind": kind}},
                f"unlabelled.kind is {kind!r} but no objective does without labels; give "
                "objectives.distillation, feature_map or attention_transfer a weight",
            )
            for kind in ("first", "mixed")
        ),
        (
            {"meta": {**BILEVEL, "temperature_bounds": [5.0, 2.0]}},
            "temperature_bounds [5.0, 2.0]: the first must be the lower one",
        ),
        ({"student": {**INVERTED, "heads": 3}}, "heads 3 does not divide dim 128"),
        (
            {**LISTENS, "objectives": {"cross_entropy": 0.0, "attention_transfer": 2.0}},
            "objectives: attention_transfer alone never trains the student's head; "
            "give cross_entropy or distillation a weight",
        ),
        (
            {**LISTENS, "source": None},
            "objectives.attention_transfer is 2.0 but there is no source; add recipe.source, such "
            "as {kind: recogniser}",
        ),
        (
            {"student": SATN, "initialise": "source"},
            "initialise is 'source' but there is no source; add recipe.source, such as "
            "{kind: recogniser}",
        ),
        (
            {**LISTENS, "student": VIT},
            "objectives.attention_transfer has a weight, but a student of kind 'vertical-vit' has "
            "no attention among steps of time alone; use kind: satn or conv-transformer",
        ),
        (
            {**LISTENS, "attention_transfer": {"pairs": [[1, 2]]}},
            "attention_transfer.pairs: [1, 2] names layer 2 of the student, which has 1; name one "
            "that it has, or give student.depth 2 or more",
        ),
        (
            {
                **LISTENS,
                "attention_transfer": {"match": "similarity"},
                "training": {"batch_size": 1},
            },
            "attention_transfer.match is 'similarity' but training.batch_size is 1, so no batch "
            "has two utterances to compare; raise it",
        ),
        (
            {"student": {**SATN, "dim": 64}, "source": RECOGNISER, "initialise": "source"},
            "initialise is 'source', but student.dim is 64 and source.network.dim is 96; make "
            "them equal",
        ),
        (
            {"student": SATN, "training": {"augment": {"crop_seconds": 3.5}}},
            "training.augment.crop_seconds 3.5 is longer than student.segment_seconds 3.0; "
            "leave it out to crop to the segment",
        ),
        # the first weights are no objective
        (
            {
                "teacher": None,
                "student": SATN,
                "source": RECOGNISER,
                "initialise": "source",
                "objectives": {},
                "unlabelled": {"kind": "first"},
            },
            "unlabelled.kind is 'first' but no objective does without labels; give "
            "objectives.distillation, feature_map or attention_transfer a weight",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_mend(
    sections: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        recipe(**sections)
    (fault,) = caught.value.errors()

    assert fault["msg"] == f"Value error, {told}"


@pytest.mark.parametrize(
    "sections",
    [
        {"student": INVERTED, "training": {"augment": {"crop_seconds": 3.0}}},
        # needs no teacher, whatever the student learns from
        {
            "teacher": None,
            "objectives": {},
            "curriculum": {"kind": "data", "difficulty": "own-loss"},
        },
        # a teacher that teaches nothing may tell what is hard
        {"objectives": {}, "curriculum": {"kind": "data"}},
        {"temperature": HOTTER, "meta": {**BILEVEL, "learn": ["weights"]}},
        {
            "temperature": {"kind": "fixed", "value": 20.0},
            "meta": {**BILEVEL, "learn": ["weights"]},
        },
        {"temperature": HOTTER, "meta": TEACHING},
        {"teacher": {"kind": "pretrained", "root": "/whisper"}, "meta": TEACHING},
        {
            "teacher": {"kind": "pretrained", "root": "/whisper", "mode": {"kind": "top-n"}},
            "meta": TEACHING,
        },
        {"objectives": {"feature_map": 1.0}, "unlabelled": {"kind": "mixed"}},
        {
            "teacher": None,
            "objectives": {"supervised_contrastive": 1.0},
            "meta": {**BILEVEL, "learn": ["weights"]},
        },
        LISTENS,
        {**LISTENS, "source": WHISPER},
        {**LISTENS, "initialise": "source"},
        {**LISTENS, "student": {"kind": "conv-transformer"}},
        {**LISTENS, "unlabelled": {"kind": "mixed"}},
        # a weight beside the teacher's
        {**LISTENS, "teacher": VIT, "objectives": {**TAUGHT, "attention_transfer": 1.0}},
        {**LISTENS, "meta": {**BILEVEL, "learn": ["weights"]}},
        # segments are no crop, and whole utterances may be cropped to anything
        {"student": SATN, "training": {"augment": {"crop_seconds": 3.0}}},
        {
            "student": {**SATN, "segment_seconds": None},
            "training": {"augment": {"crop_seconds": 9.0}},
        },
        # a source that nothing listens to goes with every student
        {"source": RECOGNISER, "attention_transfer": {"pairs": [[7, 8]]}},
        {"source": WHISPER},
        # both kinds of what is learned, with no more than one objective beside cross-entropy
        {"objectives": {"cross_entropy": 0.0, "distillation": 1.0}, "meta": BILEVEL},
    ],
)
def test_what_goes_together(sections: dict[str, Any]) -> None:
    assert recipe(**sections) == Recipe.model_validate(recipe(**sections).model_dump())


# What follows from it


def test_weights_are_learned_of_all_that_have_one_but_cross_entropy() -> None:
    wanted = {"cross_entropy": 1.0, "supervised_contrastive": 0.1, "distillation": 0.5}

    assert recipe(objectives=wanted).learned_weights == ("distillation", "supervised_contrastive")
    assert recipe(**LISTENS).learned_weights == ("attention_transfer",)


@pytest.mark.parametrize(
    ("sections", "teacher", "source"),
    [
        ({}, True, False),
        ({"teacher": None, "objectives": {}}, False, False),
        (LISTENS, False, True),
        ({**LISTENS, "objectives": {}, "initialise": "source"}, False, True),
        ({**LISTENS, "objectives": {}}, False, False),
        (
            {**LISTENS, "teacher": VIT, "objectives": {**TAUGHT, "attention_transfer": 1}},
            True,
            True,
        ),
    ],
)
def test_teacher_and_source_are_needed_where_the_student_has_something_of_them(
    sections: dict[str, Any], teacher: bool, source: bool
) -> None:
    built = recipe(**sections)

    assert (built.needs_teacher, built.needs_source) == (teacher, source)
    assert built.learns_from_another == (teacher or source)


@pytest.mark.parametrize(
    ("meta", "held"),
    [
        ({"kind": "none"}, False),
        ({"kind": "none", "train_on_held": True}, True),
        (BILEVEL, True),
        (TEACHING, True),
    ],
)
def test_held_speakers_are_needed_to_learn_from(meta: dict[str, Any], held: bool) -> None:
    assert recipe(meta=meta).needs_held == held


@pytest.mark.parametrize(
    ("student", "crop", "expected"),
    [
        (VIT, None, None),
        (VIT, 2.0, 2.0),
        (INVERTED, None, 3.0),
        ({**INVERTED, "window_seconds": 1.5}, None, 1.5),
        (INVERTED, 2.0, 2.0),
        (SATN, None, 3.0),
        ({**SATN, "segment_seconds": 1.5}, None, 1.5),
        (SATN, 2.0, 2.0),
        ({**SATN, "segment_seconds": None}, None, None),
        ({**SATN, "segment_seconds": None}, 2.0, 2.0),
    ],
)
def test_a_student_hears_what_it_reads_at_once_at_most(
    student: dict[str, Any], crop: float | None, expected: float | None
) -> None:
    built = recipe(student=student, training={"augment": {"noise": 0.1, "crop_seconds": crop}})

    assert built.student_augment.crop_seconds == expected
    assert built.student_augment.noise == 0.1


def test_the_baseline_has_as_many_epochs_and_nothing_else() -> None:
    taught = recipe(
        objectives={**TAUGHT, "feature_map": 1.0, "supervised_contrastive": 0.5},
        schedule={"kind": "matching-first", "matching_epochs": 7},
        unlabelled={"kind": "first", "epochs": 5},
        curriculum={"kind": "data"},
        meta=BILEVEL,
        training={"epochs": 20, "batches": "class-balanced", "lr": 0.01},
    )
    alone = taught.alone()

    assert alone == Recipe.model_validate(
        {
            "student": VIT,
            "training": {"epochs": 32, "batches": "class-balanced", "lr": 0.01},
        }
    )


def test_the_baseline_knows_no_source() -> None:
    training = {"epochs": 20, "lr": 0.01}
    alone = recipe(
        **LISTENS,
        initialise="source",
        attention_transfer={"match": "l2"},
        training=training,
    ).alone()

    assert alone == Recipe.model_validate({"student": SATN, "training": training})


def test_parameters_of_a_pacing_without_a_kind_are_of_the_linear_one() -> None:
    section = DataCurriculum.model_validate({"kind": "data", "pacing": {"start": 0.2}})

    assert section.pacing == LinearPacing(kind="linear", start=0.2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "float16"}, "float16 is called fp16 here"),
        ({"precision": "bfloat16"}, "bfloat16 is called bf16 here"),
        ({"batch_size": 8, "micro_batch": 9}, "micro_batch 9 is more than batch_size 8"),
        ({"patience": 3, "epoch_choice": "last"}, "patience is 3 but epoch_choice is 'last'"),
    ],
)
def test_options_of_a_fit_that_cannot_be_say_why(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Training.model_validate(options)


def test_a_scaled_loss_does_not_go_with_a_curriculum_of_the_temperature() -> None:
    plain: dict[str, Any] = {
        "teacher": {"kind": "vertical-vit"},
        "student": {"kind": "vertical-vit"},
        "objectives": {"cross_entropy": 1.0, "distillation": 1.0},
        "temperature": {"kind": "curriculum"},
    }
    assert Recipe.model_validate(plain | {"training": {"precision": "bf16"}})

    with pytest.raises(ValidationError, match="training.precision is 'fp16'.*use bf16"):
        Recipe.model_validate(plain | {"training": {"precision": "fp16"}})
