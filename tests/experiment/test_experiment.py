"""What an experiment's sections must be to each other: roles, protocols, held speakers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe, resolved

EMODB = {"kind": "emodb", "root": "/data/emodb"}
MELD = {"kind": "meld", "root": "/data/meld", "protocol": {"kind": "official"}}
MORE = {"kind": "folder", "root": "/data/more"}
DIGITS: dict[str, Any] = {"kind": "fsdd", "root": "/data/fsdd"}
SPEAKERS = {"kind": "leave-one-speaker-out"}
VIT = {"kind": "vertical-vit"}
TAUGHT = {"student": VIT, "teacher": VIT, "objectives": {"distillation": 1.0}}
SATN: dict[str, Any] = {"student": {"kind": "satn"}, "source": {"kind": "recogniser"}}
LISTENS = SATN | {"objectives": {"attention_transfer": 1.0}}
HEARS = TAUGHT | {"unlabelled": {"kind": "mixed"}}
META = TAUGHT | {"meta": {"kind": "bilevel"}}
CONTROL = TAUGHT | {"meta": {"kind": "none", "train_on_held": True}}


def made(*corpora: dict[str, Any], **sections: Any) -> Experiment:
    plain = {"name": "x", "protocol": SPEAKERS, "recipe": {"student": VIT}}
    return Experiment.model_validate(plain | {"corpora": list(corpora)} | sections)


def refused(*corpora: dict[str, Any], **sections: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        made(*corpora, **sections)
    return str(caught.value)


def test_roles_divide_the_corpora() -> None:
    both = made(MORE, DIGITS, EMODB, recipe=HEARS)

    assert [corpus.title for corpus in both.labelled] == ["emodb"]
    assert [corpus.title for corpus in both.unlabelled] == ["folder"]
    assert [corpus.title for corpus in both.transcribed] == ["fsdd"]
    assert Experiment.model_validate(resolved(both)) == both


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (MORE | {"role": "labelled"}, "has no labels; use role: unlabelled, or kind: table"),
        (MORE | {"labels": {"a": "b"}}, "no label is read; remove labels"),
        (MORE | {"protocol": SPEAKERS}, "no folds are made of it; remove protocol"),
        (
            MORE | {"columns": {"emotion": {"source": "id", "map": {}}}},
            "no label is read; remove columns.emotion",
        ),
        (MORE | {"pattern": "/x/*"}, "pattern '/x/\\*' does not lead to files below root"),
        (MORE | {"pattern": "../*"}, "does not lead to files below root"),
        (MORE | {"pattern": "**.wav"}, "does not lead to files below root"),
        (MORE | {"pattern": ""}, "does not lead to files below root"),
        (EMODB | {"name": "b", "speakers_apart": True}, "speakers_apart says something of an unl"),
        (EMODB | {"name": "b", "role": "none"}, "'labelled', 'unlabelled' or 'transcribed'"),
        *(
            (
                DIGITS | {"role": role, "labels": {"a": "b"}},
                f"role is '{role}', so no label is read",
            )
            for role in ("transcribed", "unlabelled")
        ),
        (DIGITS | {"protocol": SPEAKERS}, "no folds are made of it; remove protocol"),
        (DIGITS | {"role": "labelled"}, "spoken digits have no emotions; leave role out"),
        (MORE | {"role": "transcribed"}, "nothing says which words are said in a folder"),
        (
            EMODB | {"name": "b", "protocol": {"kind": "cross-corpus"}},
            "give it as the experiment's protocol",
        ),
    ],
)
def test_a_corpus_that_contradicts_itself_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        made(EMODB, changed, recipe=HEARS)


def test_there_is_something_to_measure() -> None:
    for roles in (("unlabelled", "unlabelled"), ("unlabelled", "transcribed")):
        other = [
            EMODB | {"name": role + str(place), "role": role} for place, role in enumerate(roles)
        ]
        assert "corpora: none is labelled, so there is nothing to measure" in refused(*other)


def test_a_recipe_that_wants_unlabelled_speech_needs_some() -> None:
    said = refused(EMODB, recipe=HEARS)

    for part in ("recipe.unlabelled.kind is 'mixed'", "role: unlabelled", "kind: folder"):
        assert part in said


@pytest.mark.parametrize(
    ("sections", "read"),
    [
        ({}, False),
        ({"recipe": TAUGHT}, False),
        ({"recipe": HEARS}, True),
        ({"search": {"space": "distillation"}}, True),
        ({"evaluate": {"ablations": {"plain": {"recipe.meta.kind": "none"}}}}, False),
        ({"evaluate": {"ablations": {"more": {"recipe.unlabelled.kind": "first"}}}}, True),
        ({"evaluate": {"ablations": {"more": {"recipe.unlabelled": {"kind": "first"}}}}}, True),
    ],
)
def test_unlabelled_speech_is_read_where_something_may_want_it(
    sections: dict[str, Any], read: bool
) -> None:
    assert made(EMODB, MORE, **sections).hears_unlabelled is read
    assert not made(EMODB, **sections | {"recipe": TAUGHT}).hears_unlabelled


# Transcribed speech


@pytest.mark.parametrize(
    "sections",
    [
        {"recipe": LISTENS},
        {"recipe": SATN | {"initialise": "source"}},
        # trials may listen
        {"recipe": SATN, "search": {"space": "satn2021"}},
    ],
)
def test_a_recogniser_that_students_have_something_of_needs_speech_with_its_words(
    sections: dict[str, Any],
) -> None:
    made(EMODB, DIGITS, **sections)
    said = refused(EMODB, **sections)

    assert "recipe.source.kind is 'recogniser' but no corpus has role: transcribed" in said
    assert "add one to corpora, such as {kind: fsdd, root: FOLDER}" in said
    # unlabelled speech has no words
    assert "no corpus has role: transcribed" in refused(
        EMODB, DIGITS | {"role": "unlabelled", "speakers_apart": True}, **sections
    )


def test_nobody_needs_words_where_no_student_listens_to_a_recogniser() -> None:
    encoder = {"kind": "pretrained", "root": "/data/whisper"}
    match = {"attention_transfer": {"match": "l2"}}

    made(EMODB, recipe=SATN)
    made(EMODB, recipe=LISTENS | match | {"source": encoder}, search={"space": "satn2021"})
    # and what nobody reads may stand there
    made(EMODB, DIGITS)


def test_a_recogniser_learns_from_one_corpus() -> None:
    said = refused(EMODB, DIGITS, DIGITS | {"name": "more"}, recipe=LISTENS)

    assert "corpora: 'fsdd' and 'more' are transcribed, but a recogniser learns from one" in said


def test_a_transcribed_corpus_is_no_part_of_cross_corpus() -> None:
    other = EMODB | {"name": "other"}
    made(EMODB, other, DIGITS, recipe=LISTENS, protocol={"kind": "cross-corpus"})

    for part in ("train", "test"):
        crossed = {"kind": "cross-corpus", part: ["fsdd"]}
        said = refused(EMODB, other, DIGITS, recipe=LISTENS, protocol=crossed)
        assert "corpus 'fsdd' is transcribed, so it is neither trained on as labelled" in said


def test_two_corpora_with_labels_are_needed_to_have_some_in_common() -> None:
    assert "one corpus only that has labels" in refused(EMODB, MORE, common_labels=True)
    assert "one corpus only that has labels" in refused(
        EMODB, MORE, protocol={"kind": "cross-corpus"}
    )


def test_an_unlabelled_corpus_is_no_part_of_cross_corpus() -> None:
    other = EMODB | {"name": "other"}
    made(EMODB, other, MORE, protocol={"kind": "cross-corpus", "train": ["emodb"]})

    said = refused(EMODB, other, MORE, protocol={"kind": "cross-corpus", "train": ["folder"]})
    assert "corpus 'folder' is unlabelled" in said


def test_a_corpus_has_its_own_protocol_unless_corpora_cross() -> None:
    assert made(EMODB, MELD).corpora[1].protocol.kind == "official"

    said = refused(EMODB, MELD, protocol={"kind": "cross-corpus"})
    assert "protocol is cross-corpus" in said
    assert "corpora.1.protocol says how 'meld' alone becomes folds; remove it" in said


HELD = SPEAKERS | {"held_speakers": 1}


@pytest.mark.parametrize(
    ("recipe", "wants"),
    [(META, "recipe.meta.kind is 'bilevel'"), (CONTROL, "recipe.meta.train_on_held is true")],
)
@pytest.mark.parametrize(
    ("corpora", "sections", "key"),
    [
        ([EMODB], {}, "protocol.held_speakers"),
        ([EMODB], {"protocol": {"kind": "official"}}, "protocol.held_share"),
        (
            [EMODB],
            {"protocol": HELD, "search": {"space": "s", "protocol": {"kind": "random-folds"}}},
            "search.protocol.held_share",
        ),
        ([EMODB, MELD], {"protocol": HELD}, "corpora.1.protocol.held_share"),
    ],
)
def test_held_speakers_that_are_used_must_be_held(
    recipe: dict[str, Any],
    wants: str,
    corpora: list[dict[str, Any]],
    sections: dict[str, Any],
    key: str,
) -> None:
    said = refused(*corpora, recipe=recipe, **sections)

    assert f"{wants} but {key} is 0" in said
    assert f"set {key}, or" in said


def test_only_protocols_that_deal_folds_must_hold_speakers() -> None:
    held = MELD | {"protocol": {"kind": "official", "held_share": 0.1}}

    made(EMODB, recipe=META, protocol=HELD)
    made(EMODB, held, recipe=META, protocol=HELD)
    # every corpus has its own, so nobody asks the others
    made(held, recipe=META, search={"space": "s", "protocol": SPEAKERS})


@pytest.mark.parametrize("name", ["Fast", "-a", "a b", "", "a/b"])
def test_ablations_have_plain_names(name: str) -> None:
    assert f"the name {name!r}" in refused(EMODB, evaluate={"ablations": {name: {}}})


@pytest.mark.parametrize("name", ["teacher", "student-alone", "distilled"])
def test_ablations_are_no_other_systems(name: str) -> None:
    assert f"{name!r} is a system of its own" in refused(EMODB, evaluate={"ablations": {name: {}}})


def test_a_resolved_corpus_with_labels_of_the_users_is_read_again() -> None:
    """A trial's recipe is validated with everything else written out, the label set too."""
    mine = {"kind": "iemocap", "root": "/data/iemocap", "labels": {"anger": "a", "sadness": "s"}}
    changed = override_recipe(made(mine), {"recipe.training.lr": 0.1})

    assert changed.recipe.training.lr == 0.1
    assert "both say which emotions" in refused(mine | {"label_set": "6"})


