"""What the key of a student is made of: every option that its training reads, and no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import models.pretrained
from orchestrator import speech_sources
from orchestrator.canonical import JSON
from orchestrator.corpora import Corpus
from orchestrator.corpus_inputs import pretrained_sources
from orchestrator.encoder_outputs import encoder_handle
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.source_encoder import source_name
from orchestrator.speech_sources import read_sources
from orchestrator.store import Artifact, Store
from orchestrator.training.student import student_artifact, student_inputs, student_key
from orchestrator.training.task import FoldTask, Silent
from tests.training.tiny import EXPERIMENT, RICH, TRAINING, VIT, Home, experiment, recipe_of


class Keys(Store):
    """A store that says what it would be asked for, and makes nothing."""

    def obtain(self, stage: str, inputs: Mapping[str, JSON], build: Any) -> Artifact:
        return Artifact(Path(), self.key(stage, inputs), reused=True)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def key(task: FoldTask, keys: Keys) -> str:
    """Of the student; found without fitting or looking for anything, it is the same."""
    made = student_artifact(task, keys, reporter=Silent()).key
    assert student_key(task, NOBODYS) == made
    return made


class Unheard:
    """Audio that only its rate is asked of."""

    def rate(self, path: str) -> int:
        return 16000


def spoken() -> Corpus:
    """Three utterances of half a second by each of three speakers, with their words."""
    rows = [
        {
            "id": f"{speaker}-{number}",
            "path": f"{speaker}-{number}.wav",
            "speaker": f"t{speaker}",
            "gender": "",
            "emotion": "",
            "text": "oh no",
            "transcript": "oh no",
            "duration": 0.5,
            "content": f"{speaker}{number}",
        }
        for speaker in range(3)
        for number in range(3)
    ]
    return Corpus(name="told", kind="table", table=pd.DataFrame(rows), source=Unheard())  # type: ignore[arg-type]


TOLD = {"kind": "table", "file": "told.csv", "name": "told", "role": "transcribed"}
NOBODYS = Store("a store that nobody asks for more than keys")
SATN: dict[str, Any] = {"dim": 8, "levels": 1, "heads": 2, "mlp_dim": 8}
ENCODER = {"kind": "pretrained", "root": "encoder", "revision": "v1"}
TAUGHT = {
    "cross_entropy": 1.0,
    "distillation": 0.5,
    "feature_map": 1.0,
    "supervised_contrastive": 0.2,
}
EVERYTHING: dict[str, Any] = {
    "student": {"kind": "satn", **SATN},
    "source": {"kind": "recogniser", "network": SATN, "strings": {"seconds": 1.0, "passes": 1}},
    "attention_transfer": {"match": "l2"},
    "teacher": {**EXPERIMENT["recipe"]["teacher"], "training": TRAINING},
    "objectives": {**TAUGHT, "attention_transfer": 1.0},
    "schedule": {"kind": "matching-first", "matching_epochs": 2},
    "curriculum": {"kind": "data"},
    "meta": {"kind": "bilevel"},
    "unlabelled": {"kind": "mixed"},
}
"""Sections of a recipe in which every option is read."""


@pytest.fixture(scope="module")
def rich(home: Home) -> Iterator[FoldTask]:
    """A fold run beside transcribed speech and encoders, none of which is there."""
    told = spoken()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speech_sources, "load_transcribed", lambda section, **_: told)
        # weights that are another's at another root or revision
        patch.setattr(models.pretrained, "resolve_root", lambda root, at: Path(f"{root}@{at}"))
        patch.setattr(models.pretrained, "weights_hash", str)
        patch.setattr(models.pretrained, "block_count", lambda root: 3)
        patch.setattr(models.pretrained, "model_type", lambda root: "whisper")
        yield home.rich_task()


FOUND: dict[tuple[str, bool], Mapping[str, str]] = {}


def recognisers(wanted: Experiment) -> Mapping[str, str]:
    """Keys of what its students listen to, found once for each source: it takes a while."""
    which = source_name(wanted.recipe.source), wanted.recipe.needs_source
    if which not in FOUND:
        sources = read_sources(wanted, (), NOBODYS)
        FOUND[which] = sources.keys(NOBODYS) if sources else {}
    return FOUND[which]


def changed(rich: FoldTask, sections: Mapping[str, Any], changes: Mapping[str, Any]) -> FoldTask:
    """The task of a recipe of other sections, then with dotted changes, and of its source."""
    corpora = [*RICH["corpora"], TOLD]
    recipe = recipe_of(**{**EVERYTHING, **sections})
    plain = experiment(**{**RICH, "corpora": corpora}, recipe=recipe)
    wanted = override_recipe(plain, {f"recipe.{name}": value for name, value in changes.items()})
    return dataclasses.replace(
        rich,
        recipe=wanted.recipe,
        recognisers=recognisers(wanted),
        attended={
            name: encoder_handle(spoken(), states, store=NOBODYS)
            for name, states in pretrained_sources(wanted).items()
        },
    )


# What is read

VIT_NETWORK: dict[str, Any] = {
    "dim": 16,
    "depth": 2,
    "heads": 2,
    "head_dim": 4,
    "mlp_dim": 4,
    "patch_frames": 2,
    "patch_bins": 4,
    "conv_stem": True,
    "coordinates": True,
    "dropout": 0.5,
}
SATN_NETWORK: dict[str, Any] = {
    "stride": 3,
    "dim": 16,
    "levels": 2,
    "kernel": 5,
    "causal": True,
    "depth": 2,
    "heads": 4,
    "mlp_dim": 4,
    "dropout": 0.5,
    "instance_norm": True,
}
FITTING: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 4,
    "lr": 1e-2,
    "weight_decay": 0.5,
    "warmup_share": 0.5,
    "gradient_clip": None,
    "average_decay": 0.5,
    "smoothing_epochs": 1,
    "updates_per_epoch": 5,
    "lr_schedule": "linear",
    "patience": 2,
    "micro_batch": 2,
    "precision": "bf16",
    "compile": True,
    "augment.frequency_masks": 1,
    "augment.frequency_width": 2,
    "augment.time_masks": 1,
    "augment.time_width_seconds": 0.1,
    "augment.time_stretch": 0.1,
    "augment.frequency_warp": 0.1,
    "augment.gain_db": 6.0,
    "augment.tilt_db": 6.0,
    "augment.noise": 0.1,
    "epoch_choice": "last",
}
FITTING_TO_EMOTIONS: dict[str, Any] = {
    **FITTING,
    "label_smoothing": 0.5,
    "class_weights": False,
    "targets": "votes",
    "batches": "class-balanced",
    "augment.crop_seconds": 0.5,
}


def under(prefix: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in options.items()}


OPTIONS: dict[str, Any] = {
    **under("student", SATN_NETWORK),
    "student.segment_seconds": 1.0,
    "student.segment_pooling": "max",
    **under("training", FITTING_TO_EMOTIONS),
    **under("teacher", VIT_NETWORK),
    **under("teacher.training", FITTING_TO_EMOTIONS),
    **under("source.network", SATN_NETWORK),
    **under("source.training", FITTING),
    "source.units": "words",
    "source.strings.seconds": 2.0,
    "source.strings.pause_seconds": [0.2, 0.3],
    "source.strings.passes": 2,
    "source.strings.seed": 1,
    "source.validation_speakers": 2,
    "source.seed": 1,
    "initialise": "source",
    "attention_transfer.match": "similarity",
    "attention_transfer.values": True,
    "attention_transfer.relation_heads": 2,
    "attention_transfer.pairs": [[1, 1]],
    "knowledge": "cross-fitted",
    "objectives.cross_entropy": 0.5,
    "objectives.distillation": 0.25,
    "objectives.feature_map": 0.25,
    "objectives.attention_transfer": 0.25,
    "objectives.supervised_contrastive": 0.25,
    "feature_map.match": "tokens",
    "supervised_contrastive.temperature": 0.5,
    "supervised_contrastive.dim": 8,
    "temperature.value": 2.0,
    "schedule.matching_epochs": 3,
    "curriculum.difficulty": "teacher-probability",
    "curriculum.knowledge": "in-sample",
    "curriculum.order": "hard-first",
    "curriculum.balanced": False,
    "curriculum.pacing.start": 0.5,
    "curriculum.pacing.grow_share": 0.25,
    "meta.learn": ["weights"],
    "meta.gradient": "finite-difference",
    "meta.lr": 0.5,
    "meta.interval": 2,
    "meta.inner_lr": 0.5,
    "meta.temperature_bounds": [2.0, 20.0],
    "meta.weight_factor": 2.0,
    "unlabelled.weight": 0.25,
    "unlabelled.batch_size": 4,
}
"""Every option of that recipe, and another value for it."""
FIXED = {"source.training.augment.crop_seconds"}
"""Options that can have one value only: a transcript is of the whole utterance."""
WITH: dict[str, dict[str, Any]] = {
    "attention_transfer.values": {"attention_transfer": {"match": "kl"}},
    "attention_transfer.relation_heads": {"attention_transfer": {"match": "relations"}},
}
"""Other sections, under which alone an option can be changed."""

KINDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"student": {**VIT, "dim": 8, "patch_frames": 8}, "objectives": TAUGHT},
        under("student", VIT_NETWORK),
    ),
    (
        {"source": {**ENCODER, "layers": [1]}},
        {"source.root": "other", "source.revision": "v2", "source.layers": [2]},
    ),
    (
        {
            "student": {"kind": "inverted-transformer", "dim": 8, "heads": 2},
            "objectives": TAUGHT,
        },
        {
            "student.window_seconds": 1.0,
            "student.dim": 16,
            "student.depth": 1,
            "student.heads": 4,
            "student.mlp_dim": 8,
            "student.instance_norm": False,
            "student.dropout": 0.5,
        },
    ),
    (
        {"student": {"kind": "conv-transformer", "dim": 8, "heads": 2}},
        {
            "student.channels": [2, 4],
            "student.dim": 16,
            "student.depth": 1,
            "student.heads": 4,
            "student.mlp_dim": 8,
            "student.dropout": 0.5,
        },
    ),
    (
        {"temperature": {"kind": "curriculum"}, "meta": {"kind": "none"}},
        {
            "temperature.start": 2.0,
            "temperature.span": 10.0,
            "temperature.epochs": 2,
            "temperature.strength": 0.5,
            "temperature.lr": 0.5,
            "temperature.per_instance": True,
        },
    ),
    (
        {"meta": {"kind": "learning-to-teach"}},
        {"meta.lr": 0.5, "meta.interval": 2, "meta.inner_lr": 0.5},
    ),
    ({"unlabelled": {"kind": "first"}}, {"unlabelled.epochs": 2}),
    *(
        (
            {"curriculum": {"kind": "data", "pacing": {"kind": kind}}},
            under("curriculum.pacing", {"start": 0.5, **options}),
        )
        for kind, options in {
            "root": {"grow_share": 0.25, "power": 3.0},
            "geometric": {"grow_share": 0.25},
            "exponential": {"increase": 1.5, "step_share": 0.2},
            "baby-steps": {"increase": 0.5, "step_share": 0.2},
            "one-step": {"step_share": 0.2},
        }.items()
    ),
]
"""Sections of other kinds, and every option that they have."""


def leaves(value: Mapping[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, item in value.items():
        if isinstance(item, Mapping):
            found |= leaves(item, f"{prefix}{name}.")
        elif name != "kind":
            found.add(f"{prefix}{name}")
    return found


def test_the_options_below_are_all_that_there_are(rich: FoldTask) -> None:
    there = leaves(changed(rich, {}, {}).recipe.model_dump(mode="json"))

    assert there == {*OPTIONS, *FIXED}


@pytest.mark.parametrize(("sections", "options"), KINDS)
def test_so_are_those_of_other_kinds(
    rich: FoldTask, sections: dict[str, Any], options: dict[str, Any]
) -> None:
    place = next(iter(options)).rpartition(".")[0]
    section: Any = changed(rich, sections, {}).recipe.model_dump(mode="json")
    for name in place.split("."):
        section = section[name]

    assert leaves(section, f"{place}.") == set(options)


@pytest.mark.parametrize(
    ("sections", "option", "value"),
    [
        *((WITH.get(option, {}), option, value) for option, value in OPTIONS.items()),
        *((kind, option, value) for kind, options in KINDS for option, value in options.items()),
    ],
)
def test_every_option_that_is_read_changes_the_key(
    rich: FoldTask, keys: Keys, sections: dict[str, Any], option: str, value: Any
) -> None:
    before = changed(rich, sections, {})
    after = changed(rich, sections, {option: value})

    assert before.recipe != after.recipe
    assert key(after, keys) != key(before, keys)


def test_every_kind_has_a_key_of_its_own(rich: FoldTask, keys: Keys) -> None:
    kinds = [sections for sections, _ in KINDS]
    off: list[dict[str, Any]] = [
        {"curriculum": {"kind": "none"}},
        {"meta": {"kind": "none"}},
        {"unlabelled": {"kind": "none"}},
        {"schedule": {"kind": "joint"}},
        {"source": None, "objectives": TAUGHT},
        {"objectives": TAUGHT, "initialise": "source"},
        {"source": ENCODER},
        *(
            {"curriculum": {"kind": "data", "difficulty": difficulty}}
            for difficulty in ("own-loss", "cross-validated-loss", "random")
        ),
    ]
    found = [key(changed(rich, sections, {}), keys) for sections in [{}, *off, *kinds]]

    assert len(set(found)) == len(found)


# What is not read

ALONE: dict[str, Any] = {
    "objectives": {"cross_entropy": 1.0},
    "schedule": {"kind": "joint"},
    "curriculum": {"kind": "none"},
    "meta": {"kind": "none"},
    "unlabelled": {"kind": "none"},
}
SOURCES = [name for name in OPTIONS if name.startswith("source.")]
TRANSFER = [name for name in OPTIONS if name.startswith("attention_transfer.")]
TEACHERS = [name for name in OPTIONS if name.startswith("teacher.")]
CONTRAST = [name for name in OPTIONS if name.startswith("supervised_contrastive.")]


@pytest.mark.parametrize(
    ("sections", "unread"),
    [
        # alone: neither teacher nor source, nor anything they would say
        (
            {},
            [
                *TEACHERS,
                *SOURCES,
                *TRANSFER,
                *CONTRAST,
                "knowledge",
                "temperature.value",
                "feature_map.match",
            ],
        ),
        # the source's weights, and nothing that it attends to
        ({"initialise": "source"}, [*TEACHERS, *TRANSFER]),
        ({"objectives": {"attention_transfer": 0.5}}, [*TEACHERS, *CONTRAST]),
        ({"objectives": {"distillation": 0.5}}, [*CONTRAST, "feature_map.match"]),
        (
            {"objectives": {"feature_map": 0.5}},
            [*CONTRAST, "knowledge", "temperature.value"],
        ),
        # a teacher that says how hard it is, and nothing else
        (
            {"curriculum": {"kind": "data"}},
            [*CONTRAST, "knowledge", "temperature.value", "feature_map.match"],
        ),
        *(
            (
                {"curriculum": {"kind": "data", "difficulty": difficulty}},
                [*TEACHERS, "knowledge"],
            )
            for difficulty in ("own-loss", "cross-validated-loss", "random")
        ),
    ],
)
def test_an_option_that_is_not_read_changes_no_key(
    rich: FoldTask, keys: Keys, sections: dict[str, Any], unread: list[str]
) -> None:
    before = key(changed(rich, {**ALONE, **sections}, {}), keys)
    for option in unread:
        others = {**ALONE, **sections, **WITH.get(option, {})}
        after = changed(rich, others, {option: OPTIONS[option]})
        assert key(after, keys) == before, option


@pytest.mark.parametrize("option", SOURCES)
def test_first_weights_are_in_the_key_by_all_that_made_them(
    rich: FoldTask, keys: Keys, option: str
) -> None:
    # a student that begins as it, where that can be another
    same = option.removeprefix("source.network.")
    student = {f"student.{same}": OPTIONS[option]} if same in SATN_NETWORK else {}
    sections = {**ALONE, "initialise": "source"}
    before = changed(rich, sections, student if same in ("dropout", "instance_norm") else {})
    after = changed(rich, sections, {**student, option: OPTIONS[option]})

    assert key(after, keys) != key(before, keys)


def test_a_source_that_nothing_listens_to_is_as_none(rich: FoldTask) -> None:
    alone = student_inputs(changed(rich, {**ALONE, "source": None}, {}), None)

    for source in (EVERYTHING["source"], ENCODER):
        task = changed(rich, {**ALONE, "source": source}, {})
        assert task.recipe.source is not None
        assert student_inputs(task, None) == alone


def test_a_student_without_a_source_keeps_the_key_that_it_had_before_there_were_any(
    home: Home,
) -> None:
    task = home.task()
    inputs = student_inputs(task, "a key")
    # the machine's own
    del inputs["environment"]

    assert inputs == {
        "fold": "speaker=s1m",
        "emotions": ["anger", "happiness", "neutral", "sadness"],
        "train": task.train.key(),
        "validation": task.validation.key(),
        "seed": 0,
        "threads": 1,
        "workers": 1,
        "features": {
            "kind": "log-mel",
            "bins": 8,
            "deltas": 0,
            "sample_rate": 16000,
            "window_seconds": 0.025,
            "hop_seconds": 0.02,
            "lowest_hz": 20.0,
            "highest_hz": None,
        },
        "student": {
            "kind": "vertical-vit",
            "dim": 8,
            "depth": 1,
            "heads": 1,
            "head_dim": 8,
            "mlp_dim": 8,
            "patch_frames": 8,
            "patch_bins": None,
            "conv_stem": False,
            "coordinates": False,
            "dropout": 0.0,
        },
        "objectives": {
            "cross_entropy": 1.0,
            "distillation": 0.5,
            "feature_map": 1.0,
            "supervised_contrastive": 0.0,
        },
        "schedule": {"kind": "joint"},
        "training": {
            "epochs": 3,
            "batch_size": 8,
            "lr": 0.005,
            "weight_decay": 0.01,
            "warmup_share": 0.1,
            "gradient_clip": 1.0,
            "label_smoothing": 0.0,
            "targets": "majority",
            "class_weights": True,
            "average_decay": 0.0,
            "epoch_choice": "validation-cross-entropy",
            "smoothing_epochs": 3,
            "batches": "shuffled",
            "updates_per_epoch": None,
            "augment": {
                "frequency_masks": 0,
                "frequency_width": 8,
                "time_masks": 0,
                "time_width_seconds": 0.2,
                "time_stretch": 0.0,
                "frequency_warp": 0.0,
                "gain_db": 0.0,
                "tilt_db": 0.0,
                "noise": 0.0,
                "crop_seconds": None,
            },
        },
        "knowledge": "a key",
        "temperature": {"kind": "fixed", "value": 4.0},
        "feature_map": {"match": "pooled"},
    }


# Whose speech


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"seed": 1}, False),
        ({"threads": 2}, False),
        ({"student_workers": 2}, False),
        ({"teacher_workers": 2}, False),
        ({"device": "cuda"}, False),
        ({"device": "cpu:0"}, True),
        # on a CPU there is no other mode
        ({"deterministic": False}, True),
        ({"device_share": 0.1, "checkpoint_epochs": 1, "checkpoint_minutes": 0.0}, True),
        ({"emotions": ("a", "b", "c", "d")}, False),
        # how results call it, and where its features lie, change nothing
        ({"corpus": "other"}, True),
    ],
)
def test_what_else_the_key_is_made_of(
    rich: FoldTask, keys: Keys, change: dict[str, Any], same: bool
) -> None:
    task = rich

    assert (key(dataclasses.replace(task, **change), keys) == key(task, keys)) == same


def test_how_much_of_a_gpu_there_is_changes_nothing_but_how_it_sums_does(
    rich: FoldTask, keys: Keys
) -> None:
    task = dataclasses.replace(rich, device="cuda", gpus=1.0)

    assert key(dataclasses.replace(task, gpus=0.5), keys) == key(task, keys)
    assert key(dataclasses.replace(task, deterministic=False), keys) != key(task, keys)


def test_other_features_make_another_student(rich: FoldTask, keys: Keys) -> None:
    task = rich
    features = task.features.model_copy(update={"lowest_hz": 50.0})

    assert key(dataclasses.replace(task, features=features), keys) != key(task, keys)


@pytest.mark.parametrize(
    ("role", "column"),
    [
        *((role, column) for role in ("train", "validation") for column in ("ids", "labels")),
        ("train", "contents"),
        ("validation", "contents"),
        ("held", "ids"),
        ("held", "contents"),
        ("held", "labels"),
    ],
)
def test_every_utterance_that_is_used_is_in_the_key(
    rich: FoldTask, keys: Keys, role: str, column: str
) -> None:
    task = changed(rich, {}, {})
    utterances = getattr(task, role)
    values = list(getattr(utterances, column))
    values[-1] = (values[-1] + 1) % 4 if column == "labels" else "changed"
    other = dataclasses.replace(utterances, **{column: tuple(values)})

    assert key(dataclasses.replace(task, **{role: other}), keys) != key(task, keys)
    if role == "held":
        # without meta-learning nobody hears them
        task, without = (
            dataclasses.replace(one, recipe=rich.recipe)
            for one in (task, dataclasses.replace(task, held=other))
        )
        assert key(task, keys) == key(without, keys)


@pytest.mark.parametrize("kind", ["none", "first", "mixed"])
def test_unlabelled_speech_is_in_the_key_where_it_is_used(
    rich: FoldTask, keys: Keys, kind: str
) -> None:
    task = changed(rich, {"unlabelled": {"kind": kind}}, {})
    assert task.unlabelled is not None
    heard = task.unlabelled.utterances
    for column in ("ids", "contents"):
        values = (*getattr(heard, column)[:-1], "changed")
        other = dataclasses.replace(
            task.unlabelled, utterances=dataclasses.replace(heard, **{column: values})
        )
        again = key(dataclasses.replace(task, unlabelled=other), keys)
        assert (again == key(task, keys)) == (kind == "none")


def test_workers_of_the_teacher_mean_nothing_to_a_student_alone(rich: FoldTask, keys: Keys) -> None:
    task = dataclasses.replace(rich, recipe=rich.recipe.alone())
    other = dataclasses.replace(task, teacher_workers=2)

    assert key(task, keys) == key(other, keys)
