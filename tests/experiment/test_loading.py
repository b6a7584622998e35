"""The experiment file, from text to a validated Experiment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment import load_experiment
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.loading import override_recipe, resolved, variables_of

Write = Callable[..., Path]


def complaint(file: Path, *overrides: str, variant: str | None = None) -> str:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(file, overrides=overrides, variant=variant)

    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)

    return str(caught.value)


def test_a_good_file_is_read_with_its_variable_and_its_exponent(write: Write) -> None:
    experiment = load_experiment(write())

    assert experiment.corpora[0].root == "/data/emodb"
    assert experiment.recipe.training.lr == 0.0005
    assert experiment.recipe.training.epochs == 5
    assert experiment.variant is None


def test_a_missing_variable_names_file_key_variable_and_mend(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMODB_ROOT")
    said = complaint(write())

    for part in ("demo.yaml", "corpora.0.root", "EMODB_ROOT", "not set", "export EMODB_ROOT="):
        assert part in said


def test_an_empty_variable_counts_as_missing(write: Write) -> None:
    with pytest.raises(ExperimentError, match="EMODB_ROOT, which is empty"):
        load_experiment(write(), environment={"EMODB_ROOT": ""})


@pytest.mark.parametrize("environment", [{}, {"ROOT": ""}])
def test_a_missing_variable_takes_its_default(write: Write, environment: dict[str, str]) -> None:
    file = write("${EMODB_ROOT}", "${ROOT:-/else}/wav")

    assert load_experiment(file, environment=environment).corpora[0].root == "/else/wav"


def test_a_variable_may_be_a_number(write: Write) -> None:
    file = write("epochs: 5", "epochs: '${EPOCHS:-7}'")

    assert load_experiment(file).recipe.training.epochs == 7


def test_an_overridden_key_needs_its_variable_no_more(write: Write) -> None:
    experiment = load_experiment(write(), overrides=["corpora.0.root=/x"], environment={})

    assert experiment.corpora[0].root == "/x"


def test_a_variable_whose_brace_is_not_closed_is_refused(write: Write) -> None:
    assert "write ${NAME}" in complaint(write("${EMODB_ROOT}", "${EMODB_ROOT"))


def test_bare_variables_in_braces_are_explained(write: Write) -> None:
    file = write('kind: emodb\n    root: "${EMODB_ROOT}"', "{kind: emodb, root: ${EMODB_ROOT}}")
    said = complaint(file)

    assert "line 3" in said
    assert "quote it" in said


def test_quoted_variables_in_braces_are_fine(write: Write) -> None:
    file = write('kind: emodb\n    root: "${EMODB_ROOT}"', "{kind: emodb, root: '${EMODB_ROOT}'}")

    assert load_experiment(file).corpora[0].root == "/data/emodb"


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("epochs: 5", "epohcs: 5", ["'recipe.training.epohcs'", "did you mean 'epochs'?"]),
        ("recipe:", "recipee:", ["'recipee'", "did you mean 'recipe'?"]),
        ("depth: 3", "detph: 3", ["'recipe.student.detph'", "did you mean 'depth'?"]),
        ("root:", "rooot:", ["'corpora.0.rooot'", "did you mean 'root'?"]),
        ("  training:", "  lr: 1\n  training:", ["'recipe.lr'", "recipe.training.lr"]),
        ("depth: 3", "coords: 3, channels: [4]", ["another kind has it", "patch_bins"]),
        ("kind: emodb", "kind: emodbb", ["'corpora.0.kind' is 'emodbb'", "'emodb'?"]),
        ("kind: emodb\n    ", "", ["'corpora.0' has no 'kind'", "'synthetic'"]),
        ("{kind: leave-one-speaker-out}", "loso", ["'protocol' is 'loso'", "a section"]),
        ("protocol: {kind: leave-one-speaker-out}\n", "", ["'protocol' is missing"]),
        ("epochs: 5", "epochs: five", ["'recipe.training.epochs' is 'five'", "integer"]),
        ("epochs: 5", "epochs: 0", ["'recipe.training.epochs' is 0", "than or equal to 1"]),
        ("epochs: 5", "epochs: 2.5", ["'recipe.training.epochs' is 2.5"]),
        ("epochs: 5", "epochs: true", ["'recipe.training.epochs' is True"]),
        ("lr: 5e-4", "lr: yes", ["'recipe.training.lr' is True"]),
        ("lr: 5e-4", "class_weights: 1", ["class_weights' is 1: it should be true or false"]),
        ("lr: 5e-4", "lr: .nan", ["'recipe.training.lr' is nan", "finite"]),
        ("lr: 5e-4", "lr: .inf", ["'recipe.training.lr' is inf", "finite"]),
        ("name: demo", "name: 7", ["'name' is 7", "quotes"]),
        ("name: demo", "name: a b", ["'name' is 'a b'"]),
        ("corpora:", "evaluate: {seeds: [0, true]}\ncorpora:", ["'evaluate.seeds' is [0, True]"]),
        ("corpora:", "evaluate: {seeds: 1}\ncorpora:", ["'evaluate.seeds' is 1", "[0, 1]"]),
        ("corpora:", "evaluate: {seeds: []}\ncorpora:", ["'evaluate.seeds' is []", "at least 1"]),
        ("corpora:", "evaluate: {systems: [taecher]}\ncorpora:", ["did you mean 'teacher'?"]),
        ("cross_entropy: 1.0", "cross_entropy: 0, feature_map: -1", ["feature_map' is -1"]),
        ("1.0, distillation: 0.5", "0", ["'recipe': objectives", "nothing to learn"]),
        ("depth: 3", "patch_bins: 7", ["patch_bins 7 does not divide features.bins 64"]),
        ("  training: {", "  training: {epochs: 9, ", ["'epochs' stands twice", "line 10"]),
        ("name: demo", "name: demo\nname: x", ["line 2", "'name' stands twice", "line 1"]),
        ("name: demo", "\tname: demo", ["line 1", "no tab"]),
        ("name: demo", "name: [", ["not YAML"]),
        ("name: demo", "name: !!python/object:os.system x", ["not YAML"]),
        ("name: demo", "name: demo\nvariant: paper", ["--variant"]),
    ],
)
def test_a_fault_names_file_key_value_and_nearest(
    write: Write, old: str, new: str, parts: list[str]
) -> None:
    said = complaint(write(old, new))

    assert said.count("demo.yaml") >= 1
    for part in parts:
        assert part in said


LISTENS = (
    "recipe.student={kind: satn}",
    "recipe.source={kind: recogniser}",
    "recipe.objectives={attention_transfer: 1}",
)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (
            "recipe.source={kind: whisper}",
            ["'recipe.source.kind' is 'whisper'", "known: pretrained"],
        ),
        ("recipe.source.unit=words", ["'recipe.source.unit'", "did you mean 'units'?"]),
        ("recipe.source.layers=[1]", ["another kind has it", "validation_speakers"]),
        ("recipe.source.passes=3", ["it belongs in recipe.source.strings.passes"]),
        (
            "recipe.source.network.kernel=4",
            ["'recipe.source.network': kernel 4 is even, so it has no middle"],
        ),
        (
            "recipe.source.strings.pause_seconds=[1, 0]",
            ["'recipe.source.strings.pause_seconds' is [1, 0]: the shortest pause, 1 s"],
        ),
        ("recipe.attention_transfer.match=l3", ["'recipe.attention_transfer.match' is 'l3'", "l2"]),
        (
            "recipe.attention_transfer.pairs=[[1, 2, 3]]",
            ["pairs.0' is [1, 2, 3]", "at most 2 item"],
        ),
        ("recipe.attention_transfer.pairs=[[1]]", ["pairs.0' is [1]", "at least 2 item"]),
        ("recipe.attention_transfer.pairs=[[yes, 1]]", ["is [[True, 1]]: true and false do not"]),
        (
            "recipe.attention_transfer.pairs=[[1, 2]]",
            ["'recipe': attention_transfer.pairs: [1, 2]"],
        ),
        ("recipe.initialise=teacher", ["'recipe.initialise' is 'teacher'", "random, source"]),
        ("recipe.student.causal=1", ["'recipe.student.causal' is 1: it should be true or false"]),
    ],
)
def test_a_fault_of_a_source_is_told_in_its_own_words(
    write: Write, override: str, parts: list[str]
) -> None:
    said = complaint(write(), *LISTENS, override)

    for part in (f"demo.yaml, override {override!r}", *parts):
        assert part in said


def test_a_source_is_read_with_every_default(write: Write) -> None:
    corpora = "corpora=[{kind: synthetic}, {kind: fsdd, root: /data/fsdd}]"
    experiment = load_experiment(write(), overrides=[*LISTENS, corpora])

    assert experiment.transcribed[0].root == "/data/fsdd"
    source = resolved(experiment)["recipe"]["source"]
    assert (source["kind"], source["units"], source["strings"]) == (
        "recogniser",
        "characters",
        None,
    )
    assert source["network"]["dim"] == 96
    assert resolved(Experiment.model_validate(resolved(experiment)))["recipe"]["source"] == source


def test_a_number_as_a_map_key_is_to_be_quoted(write: Write) -> None:
    new = "columns: {session: {source: speaker, map: {03: a}}}\n    root:"

    assert "line 4: the key '03' is not text" in complaint(write("root:", new))


def test_faults_inside_a_list_are_told_once(write: Write) -> None:
    said = complaint(write('"${EMODB_ROOT}"', "3"))

    assert said.endswith("'corpora.0.root' is 3; it should be text, so put it in quotes")


def test_many_faults_are_counted(write: Write) -> None:
    said = complaint(write("epochs: 5", "a: 1, b: 2, c: 3, d: 4, e: 5"))

    assert said.endswith("; and 2 more like these")


def test_a_missing_file_suggests_the_nearest(write: Write) -> None:
    file = write()

    assert "did you mean" in complaint(file.with_name("dmo.yaml"))
    assert "is a folder" in complaint(file.parent)


@pytest.mark.parametrize(("text", "part"), [("", "is empty"), ("- 1", "holds [1]")])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)

    assert part in complaint(file)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(b"name: \xff\xfe")

    assert "UTF-8" in complaint(file)


def test_an_alias_inside_itself_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text("a: &x [*x]")

    assert "contains itself" in complaint(file)


def test_overrides_reach_lists_sections_and_new_sections(write: Write) -> None:
    experiment = load_experiment(
        write(),
        overrides=[
            "corpora.0.root=/x=y",
            "recipe.training.lr=1e-3",
            "recipe.training.augment.noise=0.5",
            "evaluate.seeds=[4, 5]",
            "recipe.training.lr=2e-3",
        ],
    )

    assert experiment.corpora[0].root == "/x=y"
    assert experiment.recipe.training.lr == 0.002
    assert experiment.recipe.training.augment.noise == 0.5
    assert experiment.recipe.training.epochs == 5
    assert experiment.evaluate.seeds == (4, 5)


def test_a_new_kind_starts_its_section_afresh_whatever_the_order(write: Write) -> None:
    overrides = ["recipe.student.dim=32", "recipe.student.kind=conv-transformer"]
    student = load_experiment(write("depth: 3", "patch_frames: 2"), overrides=overrides).recipe

    assert student.student.kind == "conv-transformer"
    assert student.student.dim == 32


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("recipe.trainin.lr=3", ["override 'recipe.trainin.lr=3'", "did you mean 'training'?"]),
        ("recipe.training.lr=-3", ["override 'recipe.training.lr=-3'", "greater than 0"]),
        ("recipe.training.lr.x=3", ["leads into recipe.training.lr", "not a section"]),
        ("corpora.1.root=/x", ["item '1'", "0 to 0"]),
        ("corpora.one.root=/x", ["item 'one'"]),
        ("epochs", ["not key=value"]),
        ("=3", ["not key=value"]),
        ("recipe..lr=3", ["not key=value"]),
        ("evaluate.seeds=[0", ["'evaluate.seeds=[0'", "not YAML", "quote"]),
        ("variant=paper", ["--variant"]),
    ],
)
def test_a_wrong_override_is_named(write: Write, override: str, parts: list[str]) -> None:
    said = complaint(write(), override)

    for part in parts:
        assert part in said


def test_an_override_of_one_alias_leaves_the_other(write: Write) -> None:
    file = write(
        "teacher: {kind: vertical-vit, depth: 6}",
        "teacher: {kind: vertical-vit, training: &t {epochs: 9}}",
    )
    file.write_text(file.read_text().replace("training: {epochs: 5, lr: 5e-4}", "training: *t"))
    recipe = load_experiment(file, overrides=["recipe.training.epochs=4"]).recipe

    assert recipe.training.epochs == 4
    assert recipe.teacher.training.epochs == 9


def test_a_variant_is_applied_before_overrides_and_remembered(write: Write) -> None:
    plain = load_experiment(write(), variant="paper", environment={"PAPER_ROOT": "/p"})
    changed = load_experiment(
        write(),
        variant="paper",
        overrides=["recipe.training.epochs=6", "corpora.0.root=/x"],
    )

    assert (plain.recipe.training.epochs, plain.corpora[0].root) == (50, "/p")
    assert plain.variant == "paper"
    assert (changed.recipe.training.epochs, changed.corpora[0].root) == (6, "/x")


def test_an_unknown_variant_suggests_the_nearest(write: Write) -> None:
    assert "did you mean 'paper'?" in complaint(write(), variant="papr")


def test_a_fault_of_a_variant_names_it(write: Write) -> None:
    file = write("recipe.training.epochs: 50", "recipe.training.epohcs: 50")
    said = complaint(file, "corpora.0.root=/x", variant="paper")

    assert "variant 'paper': unknown key 'recipe.training.epohcs'" in said


def test_the_variables_of_a_file_are_those_it_would_look_up(write: Write) -> None:
    assert variables_of(write()) == ("EMODB_ROOT",)
    assert variables_of(write(), variant="paper") == ("PAPER_ROOT",)
    assert variables_of(write(), overrides=["corpora.0.root=/x"]) == ()


def test_a_trial_changes_single_values_and_keeps_all_others(write: Write) -> None:
    before = load_experiment(write())
    after = override_recipe(before, {"recipe.training.lr": 0.1, "recipe.student.depth": 2})

    assert after.recipe.training.lr == 0.1
    assert after.recipe.student.depth == 2
    assert after.recipe.training.epochs == 5
    assert before.recipe.training.lr == 0.0005
    assert override_recipe(before, {}) == before


def test_a_trial_may_change_the_kind_of_its_student(write: Write) -> None:
    overrides = {"recipe.student.dim": 32, "recipe.student.kind": "conv-transformer"}
    student = override_recipe(load_experiment(write()), overrides).recipe.student

    assert (student.kind, student.dim, student.dropout) == ("conv-transformer", 32, 0.0)


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"recipe.training.lrr": 1}, "did you mean 'lr'?"),
        ({"recipe.training.lr": float("nan")}, "finite"),
        ({"recipe.objectives.cross_entropy": 0, "recipe.objectives.distillation": 0}, "nothing"),
    ],
)
def test_a_trial_with_an_impossible_recipe_is_refused(
    write: Write, overrides: dict[str, object], part: str
) -> None:
    with pytest.raises(ExperimentError, match="experiment demo") as caught:
        override_recipe(load_experiment(write()), overrides)

    assert part in str(caught.value)


def test_resolved_is_json_that_loads_as_the_same_experiment(write: Write) -> None:
    experiment = load_experiment(write())
    data = json.loads(json.dumps(resolved(experiment), allow_nan=False))

    assert data["recipe"]["training"]["lr"] == 0.0005
    assert data["recipe"]["student"]["heads"] == 5
    assert "variants" not in data
    assert resolved(Experiment.model_validate(data)) == data


def test_resolved_does_not_depend_on_how_the_file_is_written(write: Write) -> None:
    plain = resolved(load_experiment(write()))
    other = write("training: {epochs: 5, lr: 5e-4}", "training: {lr: 0.0005, epochs: 5.0}")

    assert json.dumps(resolved(load_experiment(other))) == json.dumps(plain)