# Several workers

CONTRAST = {"student": VIT, "objectives": {"supervised_contrastive": 0.1}}
HOTTER = TAUGHT | {"temperature": {"kind": "curriculum"}}
HELD = SPEAKERS | {"held_speakers": 2}


@pytest.mark.parametrize(
    "recipe",
    [
        CONTRAST,
        HOTTER,
        META,
        TAUGHT | {"meta": {"kind": "learning-to-teach"}},
        LISTENS | {"attention_transfer": {"match": "similarity"}},
    ],
)
def test_what_needs_the_whole_batch_goes_with_several_workers(recipe: dict[str, Any]) -> None:
    made(EMODB, DIGITS, recipe=recipe, protocol=HELD, resources={"student_workers": 2})


@pytest.mark.parametrize("gpus", [0.0, 0.3, 1.0, 2.0])
def test_a_worker_has_a_part_of_a_gpu_or_whole_ones(gpus: float) -> None:
    assert made(EMODB, resources={"trial": {"gpus": gpus}}).resources.trial.gpus == gpus


def test_a_gpu_and_a_half_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.5 is neither a part of one GPU nor .* say 1 or 2"):
        made(EMODB, resources={"trial": {"gpus": 1.5}})


def test_several_workers_may_have_gpus() -> None:
    made(EMODB, resources={"student_workers": 2, "trial": {"gpus": 0.5}})


