"""The sections on other speech and on what learned from it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.experiment.networks import Satn, SatnNetwork
from orchestrator.experiment.sources import (
    AttentionTransfer,
    PretrainedSource,
    Recogniser,
    RecogniserSource,
    RecogniserTraining,
    SourceNet,
    Strings,
)
from orchestrator.experiment.training import Fitting, Training

# Strings


def test_strings_of_three_seconds_by_default() -> None:
    section = Strings()

    assert (section.seconds, section.pause_seconds) == (3.0, (0.1, 0.4))
    assert (section.passes, section.seed) == (4, 0)


@pytest.mark.parametrize("pauses", [[0, 0], [0.2, 0.2], ["1e-1", 2]])
def test_pauses_in_order_are_taken(pauses: list[object]) -> None:
    low, high = Strings.model_validate({"pause_seconds": pauses}).pause_seconds

    assert low <= high


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pause_seconds": [0.4, 0.1]}, "shortest pause, 0.4 s, is longer than the longest, 0.1 s"),
        ({"pause_seconds": [-0.1, 0.1]}, "greater than or equal to 0"),
        ({"pause_seconds": [0.1]}, "pause_seconds"),
        ({"pause_seconds": [0.1, float("inf")]}, "finite"),
        ({"seconds": 0}, "greater than 0"),
        ({"passes": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"second": 3}, "second"),
    ],
)
def test_what_makes_no_strings_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Strings.model_validate(given)


# Networks


def test_student_and_recogniser_are_alike_by_default() -> None:
    student = Satn(kind="satn").model_dump()

    assert Recogniser().network.model_dump().items() <= student.items()
    assert (student["segment_seconds"], student["segment_pooling"]) == (3.0, "mean")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dim": 96, "heads": 5}, "heads 5 does not divide dim 96"),
        ({"kernel": 4}, "kernel 4 is even, so it has no middle; use an odd one, or causal: true"),
        ({"kernel": 1}, "greater than or equal to 2"),
        ({"depth": 0}, "greater than or equal to 1"),
        ({"stride": 0}, "greater than or equal to 1"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
@pytest.mark.parametrize("section", [SatnNetwork, Satn])
def test_a_network_that_cannot_be_is_refused(
    section: type[SatnNetwork], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        section.model_validate({"kind": "satn", **given} if section is Satn else given)


def test_an_even_kernel_may_hear_the_past() -> None:
    assert SatnNetwork(kernel=2, causal=True).kernel == 2


@pytest.mark.parametrize(("seconds", "fine"), [(None, True), (0.5, True), (0.0, False)])
def test_segments_have_a_length_or_there_are_none(seconds: float | None, fine: bool) -> None:
    plain = {"kind": "satn", "segment_seconds": seconds}
    if fine:
        assert Satn.model_validate(plain).segment_seconds == seconds
    else:
        with pytest.raises(ValidationError, match="segment_seconds"):
            Satn.model_validate(plain)


# Sources


def test_a_recogniser_needs_its_kind_only() -> None:
    source = TypeAdapter(SourceNet).validate_python({"kind": "recogniser"})

    assert isinstance(source, RecogniserSource)
    assert (source.units, source.strings) == ("characters", None)
    assert (source.validation_speakers, source.seed) == (1, 0)
    assert (source.network, source.training) == (SatnNetwork(), RecogniserTraining())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "recogniser", "validation_speakers": -1}, "greater than or equal to 0"),
        ({"kind": "recogniser", "seed": -1}, "greater than or equal to 0"),
        ({"kind": "recogniser", "units": "phones"}, "'words' or 'characters'"),
        ({"kind": "recogniser", "root": "/whisper"}, "root"),
        ({"kind": "pretrained"}, "root"),
        ({"kind": "pretrained", "root": "/whisper", "layers": []}, "at least 1 item"),
        # the first self-attention layer is 1
        ({"kind": "pretrained", "root": "/whisper", "layers": [0]}, "greater than or equal to 1"),
        ({"kind": "teacher"}, "'recogniser', 'pretrained'"),
    ],
)
def test_what_is_no_source_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(SourceNet).validate_python(given)


@pytest.mark.parametrize("choice", ["validation-loss", "validation-error-rate"])
def test_somebody_chooses_the_epoch_that_is_to_be_chosen(choice: str) -> None:
    section = {"kind": "recogniser", "validation_speakers": 0, "training": {"epoch_choice": choice}}
    with pytest.raises(ValidationError) as caught:
        RecogniserSource.model_validate(section)

    assert (
        "validation_speakers is 0, so nobody chooses the epoch, but training.epoch_choice is "
        f"{choice!r}; set it to last, or keep a speaker apart"
    ) in str(caught.value)


@pytest.mark.parametrize("speakers", [0, 1])
def test_the_last_epoch_needs_nobody_to_choose_it(speakers: int) -> None:
    training = RecogniserTraining(epoch_choice="last")
    source = RecogniserSource(kind="recogniser", validation_speakers=speakers, training=training)

    assert source.validation_speakers == speakers


def test_an_encoder_gives_its_last_layer_and_main_branch_by_default() -> None:
    source = PretrainedSource(kind="pretrained", root="owner/name")

    assert (source.layers, source.revision) == (None, None)


# Fitting a recogniser


def test_a_recogniser_is_fitted_by_what_every_network_is() -> None:
    section = RecogniserTraining()

    assert set(RecogniserTraining.model_fields) == {*Fitting.model_fields, "epoch_choice"}
    assert (section.epochs, section.lr, section.average_decay) == (30, 2.0e-3, 0.99)
    assert section.epoch_choice == "validation-loss"


@pytest.mark.parametrize("name", sorted(set(Training.model_fields) - {*Fitting.model_fields}))
def test_nothing_about_emotions_fits_a_recogniser(name: str) -> None:
    value = getattr(Training(), name)
    with pytest.raises(ValidationError, match=name):
        RecogniserTraining.model_validate({name: value})


def test_a_recogniser_hears_whole_utterances() -> None:
    with pytest.raises(ValidationError, match=r"augment\.crop_seconds is 2\.0, but a transcript"):
        RecogniserTraining.model_validate({"augment": {"crop_seconds": 2}})
    assert RecogniserTraining.model_validate({"augment": {"noise": 0.1}}).augment.noise == 0.1


# What is compared


def test_maps_of_the_last_layers_are_compared_by_default() -> None:
    section = AttentionTransfer()

    assert (section.match, section.values) == ("kl", False)
    assert (section.relation_heads, section.pairs) == (None, None)


@pytest.mark.parametrize("match", ["l2", "relations", "similarity"])
def test_values_that_nothing_asks_for_are_refused(match: str) -> None:
    assert AttentionTransfer(match="kl", values=True).values
    with pytest.raises(ValidationError, match=f"values is true but match is '{match}', which"):
        AttentionTransfer.model_validate({"match": match, "values": True})


@pytest.mark.parametrize("match", ["kl", "l2", "similarity"])
def test_relation_heads_without_relations_are_refused(match: str) -> None:
    assert AttentionTransfer(match="relations", relation_heads=4).relation_heads == 4
    with pytest.raises(ValidationError, match=f"relation_heads is 4 but match is '{match}'; use"):
        AttentionTransfer.model_validate({"match": match, "relation_heads": 4})


def test_pairs_are_lists_of_two() -> None:
    section = AttentionTransfer.model_validate({"pairs": [[2, 1], [3, 2], [-1, -2]]})

    assert section.pairs == ((2, 1), (3, 2), (-1, -2))


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([], "at least 1 item"),
        ([[1]], "at least 2 items"),
        ([[1, 2, 3]], "at most 2 items"),
        ([1, 1], "valid tuple"),
        ([[0, 1]], r"pairs \[\[0, 1\]\]: layers are counted from 1, or from -1 backwards"),
        ([[1, 1], [1, 0]], "layers are counted from 1"),
        ([[1, 1.5]], "valid integer"),
        ([[1, True]], "true and false do not fit here"),
    ],
)
def test_other_pairs_are_refused(pairs: list[object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AttentionTransfer.model_validate({"pairs": pairs})
