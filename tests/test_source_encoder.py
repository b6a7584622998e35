"""A pretrained encoder as a source: which layers it has, what is kept of it, who may listen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models import pretrained
from orchestrator.errors import ExperimentError, PretrainedError
from orchestrator.experiment.recipe import Recipe
from orchestrator.experiment.sources import PretrainedSource, RecogniserSource
from orchestrator.source_encoder import (
    attention_layers,
    refuse_heads,
    source_name,
    states_wanted,
)
from tests.models.encoders import noise, save_waveform_model, save_whisper


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders by name: Whisper of three layers, wav2vec 2.0 of two; both of 2 heads, 16 wide."""
    folder = tmp_path_factory.mktemp("encoders")
    save_whisper(folder / "whisper", encoder_layers=3)
    save_waveform_model(folder / "wav2vec2", "wav2vec2")
    return folder


def encoder(root: Path | str, **more: Any) -> PretrainedSource:
    return PretrainedSource(kind="pretrained", root=str(root), **more)


# Names


def test_equal_sources_have_one_name_and_others_another() -> None:
    sections = [
        None,
        RecogniserSource(kind="recogniser"),
        RecogniserSource(kind="recogniser", units="words"),
        RecogniserSource(kind="recogniser", seed=1),
        encoder("/a"),
        encoder("/b"),
        encoder("/a", revision="main"),
        encoder("/a", layers=(1,)),
    ]
    names = [source_name(section) for section in sections]

    assert len(set(names)) == len(sections)
    assert names == [source_name(section and section.model_copy()) for section in sections]
    assert {len(name) for name in names} == {12}


# Layers


@pytest.mark.parametrize(("kind", "last"), [("whisper", 3), ("wav2vec2", 2)])
def test_the_last_layer_is_had_by_default(folder: Path, kind: str, last: int) -> None:
    assert attention_layers(encoder(folder / kind)) == (last,)


def test_layers_are_had_in_order_and_once(folder: Path) -> None:
    assert attention_layers(encoder(folder / "whisper", layers=(3, 1, 3))) == (1, 3)


def test_a_layer_that_the_encoder_has_not_is_refused(folder: Path) -> None:
    with pytest.raises(PretrainedError) as caught:
        attention_layers(encoder(folder / "whisper", layers=(1, 4)))

    assert str(caught.value) == (
        "recipe.source.layers [1, 4]: the encoder has 3 self-attention layers; name some of 1 to 3"
    )


def test_an_encoder_whose_attention_cannot_be_had_is_refused(tmp_path: Path) -> None:
    root = save_waveform_model(tmp_path / "wavlm", "wavlm")
    with pytest.raises(PretrainedError, match=r"recipe\.source\.root .*wavlm.*cannot be a source"):
        attention_layers(encoder(root))


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("nowhere", None, "there is no such folder"),
        ("empty", None, "holds no config.json"),
        ("whisper", "main", "is a folder here, so revision 'main' means nothing"),
    ],
)
def test_what_is_no_encoder_is_named_by_its_key(
    folder: Path, name: str, revision: str | None, said: str
) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    root = folder / name
    with pytest.raises(PretrainedError) as caught:
        attention_layers(encoder(root, revision=revision))

    assert str(caught.value).startswith(f"recipe.source.root {str(root)!r}: ")
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


# States


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_the_states_that_are_kept_are_what_each_layer_hears(folder: Path, kind: str) -> None:
    wanted = states_wanted(encoder(folder / kind, layers=(2, 1)))
    assert wanted.layers is not None
    loaded = pretrained.load_encoder(folder / kind, device="cpu")
    heard: list[Tensor] = []
    for block in getattr(loaded.model, "encoder", loaded.model).layers:
        block.register_forward_pre_hook(lambda _, given: heard.append(given[0][0]))
    (states,) = loaded.hidden_states([noise(4000)])

    for layer, place in zip((1, 2), wanted.layers, strict=True):
        frames = states.shape[1]
        assert torch.equal(states[place], heard[layer - 1][:frames])
    assert not torch.equal(heard[0], heard[1])


def test_states_are_frames_of_the_frozen_encoder(folder: Path) -> None:
    wanted = states_wanted(encoder(folder / "whisper", layers=(3,)))

    assert (wanted.root, wanted.revision) == (str(folder / "whisper"), None)
    assert (wanted.layers, wanted.mode.kind, wanted.frames) == ((2,), "frozen", True)


def test_a_revision_goes_with_the_states(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def resolve(root: str, revision: str | None) -> Path:
        asked.append((root, revision))
        return folder / "whisper"

    monkeypatch.setattr(pretrained, "resolve_root", resolve)
    wanted = states_wanted(encoder("owner/name", revision="v1"))

    assert (wanted.root, wanted.revision, wanted.layers) == ("owner/name", "v1", (2,))
    assert asked == [("owner/name", "v1")]


# Heads


def recipe(source: dict[str, Any], *, weight: float = 1.0, **student: Any) -> Recipe:
    match = student.pop("attention_transfer", {})
    return Recipe.model_validate(
        {
            "student": {"kind": "satn", "dim": 16, "heads": 2, **student},
            "source": source,
            "objectives": {"attention_transfer": weight},
            "attention_transfer": match,
        }
    )


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, ""),
        ({"kind": "conv-transformer"}, ""),
        ({"heads": 4}, "the source has 2 heads and the student 4, and match: kl compares head"),
        ({"heads": 4, "attention_transfer": {"match": "l2"}}, ""),
        ({"heads": 4, "attention_transfer": {"match": "similarity"}}, ""),
        ({"heads": 4, "attention_transfer": {"match": "relations", "relation_heads": 8}}, ""),
        (
            {"dim": 24, "attention_transfer": {"match": "relations", "relation_heads": 16}},
            "relation_heads 16 does not divide both the source's width 16 and the student's 24",
        ),
    ],
)
def test_heads_and_widths_of_an_encoder_are_compared_with_the_students(
    folder: Path, kind: str, sections: dict[str, Any], said: str
) -> None:
    fine = recipe({"kind": "recogniser", "network": {"dim": 16, "heads": 2}})
    mine = recipe({"kind": "pretrained", "root": str(folder / kind)}, **sections)
    recipes = [("", fine), ("evaluate.ablations.mine: ", mine)]
    if not said:
        refuse_heads(recipes)
        return
    with pytest.raises(ExperimentError) as caught:
        refuse_heads(recipes)

    assert str(caught.value).startswith(
        f"evaluate.ablations.mine: recipe.attention_transfer: {said}"
    )


def test_an_encoder_that_nobody_listens_to_is_not_looked_at(folder: Path) -> None:
    nowhere = {"kind": "pretrained", "root": str(folder / "nowhere")}
    refuse_heads([("", recipe(nowhere, weight=0.0))])

    with pytest.raises(PretrainedError, match=r"recipe\.source\.root"):
        refuse_heads([("", recipe(nowhere))])


def test_a_layer_too_many_is_told_before_heads(folder: Path) -> None:
    source = {"kind": "pretrained", "root": str(folder / "wav2vec2"), "layers": [3]}

    with pytest.raises(PretrainedError, match=r"recipe\.source\.layers \[3\]"):
        refuse_heads([("", recipe(source, heads=4))])