def test_a_plain_recipe_may_have_several_workers() -> None:
    both = made(EMODB, MORE, recipe=HEARS, resources={"student_workers": 2, "teacher_workers": 3})

    assert both.resources.student_workers == 2


@pytest.mark.parametrize(
    "sections",
    [
        LISTENS,
        LISTENS | {"attention_transfer": {"match": "l2"}},
        # without a weight nothing is compared
        SATN | {"attention_transfer": {"match": "similarity"}},
        SATN | {"initialise": "source"},
    ],
)
def test_attention_within_an_utterance_goes_with_several_workers(sections: dict[str, Any]) -> None:
    made(EMODB, DIGITS, recipe=sections, resources={"student_workers": 2})


@pytest.mark.parametrize(
    ("recipe", "resources", "said"),
    [
        (
            {"student": VIT, "training": {"batch_size": 2}},
            {"student_workers": 3},
            "recipe.training.batch_size 2 is less than the 3 workers that share each batch of a "
            "student; raise it, or lower resources.student_workers",
        ),
        # a teacher without a training of its own takes over the recipe's
        (
            TAUGHT | {"training": {"batch_size": 2}},
            {"teacher_workers": 3},
            "recipe.training.batch_size 2 is less than the 3 workers that share each batch of a "
            "teacher; raise it, or lower resources.teacher_workers",
        ),
        (
            TAUGHT | {"teacher": VIT | {"training": {"batch_size": 2}}},
            {"teacher_workers": 3, "student_workers": 3},
            "recipe.teacher.training.batch_size 2 is less than the 3 workers",
        ),
    ],
)
def test_a_batch_smaller_than_the_workers_of_its_own_fit_is_refused(
    recipe: dict[str, Any], resources: dict[str, int], said: str
) -> None:
    assert said in refused(EMODB, recipe=recipe, resources=resources)


