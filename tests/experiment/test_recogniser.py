"""The file of a speech recogniser: what it may say, and what is told apart by it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.errors import ExperimentError
from orchestrator.experiment import load_experiment
from orchestrator.experiment.loading import is_recogniser_file, load_recogniser_experiment
from orchestrator.experiment.networks import SatnNetwork
from orchestrator.experiment.sources import Recogniser, RecogniserSource

TEXT = """\
name: digits
corpora:
  - {kind: fsdd, root: "${FSDD_ROOT}"}
protocol: {kind: leave-one-speaker-out, validation_speakers: 1}
recogniser:
  network: {dim: 16, heads: 2}
  units: words
  strings: {passes: 2}
variants:
  small: {recogniser.training.epochs: 1, evaluate.folds: [speaker=theo]}
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the file with ``old`` replaced by ``new``."""
    monkeypatch.setenv("FSDD_ROOT", "/data/fsdd")

    def written(old: str = "", new: str = "") -> Path:
        assert old in TEXT
        file = tmp_path / "digits.yaml"
        file.write_text(TEXT.replace(old, new, 1) if old else TEXT, encoding="utf-8")
        return file

    return written


def complaint(file: Path, *overrides: str, variant: str | None = None) -> str:
    with pytest.raises(ExperimentError) as caught:
        load_recogniser_experiment(file, overrides=overrides, variant=variant)
    return str(caught.value)


def test_a_file_is_read_with_its_variable_and_every_default(write: Write) -> None:
    experiment = load_recogniser_experiment(write())

    assert (experiment.name, experiment.variant) == ("digits", None)
    assert experiment.corpora[0].title == "fsdd"
    assert getattr(experiment.corpora[0], "root", "") == "/data/fsdd"
    assert experiment.protocol.kind == "leave-one-speaker-out"
    assert experiment.recogniser.network == SatnNetwork(dim=16, heads=2)
    assert experiment.recogniser.units == "words"
    assert experiment.recogniser.strings is not None
    assert (experiment.recogniser.strings.passes, experiment.recogniser.strings.seconds) == (2, 3.0)
    assert experiment.recogniser.training.epochs == 30
    assert (experiment.evaluate.seeds, experiment.evaluate.folds) == ((0,), ())
    assert experiment.features.bins == 64
    assert experiment.store == "./understudy-store"


def test_the_section_may_be_empty(write: Write) -> None:
    text = TEXT[TEXT.index("recogniser:") : TEXT.index("variants:")]

    found = load_recogniser_experiment(write(text, "recogniser: {}\n"))
    assert found.recogniser == Recogniser()


def test_variants_then_overrides_change_it(write: Write) -> None:
    experiment = load_recogniser_experiment(
        write(),
        variant="small",
        overrides=["recogniser.training.lr=5e-4", "evaluate.folds=[speaker=lucas]"],
    )

    assert experiment.variant == "small"
    assert experiment.recogniser.training.epochs == 1
    assert experiment.recogniser.training.lr == 0.0005
    assert experiment.evaluate.folds == ("speaker=lucas",)


def test_a_recogniser_as_a_source_has_the_same_keys_and_two_more() -> None:
    assert {*RecogniserSource.model_fields} - {*Recogniser.model_fields} == {
        "kind",
        "validation_speakers",
        "seed",
    }


@pytest.mark.parametrize("kind", ["leave-one-speaker-out", "speaker-folds"])
def test_folds_are_of_speakers_and_one_of_them_validates(write: Write, kind: str) -> None:
    protocol = load_recogniser_experiment(
        write("leave-one-speaker-out, validation_speakers: 1", kind)
    ).protocol

    assert (protocol.kind, protocol.validation_speakers) == (kind, 1)
    assert getattr(protocol, "folds", 5) == 5


def test_nobody_validates_where_the_last_epoch_is_kept(write: Write) -> None:
    experiment = load_recogniser_experiment(
        write(),
        overrides=["protocol.validation_speakers=0", "recogniser.training.epoch_choice=last"],
    )

    assert experiment.protocol.validation_speakers == 0


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("protocol.kind=official", ["'protocol.kind' is 'official'", "speaker-folds"]),
        ("protocol.kind=leave-one-session-out", ["did you mean 'leave-one-speaker-out'?"]),
        # what is about emotions
        ("protocol.held_speakers=1", ["unknown key 'protocol.held_speakers'"]),
        ("protocol.text_disjoint=true", ["unknown key 'protocol.text_disjoint'"]),
        ("protocol.folds=3", ["'protocol.folds'", "another kind has it"]),
        ("protocol.validation_speakers=-1", ["than or equal to 0"]),
        (
            "protocol.validation_speakers=0",
            [
                "protocol.validation_speakers is 0, so nobody chooses the epoch, but "
                "training.epoch_choice is 'validation-loss'; set it to last",
            ],
        ),
        (
            "corpora=[{kind: emodb, root: /data/emodb}]",
            ["corpora.0.role is 'labelled', but a recogniser learns from transcripts", "set role"],
        ),
        ("corpora.0.role=unlabelled", ["corpora.0.role is 'unlabelled'"]),
        ("corpora=[]", ["'corpora' is []", "at least 1 item"]),
        (
            "corpora=[{kind: fsdd, root: /a}, {kind: fsdd, root: /b, name: b}]",
            ["'corpora' is [", "at most 1 item(s)"],
        ),
        ("evaluate.seeds=[1, 1]", ["evaluate.seeds [1, 1]: each seed may stand once"]),
        ("evaluate.systems=[teacher]", ["'evaluate.systems'", "known: folds, seeds"]),
        ("recogniser.network.kernel=4", ["'recogniser.network': kernel 4 is even"]),
        ("recogniser.training.augment.crop_seconds=2", ["a transcript is of the whole utterance"]),
        # of a source only: here folds say who validates, and evaluate which seeds
        ("recogniser.validation_speakers=1", ["it belongs in protocol.validation_speakers"]),
        ("recogniser.seed=1", ["unknown key 'recogniser.seed'"]),
        ("recogniser.unit=words", ["did you mean 'units'?"]),
        ("recipe.student.kind=satn", ["unknown key 'recipe'", "did you mean 'recogniser'?"]),
        ("search.space=kim2024", ["unknown key 'search'"]),
        ("resources.student_workers=2", ["resources.student_workers is 2", "one worker fits"]),
        ("resources.teacher_workers=2", ["resources.teacher_workers is 2", "one worker fits"]),
        ("name=a/b", ["'name' is 'a/b'"]),
    ],
)
def test_what_a_recogniser_has_no_use_for_is_named(
    write: Write, override: str, parts: list[str]
) -> None:
    said = complaint(write(), override)

    for part in ("digits.yaml", *parts):
        assert part in said
    assert "\n" not in said


def test_another_file_is_not_read_as_a_recognisers(write: Write) -> None:
    said = complaint(write("recogniser:", "recipe:"))

    assert "'recogniser' is missing" in said
    assert "unknown key 'recipe'" in said


# Which file is which


def test_a_file_is_known_by_its_own_keys(write: Write) -> None:
    assert is_recogniser_file(write())
    assert is_recogniser_file(str(write()))
    assert not is_recogniser_file(write("recogniser:", "recipe:"))
    # deeper, it is something else
    file = write()
    file.write_text("recipe: {source: {kind: recogniser}}\n")
    assert not is_recogniser_file(file)


def test_a_file_that_is_not_there_is_nobodys(write: Write, tmp_path: Path) -> None:
    write()
    with pytest.raises(ExperimentError, match=r"digit\.yaml does not exist; did you mean"):
        is_recogniser_file(tmp_path / "digit.yaml")
    with pytest.raises(ExperimentError, match="does not exist"):
        is_recogniser_file("~/no/such/file.yaml")


REFUSAL = (
    "has the key 'recogniser', so it is the file of a speech recogniser and not of an emotion "
    "student; `understudy evaluate` and `report` take such a file"
)


def test_it_is_no_emotion_students_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    # that comes before what else is wrong with it
    monkeypatch.delenv("FSDD_ROOT")
    file = write()
    with pytest.raises(ExperimentError) as caught:
        load_experiment(file, variant="none such", overrides=["recipe.student.kind=satn"])

    assert str(caught.value) == f"{file}: {REFUSAL}"


def test_an_override_makes_no_recognisers_file_of_another(tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(
        textwrap.dedent("""\
        name: demo
        corpora: [{kind: synthetic}]
        protocol: {kind: leave-one-speaker-out}
        recipe: {student: {kind: satn}}
        """)
    )
    with pytest.raises(ExperimentError) as caught:
        load_experiment(file, overrides=["recogniser.units=words"])

    assert "override 'recogniser.units=words': unknown key 'recogniser'" in str(caught.value)


@pytest.mark.parametrize("command", ["sweep", "plan", "submit", "corpora leaks"])
def test_commands_that_need_students_say_which_take_it(write: Write, command: str) -> None:
    file = write()
    ended = CliRunner().invoke(cli.app, [*command.split(), str(file)])

    assert isinstance(ended.exception, ExperimentError)
    assert str(ended.exception) == f"{file}: {REFUSAL}"
    assert ended.exception.exit_code == 2
