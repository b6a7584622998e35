"""What a study belongs to, and what of it may change."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.preparation import Prepared, read_corpora
from orchestrator.store import Store
from orchestrator.sweep.belonging import Change, belongs_to, changes
from search_spaces import get_space
from tests import small

NETWORK = {
    "kind": "vertical-vit",
    "dim": 8,
    "depth": 1,
    "heads": 1,
    "head_dim": 8,
    "mlp_dim": 8,
    "patch_frames": 16,
    "patch_bins": None,
    "conv_stem": False,
    "coordinates": False,
    "dropout": 0.0,
}
FIRST: dict[str, Any] = {
    "recipe": {
        "teacher": {**NETWORK, "training": None},
        "student": NETWORK,
        "knowledge": "in-sample",
        "objectives": {
            "cross_entropy": 1.0,
            "distillation": 0.5,
            "feature_map": 0.0,
            "supervised_contrastive": 0.0,
        },
        "feature_map": {"match": "pooled"},
        "supervised_contrastive": {"temperature": 0.1, "dim": 64},
        "temperature": {"kind": "fixed", "value": 4.0},
        "schedule": {"kind": "joint"},
        "curriculum": {"kind": "none"},
        "meta": {"kind": "none", "train_on_held": False},
        "unlabelled": {"kind": "none"},
        "training": {
            "epochs": 2,
            "batch_size": 16,
            "lr": 0.0005,
            "weight_decay": 0.01,
            "warmup_share": 0.1,
            "gradient_clip": 1.0,
            "average_decay": 0.0,
            "smoothing_epochs": 3,
            "updates_per_epoch": None,
            "lr_schedule": "cosine",
            "patience": None,
            "micro_batch": None,
            "precision": "float32",
            "compile": False,
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
            "label_smoothing": 0.0,
            "targets": "majority",
            "class_weights": True,
            "epoch_choice": "validation-cross-entropy",
            "batches": "shuffled",
        },
    },
    "features": {
        "kind": "log-mel",
        "bins": 8,
        "deltas": 0,
        "sample_rate": 16000,
        "window_seconds": 0.025,
        "hop_seconds": 0.01,
        "lowest_hz": 20.0,
        "highest_hz": None,
    },
    "search": {
        "space": "distillation",
        "metric": "macro_recall",
        "protocol": {
            "text_disjoint": False,
            "text_folds": None,
            "held_speakers": 0,
            "kind": "leave-one-session-out",
            "validation_sessions": 1,
        },
        "seeds": [0],
        "sampler": "tpe",
        "seed": 0,
        "protocols": {},
    },
    "corpora": {"synthetic": "421ed74762d852db3b8c26254a4c3d31"},
}
"""What commit 5e0169c wrote of the small experiment, when searches could not be pruned, constrained
or extended."""


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return small.load(tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, ...]:
    experiment = small.load(tmp_path_factory.mktemp("corpora"))
    return read_corpora(experiment, Store(experiment.store))


def found(
    experiment: Experiment, theirs: dict[str, Any], prepared: tuple[Prepared, ...]
) -> list[Change]:
    return changes(experiment, theirs=theirs, ours=belongs_to(experiment, prepared))


def test_a_sweep_of_an_earlier_version_is_as_it_was(
    experiment: Experiment, prepared: tuple[Prepared, ...]
) -> None:
    assert found(experiment, FIRST, prepared) == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"search.aggregate": "rank"}, "search.aggregate was not set and is rank"),
        ({"recipe.training.precision": "bf16"}, "precision was float32 and is bf16"),
        ({"search.start": [{"lr": 0.1}]}, r'search.start was not set and is [{"lr": 0.1}]'),
    ],
)
def test_an_option_that_an_earlier_version_had_not_counts_once_it_is_used(
    experiment: Experiment,
    prepared: tuple[Prepared, ...],
    overrides: dict[str, Any],
    said: str,
) -> None:
    (change,) = found(override_recipe(experiment, overrides), FIRST, prepared)

    assert said in str(change)
    assert not change.extends


def test_what_an_earlier_version_had_set_and_is_left_out_now_is_a_change(
    experiment: Experiment, prepared: tuple[Prepared, ...]
) -> None:
    theirs = copy.deepcopy(FIRST)
    theirs["recipe"]["training"]["patience"] = 3

    (change,) = found(experiment, theirs, prepared)

    assert str(change) == "recipe.training.patience was 3 and is not set"


@pytest.mark.parametrize(
    "overrides",
    [
        {"search.trials": 9},
        {"search.max_hours": 1.5},
        {"search.storage": "journal:study.log"},
        {"evaluate.seeds": [7]},
        {"resources.concurrent": 2},
        {"description": "another"},
    ],
)
def test_how_long_a_search_goes_on_and_where_it_lies_do_not_count(
    experiment: Experiment, prepared: tuple[Prepared, ...], overrides: dict[str, Any]
) -> None:
    ours = belongs_to(override_recipe(experiment, overrides), prepared)

    assert ours == belongs_to(experiment, prepared)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"recipe.training.epochs": 3}, "recipe.training.epochs was 2 and is 3"),
        ({"features.bins": 16}, "features.bins was 8 and is 16"),
        ({"search.metric": "accuracy"}, "search.metric was macro_recall and is accuracy"),
        ({"search.sampler": "random"}, "search.sampler was tpe and is random"),
        (
            {"search.pruner": {"kind": "halving"}},
            "search.pruner.kind was none and is halving",
        ),
        ({"search.minimise": ["macs"]}, 'search.minimise was [] and is ["macs"]'),
        (
            {"search.parameters.listens": "logits"},
            "search.parameters.listens was not set and is logits",
        ),
        (
            # of another kind only the kind is told, though every other key differs too
            {"recipe.temperature": {"kind": "curriculum"}},
            "recipe.temperature.kind was fixed and is curriculum",
        ),
        (
            {"protocol": {"kind": "speaker-folds", "folds": 3}},
            "search.protocol.kind was leave-one-session-out and is speaker-folds",
        ),
    ],
)
def test_any_other_change_is_told_by_key_and_values(
    experiment: Experiment,
    prepared: tuple[Prepared, ...],
    overrides: dict[str, Any],
    said: str,
) -> None:
    theirs = belongs_to(experiment, prepared)

    (change,) = found(override_recipe(experiment, overrides), theirs, prepared)

    assert str(change) == said
    assert not change.extends


def test_a_space_that_asks_for_something_else_is_told_by_parameter(
    experiment: Experiment, prepared: tuple[Prepared, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is the same: the file behind it was changed."""
    theirs = belongs_to(experiment, prepared)

    def wider(trial: Any) -> dict[str, Any]:
        found = get_space("distillation")(trial)
        return found | {"recipe.training.epochs": trial.suggest_int("epochs", 1, 3)}

    monkeypatch.setattr("orchestrator.sweep.space_checks.get_space", lambda name: wider)
    ours = belongs_to(experiment, prepared)

    (change,) = changes(experiment, theirs=theirs, ours=ours)
    assert str(change).startswith("the space's epochs was not set and is ")
    assert not change.extends
    del theirs["space"]  # as a study of an earlier version has it
    assert changes(experiment, theirs=theirs, ours=ours) == []