@pytest.mark.parametrize(
    ("recipe", "resources"),
    [
        (
            TAUGHT | {"training": {"batch_size": 2}, "teacher": VIT | {"training": {}}},
            {"teacher_workers": 3, "student_workers": 2},
        ),
        (TAUGHT | {"teacher": VIT | {"training": {"batch_size": 2}}}, {"student_workers": 3}),
        # nobody is taught
        ({"student": VIT, "training": {"batch_size": 2}}, {"teacher_workers": 3}),
    ],
)
def test_the_batch_of_another_fit_is_no_affair_of_workers(
    recipe: dict[str, Any], resources: dict[str, int]
) -> None:
    made(EMODB, recipe=recipe, resources=resources)


def test_less_unlabelled_speech_than_workers_is_refused() -> None:
    recipe = TAUGHT | {"unlabelled": {"kind": "mixed", "batch_size": 1}}
    said = refused(EMODB, MORE, recipe=recipe, resources={"student_workers": 2})

    assert "recipe.unlabelled.batch_size 1 is less than the 2 workers" in said


def test_minutes_between_checkpoints_are_not_negative() -> None:
    assert made(EMODB).resources.checkpoint_minutes == 5.0
    assert made(EMODB, resources={"checkpoint_minutes": 0}).resources.checkpoint_minutes == 0.0
    assert "checkpoint_minutes" in refused(EMODB, resources={"checkpoint_minutes": -1})
