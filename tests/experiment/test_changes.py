"""Other recipes around an experiment's own."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import ablation_recipes, changed_recipe, searched_recipe
from orchestrator.experiment.recipe import (
    Bilevel,
    NoMeta,
    PretrainedSource,
    PretrainedTeacher,
    RecogniserSource,
)

VIT = {"kind": "vertical-vit"}
ENCODER = {"kind": "pretrained", "root": "/models/whisper"}
EXPERIMENT: dict[str, Any] = {
    "name": "x",
    "corpora": [{"kind": "synthetic"}],
    "protocol": {"kind": "leave-one-speaker-out", "held_speakers": 1},
    "recipe": {
        "student": VIT,
        "teacher": VIT,
        "objectives": {"distillation": 1.0},
        "meta": {"kind": "bilevel", "lr": 0.1, "interval": 7},
    },
}


def made(ablations: dict[str, Any] | None = None, **recipe: Any) -> Experiment:
    sections = {"recipe": EXPERIMENT["recipe"] | recipe, "evaluate": {"ablations": ablations or {}}}
    return Experiment.model_validate(EXPERIMENT | sections)


def refused(changes: dict[str, Any], **recipe: Any) -> str:
    with pytest.raises(ExperimentError) as caught:
        ablation_recipes(made({"mine": changes}, **recipe))
    return str(caught.value)


def test_each_ablation_changes_the_recipe_in_its_own_way_in_the_files_order() -> None:
    experiment = made(
        {
            "no-meta": {"recipe.meta.kind": "none"},
            "a-control": {"recipe.meta": {"kind": "none", "train_on_held": True}},
            "twice+more": {"recipe.meta.interval": 2, "recipe.training.lr": 0.1},
        }
    )
    found = ablation_recipes(experiment)
    meta = experiment.recipe.meta

    assert list(found) == ["no-meta", "a-control", "twice+more"]
    assert found["no-meta"].meta == NoMeta()
    assert found["a-control"].meta == NoMeta(train_on_held=True)
    assert found["twice+more"].meta == meta.model_copy(update={"interval": 2})
    assert found["twice+more"].training.lr == 0.1
    # the others' changes are not heard of, nor is the experiment changed
    assert isinstance(meta, Bilevel)
    assert (meta.lr, meta.interval) == (0.1, 7)
    assert found["no-meta"].training == experiment.recipe.training


def test_an_ablation_may_be_written_as_sections() -> None:
    nested = {"recipe": {"meta": {"interval": 2}, "training": {"lr": 0.1}}}
    dotted = {"recipe.meta.interval": 2, "recipe.training.lr": 0.1}
    found = ablation_recipes(made({"nested": nested, "dotted": dotted}))

    assert found["nested"] == found["dotted"]


def test_a_misspelt_key_of_an_ablation_written_as_sections_is_named() -> None:
    assert "recipe.meta.kynd" in refused({"recipe": {"meta": {"kynd": "none"}}})


def test_an_ablation_that_changes_nothing_is_refused() -> None:
    assert "evaluate.ablations.mine changes nothing" in refused({})


def test_without_ablations_there_are_no_recipes() -> None:
    assert ablation_recipes(made()) == {}


@pytest.mark.parametrize("key", ["features.bins", "evaluate.seeds", "recipes.meta.kind"])
def test_an_ablation_of_something_else_than_the_recipe_is_refused(key: str) -> None:
    said = refused({"recipe.training.lr": 0.1, key: 40})

    assert f"evaluate.ablations.mine changes '{key}'" in said
    assert "an ablation changes the recipe only, by keys such as recipe.meta.kind" in said


def test_an_unknown_key_is_refused_and_named() -> None:
    said = refused({"recipe.meta.intervall": 3})

    assert said.startswith("evaluate.ablations.mine: ")
    assert "recipe.meta" in said
    assert "intervall" in said


def test_an_impossible_recipe_is_refused_and_told_why() -> None:
    said = refused({"recipe.objectives.distillation": 0.0})

    assert said.startswith("evaluate.ablations.mine: ")
    assert "objectives.distillation is 0" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [("root", "/models/other"), ("layers", [1]), ("pooling", "statistics"), ("frames", False)],
)
def test_what_is_computed_before_all_fold_runs_is_refused(key: str, value: Any) -> None:
    said = refused({f"recipe.teacher.{key}": value}, teacher=ENCODER)

    assert said.startswith(f"evaluate.ablations.mine: recipe.teacher.{key} cannot be changed by an")
    assert "computed once" in said


@pytest.mark.parametrize(
    ("mode", "key", "value"),
    [
        ({"kind": "top-n"}, "mode.layers", 3),
        ({"kind": "top-n"}, "mode.kind", "full"),
        ({"kind": "frozen"}, "mode.kind", "lora"),
    ],
)
def test_what_of_the_encoder_is_trained_is_refused(mode: Any, key: str, value: Any) -> None:
    said = refused({f"recipe.teacher.{key}": value}, teacher=ENCODER | {"mode": mode})

    assert said.startswith(f"evaluate.ablations.mine: recipe.teacher.{key} cannot be changed by an")


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("top-n", "lr", 0.5),
        ("top-n", "gradient_checkpointing", True),
        ("full", "lr", 0.5),
        ("lora", "rank", 2),
        ("lora", "alpha", 2.0),
        ("lora", "dropout", 0.5),
    ],
)
def test_how_the_encoder_is_trained_is_an_ablation(kind: str, key: str, value: Any) -> None:
    teacher = ENCODER | {"mode": {"kind": kind}}
    recipe = {"teacher": teacher, "meta": {"kind": "none"}}
    found = ablation_recipes(made({"mine": {f"recipe.teacher.mode.{key}": value}}, **recipe))

    assert isinstance(found["mine"].teacher, PretrainedTeacher)
    assert getattr(found["mine"].teacher.mode, key) == value


def test_another_fit_of_the_same_encoders_head_is_an_ablation() -> None:
    found = ablation_recipes(made({"mine": {"recipe.teacher.training.lr": 0.1}}, teacher=ENCODER))

    assert found["mine"].teacher is not None
    assert found["mine"].teacher.training is not None
    assert found["mine"].teacher.training.lr == 0.1


def test_an_encoder_that_nobody_computes_is_refused() -> None:
    said = refused({"recipe.teacher": ENCODER})

    assert "recipe.teacher.kind cannot be changed by an ablation to 'pretrained'" in said
    assert "give the recipe itself a pretrained teacher" in said


def test_a_vit_in_the_place_of_an_encoder_is_an_ablation() -> None:
    found = ablation_recipes(made({"mine": {"recipe.teacher": VIT}}, teacher=ENCODER))

    assert found["mine"].teacher is not None
    assert found["mine"].teacher.kind == "vertical-vit"


def test_an_ablation_that_several_workers_cannot_train_is_refused() -> None:
    changes = {"one-by-one": {"recipe.training.batch_size": 1}}
    sections = {
        "recipe": EXPERIMENT["recipe"] | {"meta": {"kind": "none"}},
        "evaluate": {"ablations": changes},
        "resources": {"student_workers": 2},
    }
    with pytest.raises(ExperimentError, match=r"ablations\.one-by-one: .*less than the 2 workers"):
        ablation_recipes(Experiment.model_validate(EXPERIMENT | sections))


def test_a_search_says_that_it_searched() -> None:
    with pytest.raises(ExperimentError, match=r"recipe\.teacher\.root cannot be searched"):
        changed_recipe(
            made(teacher=ENCODER), {"recipe.teacher.root": "/models/other"}, doing="searched"
        )


# Sources of attention

LISTENS: dict[str, Any] = {
    "student": {"kind": "satn"},
    "teacher": None,
    "source": {"kind": "recogniser"},
    "objectives": {"attention_transfer": 1.0},
    "attention_transfer": {"match": "l2"},
    "meta": {"kind": "none"},
}
WHISPER = {"kind": "pretrained", "root": "/models/whisper"}


def listening(ablations: dict[str, Any] | None = None, **recipe: Any) -> Experiment:
    corpora = [*EXPERIMENT["corpora"], {"kind": "fsdd", "root": "/data/fsdd"}]
    sections = {"recipe": LISTENS | recipe, "evaluate": {"ablations": ablations or {}}}
    return Experiment.model_validate(EXPERIMENT | sections | {"corpora": corpora})


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        (LISTENS["source"], {"recipe.source.units": "words"}),
        (LISTENS["source"], {"recipe.source.network.dim": 64}),
        (LISTENS["source"], {"recipe.source.strings": {}}),
        (LISTENS["source"], {"recipe.source": WHISPER}),
        (WHISPER, {"recipe.source.layers": [1]}),
        (WHISPER, {"recipe.source.kind": "recogniser"}),
        (LISTENS["source"], {"recipe.source": None, "recipe.objectives.attention_transfer": 0}),
        (None, {"recipe.source": WHISPER}),
    ],
)
def test_another_source_cannot_be_searched(source: Any, changes: dict[str, Any]) -> None:
    experiment = listening(
        source=source, objectives=LISTENS["objectives"] if source else {"cross_entropy": 1.0}
    )
    with pytest.raises(ExperimentError) as caught:
        searched_recipe(experiment, changes)

    assert str(caught.value) == (
        "recipe.source cannot be searched: recognisers are fitted, and encoders run, once and "
        "before any fold run; compare sources by evaluate.ablations"
    )


def test_what_students_take_from_a_source_is_searched() -> None:
    experiment = listening()
    changes = {
        "recipe.objectives.attention_transfer": 0.0,
        "recipe.attention_transfer.match": "similarity",
        "recipe.initialise": "source",
        "recipe.student.segment_pooling": "max",
        # said, but not changed
        "recipe.source.units": "characters",
    }
    found = searched_recipe(experiment, changes)

    assert found.source == experiment.recipe.source
    assert found.attention_transfer.match == "similarity"
    assert (found.initialise, found.objectives.attention_transfer) == ("source", 0.0)


def test_a_trial_is_refused_what_an_ablation_is() -> None:
    with pytest.raises(ExperimentError, match=r"recipe\.teacher\.root cannot be searched"):
        searched_recipe(made(teacher=ENCODER), {"recipe.teacher.root": "/models/other"})


def test_sources_are_compared_by_ablations() -> None:
    experiment = listening(
        {
            "whisper": {"recipe.source": WHISPER},
            "words": {"recipe.source.units": "words"},
            "weights-only": {
                "recipe.initialise": "source",
                "recipe.objectives.attention_transfer": 0,
            },
            "none": {"recipe.source": None, "recipe.objectives.attention_transfer": 0},
        }
    )
    found = ablation_recipes(experiment)
    own = experiment.recipe.source
    assert isinstance(own, RecogniserSource)

    assert isinstance(found["whisper"].source, PretrainedSource)
    assert found["words"].source == own.model_copy(update={"units": "words"})
    assert found["weights-only"].source == own
    assert found["none"].source is None
    assert [found[name].needs_source for name in found] == [True, True, True, False]


def test_an_ablation_that_listens_to_a_recogniser_needs_speech_with_its_words() -> None:
    changes = {key: LISTENS[key] for key in ("student", "source", "objectives")}
    said = refused({"recipe": changes}, meta={"kind": "none"})

    assert said.startswith("evaluate.ablations.mine: ")
    assert "recipe.source.kind is 'recogniser' but no corpus has role: transcribed" in said