def test_a_value_that_is_long_is_cut_in_a_message() -> None:
    assert str(Change("search.space", "a" * 99, "b")) == f"search.space was {'a' * 57}... and is b"


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ({"a": "1"}, {"a": "2"}, "corpus 'a' has other files or labels than it had"),
        ({"a": "1"}, {"a": "1", "b": "2"}, "corpus 'b' is new"),
        ({"a": "1", "b": "2"}, {"a": "1"}, "corpus 'b' is gone"),
    ],
)
def test_a_corpus_is_told_by_its_name(
    experiment: Experiment, theirs: dict[str, str], ours: dict[str, str], said: str
) -> None:
    (change,) = changes(experiment, theirs={"corpora": theirs}, ours={"corpora": ours})

    assert str(change) == said
    assert not change.extends


DEALT = {"kind": "speaker-folds", "folds": 3}


@pytest.mark.parametrize(
    ("before", "after", "extends"),
    [
        ({"seeds": [0, 1]}, {"seeds": [1, 2, 0]}, True),
        ({"seeds": [0, 1]}, {"seeds": [0, 2, 3]}, False),
        ({"folds": ["a"]}, {"folds": ["b", "a"]}, True),
        ({"folds": ["a"]}, {"folds": []}, True),
        ({"folds": []}, {"folds": ["a"]}, False),
        ({"folds": ["a", "b"]}, {"folds": ["a"]}, False),
        ({"protocol": {**DEALT, "repeats": 2}}, {"protocol": {**DEALT, "repeats": 3}}, True),
        ({"protocol": {**DEALT, "repeats": 3}}, {"protocol": {**DEALT, "repeats": 2}}, False),
        ({"protocol": DEALT}, {"protocol": {**DEALT, "folds": 4}}, False),
    ],
)
def test_more_seeds_and_more_folds_extend_a_study_and_fewer_do_not(
    experiment: Experiment,
    prepared: tuple[Prepared, ...],
    before: dict[str, Any],
    after: dict[str, Any],
    extends: bool,
) -> None:
    def having(options: dict[str, Any]) -> Experiment:
        return override_recipe(experiment, {f"search.{k}": v for k, v in options.items()})

    theirs = belongs_to(having(before), prepared)

    (change,) = found(having(after), theirs, prepared)

    assert change.extends == extends


def test_another_order_of_seeds_or_folds_is_no_change(
    experiment: Experiment, prepared: tuple[Prepared, ...]
) -> None:
    def having(seeds: list[int], folds: list[str]) -> Experiment:
        return override_recipe(experiment, {"search.seeds": seeds, "search.folds": folds})

    theirs = belongs_to(having([0, 1], ["a", "b"]), prepared)

    assert found(having([1, 0], ["b", "a"]), theirs, prepared) == []


def test_a_search_inside_a_fold_belongs_to_how_it_is_dealt_and_not_to_its_trials(
    experiment: Experiment, prepared: tuple[Prepared, ...]
) -> None:
    def inside(**nested: int) -> dict[str, Any]:
        told = {"evaluate.selection": "nested", "evaluate.nested": nested}
        return belongs_to(override_recipe(experiment, told), prepared, inner="synthetic/session=1")

    theirs = inside(inner_folds=2, trials=5)

    assert theirs == inside(inner_folds=2, trials=50)
    (change,) = changes(experiment, theirs=theirs, ours=inside(inner_folds=3, trials=5))
    assert str(change) == "nested.inner_folds was 2 and is 3"


def test_a_search_inside_a_fold_belongs_to_the_folds_of_the_evaluation(
    experiment: Experiment, prepared: tuple[Prepared, ...]
) -> None:
    def inside(repeats: int, **search: object) -> dict[str, Any]:
        told = {"protocol": {**DEALT, "repeats": repeats}, "evaluate.selection": "nested"}
        own = {"search.protocol": search} if search else {}
        return belongs_to(override_recipe(experiment, told | own), prepared, inner="a/b")

    # whichever folds a plain search would have, and however often speakers are dealt
    assert inside(2) == inside(3) == inside(2, **DEALT)
    assert inside(2)["search"]["protocol"]["folds"] == 3
