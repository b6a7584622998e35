"""The command line: exit codes, one paragraph for bad input, help, JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.main

import orchestrator
from orchestrator import cli
from orchestrator.cli.shared import said_again
from orchestrator.cluster import Submission
from orchestrator.sweep.outcome import SweepOutcome
from orchestrator.sweep.summary import SweepSummary
from tests import small
from tests.cli.said import Said, tone

EMODB = """\
name: bad
corpora:
  - kind: emodb
    root: "{root}"
protocol: {{kind: leave-one-speaker-out, validation_speakers: 1}}
features: {{kind: log-mel, bins: 8}}
recipe:
  student: {{kind: vertical-vit, dim: 8, depth: 1, heads: 1, head_dim: 8, mlp_dim: 8}}
  training: {{epochs: 1}}
store: "{folder}/store"
tracking: {{uri: "sqlite:///{folder}/runs.db"}}
"""


def experiment(tmp_path: Path, root: Path, old: str = "", new: str = "") -> Path:
    """An experiment file on a corpus at ``root``, with ``old`` replaced by ``new``."""
    text = EMODB.format(root=root, folder=tmp_path)
    assert old in text
    file = tmp_path / "bad.yaml"
    file.write_text(text.replace(old, new, 1) if old else text)
    return file


def missing_root(tmp_path: Path, emodb: Path) -> Path:
    return experiment(tmp_path, tmp_path / "nowhere")


def empty_folder(tmp_path: Path, emodb: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return experiment(tmp_path, tmp_path / "empty")


def wav_cut_in_half(tmp_path: Path, emodb: Path) -> Path:
    file = emodb / "wav" / "03a01Wa.wav"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return experiment(tmp_path, emodb)


def text_named_wav(tmp_path: Path, emodb: Path) -> Path:
    (emodb / "wav" / "03a01Wa.wav").write_text("this is no audio\n" * 99)
    return experiment(tmp_path, emodb)


def zero_length_audio(tmp_path: Path, emodb: Path) -> Path:
    soundfile.write(emodb / "wav" / "03a01Wa.wav", np.zeros(0), 16000)
    return experiment(tmp_path, emodb)


def empty_file(tmp_path: Path, emodb: Path) -> Path:
    (emodb / "wav" / "03a01Wa.wav").write_bytes(b"")
    return experiment(tmp_path, emodb)


def silent_audio(tmp_path: Path, emodb: Path) -> Path:
    tone(emodb / "wav" / "03a01Wa.wav", 100, peak=0.0)
    return experiment(tmp_path, emodb)


def unknown_key(tmp_path: Path, emodb: Path) -> Path:
    return experiment(tmp_path, emodb, "epochs: 1", "epohcs: 1")


def label_outside_the_label_set(tmp_path: Path, emodb: Path) -> Path:
    labels = "root: X\n    labels: {anger: high, hapiness: high, neutral: low}"
    return experiment(tmp_path, emodb, f'root: "{emodb}"', labels.replace("X", str(emodb)))


def unknown_letter(tmp_path: Path, emodb: Path) -> Path:
    tone(emodb / "wav" / "03a01Xa.wav", 700)
    return experiment(tmp_path, emodb)


def empty_fold(tmp_path: Path, emodb: Path) -> Path:
    return experiment(tmp_path, emodb, "validation_speakers: 1", "validation_speakers: 2")


def class_out_of_training(tmp_path: Path, emodb: Path) -> Path:
    for speaker in ("08", "09"):
        (emodb / "wav" / f"{speaker}a01Fa.wav").unlink()
    return experiment(tmp_path, emodb)


def one_speaker(tmp_path: Path, emodb: Path) -> Path:
    for file in [*emodb.glob("wav/08*"), *emodb.glob("wav/09*")]:
        file.unlink()
    return experiment(tmp_path, emodb)


def no_encoder(tmp_path: Path, emodb: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    teacher = f'recipe:\n  teacher: {{kind: pretrained, root: "{folder}"}}'
    return experiment(tmp_path, emodb, "recipe:", teacher)


def text_encoder(tmp_path: Path, emodb: Path) -> Path:
    file = no_encoder(tmp_path, emodb)
    (tmp_path / "encoder" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "encoder" / "preprocessor_config.json").write_text("{}")
    return file


BAD = {
    missing_root: r"nowhere' is no folder",
    empty_folder: r"empty' holds no folder 'wav'",
    wav_cut_in_half: r"1 of 9 utterances cannot be used.*03a01Wa\.wav is cut short",
    text_named_wav: r"1 of 9 utterances cannot be used.*03a01Wa\.wav is no readable audio",
    zero_length_audio: r"1 of 9 utterances cannot be used \(1 zero-length\).*03a01Wa\.wav",
    empty_file: r"1 of 9 utterances cannot be used \(1 zero-length\).*03a01Wa\.wav is empty",
    silent_audio: r"1 of 9 utterances cannot be used \(1 silent\).*03a01Wa\.wav",
    unknown_key: r"bad\.yaml: unknown key 'recipe\.training\.epohcs'.*did you mean 'epochs'",
    label_outside_the_label_set: r"labels names 'hapiness'.*did you mean 'happiness'",
    unknown_letter: r"03a01Xa\.wav: 'X' is no emotion of EmoDB \(known: A fear",
    empty_fold: r"fold speaker=03 .* validation_speakers is 2, which leaves none for training",
    class_out_of_training: r"training of fold speaker=03 would have no .* emotion 'happiness'",
    one_speaker: r"needs several speakers, but the corpus has only \['03'\]",
    no_encoder: r"encoder' is no usable speech encoder.*config\.json",
    text_encoder: r"is no usable speech encoder.*model_type is 'bert'",
}
"""From what is wrong to what is said about it."""


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_input_is_one_paragraph_and_exit_code_two(
    make: Callable[[Path, Path], Path],
    tmp_path: Path,
    emodb: Path,
    understudy: Callable[..., Said],
) -> None:
    said = understudy("evaluate", make(tmp_path, emodb))

    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("understudy: ")
    assert said.err.count("\n") == 1
    assert re.search(BAD[make], said.err)


@pytest.mark.parametrize("make", [missing_root, one_speaker], ids=lambda make: make.__name__)
def test_a_sweep_says_the_same_before_ray_starts(
    make: Callable[[Path, Path], Path],
    tmp_path: Path,
    emodb: Path,
    understudy: Callable[..., Said],
) -> None:
    file = make(tmp_path, emodb)
    learned = ("search.space=distillation", "recipe.objectives.distillation=1")
    teacher = "recipe.teacher={kind: vertical-vit}"

    said = understudy("sweep", file, *learned, teacher)

    assert (said.code, said.out) == (2, "")
    assert re.search(BAD[make], said.err)
    # nothing was begun: at most it is remembered what was heard
    assert not (tmp_path / "store" / "artifacts").exists()


@pytest.mark.slow
@pytest.mark.parametrize("make", [wav_cut_in_half, unknown_key], ids=lambda make: make.__name__)
def test_bad_input_is_no_traceback_in_a_process_of_its_own(
    make: Callable[[Path, Path], Path], tmp_path: Path, emodb: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "evaluate", str(make(tmp_path, emodb))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("understudy: ")
    assert ended.stderr.count("\n") == 1
    assert re.search(BAD[make], ended.stderr)


def test_a_file_that_is_not_there_is_bad_input(
    tmp_path: Path, understudy: Callable[..., Said]
) -> None:
    said = understudy("evaluate", tmp_path / "nothing.yaml")

    assert said.code == 2
    assert "nothing.yaml" in said.err


def test_debug_shows_the_traceback(
    tmp_path: Path, emodb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = unknown_key(tmp_path, emodb)
    monkeypatch.setattr(sys, "argv", ["understudy", "--debug", "evaluate", str(file)])

    with pytest.raises(orchestrator.errors.ExperimentError):
        cli.main()


def commands(group: Any, *before: str) -> list[tuple[str, ...]]:
    """The words of every command."""
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        inner = hasattr(command, "commands")
        found += commands(command, *before, name) if inner else [(*before, name)]
    return found


COMMANDS = commands(typer.main.get_command(cli.app))


def test_every_command_is_known_here() -> None:
    assert sorted(" ".join(words) for words in COMMANDS) == [
        "corpora check",
        "corpora fetch",
        "corpora leaks",
        "corpora list",
        "dashboard",
        "evaluate",
        "experiments copy",
        "experiments list",
        "experiments show",
        "plan",
        "report",
        "store list",
        "store prune",
        "store size",
        "submit",
        "sweep",
        "tracking export",
        "tracking repair",
    ]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_has_an_example(
    words: tuple[str, ...], understudy: Callable[..., Said]
) -> None:
    said = understudy(*words, "--help")

    assert said.code == 0
    assert f"Example: understudy {' '.join(words)}" in re.sub(r"[`│\s]+", " ", said.out)


def test_the_version_is_printed(understudy: Callable[..., Said]) -> None:
    assert understudy("--version") == Said(0, f"{orchestrator.__version__}\n", "")


def test_an_option_that_is_none_is_bad_input(understudy: Callable[..., Said]) -> None:
    assert understudy("corpora", "list", "--jsn").code == 2


@pytest.mark.parametrize(
    ("words", "known"),
    [(("corpora", "list"), "emodb"), (("experiments", "list"), "demo")],
)
def test_lists_are_tables_for_people_and_json_for_machines(
    words: tuple[str, ...], known: str, understudy: Callable[..., Said]
) -> None:
    plain, as_json = understudy(*words), understudy(*words, "--json")

    assert (plain.code, as_json.code) == (0, 0)
    assert known in plain.out
    assert known in json.loads(as_json.out)
    assert as_json.err == ""


def test_a_shipped_experiment_is_shown_and_copied(
    tmp_path: Path, understudy: Callable[..., Said]
) -> None:
    shown = understudy("experiments", "show", "demo")
    copied = understudy("experiments", "copy", "demo", tmp_path / "mine.yaml")

    assert (shown.code, copied.code) == (0, 0)
    assert (tmp_path / "mine.yaml").read_text() == shown.out
    assert understudy("experiments", "show", "dmo").code == 2
    assert understudy("experiments", "copy", "demo", tmp_path / "mine.yaml").code == 2


def test_a_report_before_anything_has_run_says_what_to_run(
    tmp_path: Path, understudy: Callable[..., Said]
) -> None:
    file = small.write(tmp_path)

    plain, as_json = understudy("report", file), understudy("report", file, "--json")

    assert (plain.code, as_json.code) == (1, 1)
    assert "Nothing has run yet for small" in plain.out
    assert f"understudy sweep {file}" in plain.out
    assert json.loads(as_json.out) == {"evaluation": None, "sweep": None}
    assert "Nothing has run yet" in as_json.err
    assert not (tmp_path / "store").exists()


def test_the_best_of_no_sweep_is_bad_input(tmp_path: Path, understudy: Callable[..., Said]) -> None:
    said = understudy("evaluate", small.write(tmp_path), "--best-of", "smal")

    assert said.code == 2
    assert "there is no sweep called 'smal'" in said.err


def test_an_interrupted_command_says_how_to_go_on(
    tmp_path: Path, understudy: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.evaluation.evaluate.run_evaluation", interrupted)

    said = understudy("evaluate", small.write(tmp_path))

    assert said.code == 130
    assert "the same command goes on from here" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("states", "code", "text"),
    [
        ({"complete": 2, "failed": 1}, 0, "Next: understudy evaluate"),
        ({"complete": 2, "running": 1}, 1, "not finished; the same command goes on from here"),
        ({"failed": 3}, 1, "No trial is complete, so there is no best one."),
    ],
)
def test_a_sweep_ends_with_what_to_do_next(
    states: dict[str, int],
    code: int,
    text: str,
    tmp_path: Path,
    understudy: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {"complete": 0, "failed": 0, "running": 0} | states
    summary = SweepSummary(
        name="small",
        metric="macro_recall",
        planned=3,
        best_number=1 if counts["complete"] else None,
        best_value=0.5 if counts["complete"] else None,
        best_overrides={"recipe.training.lr": 0.001} if counts["complete"] else {},
        trials=(),
        **counts,
    )
    outcome = SweepOutcome(summary=summary, computed=4, reused=2, earlier=3, pending=1)
    monkeypatch.setattr("orchestrator.sweep.sweep.run_sweep", lambda *_, **__: outcome)

    said = understudy("sweep", small.write(tmp_path))
    as_json = understudy("sweep", small.write(tmp_path), "--json")

    assert (said.code, as_json.code) == (code, code)
    assert text in said.out
    assert ("Next:" in said.out) == (code == 0)
    assert "4 computed now, 2 reused from the store, 3 of trials that had ended" in said.out
    assert "MLflow has not taken 1 parts of the runs' journals yet" in said.out
    printed = json.loads(as_json.out)
    assert printed["finished"] == ("running" not in states)
    assert printed["summary"]["best_value"] == summary.best_value


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the cluster's ``submit`` was called with; its job fails."""
    called: dict[str, object] = {}

    def submit(file: Path, *, show: Callable[[str], None], **options: object) -> Submission:
        called.update(options, file=file)
        show("[1/2] fold runs [red]not markup[/red]")
        return Submission(job_id="raysubmit_1", status="FAILED", exit_code=7)

    monkeypatch.setattr("orchestrator.cluster.submit", submit)
    return called


def test_a_submission_passes_everything_on_and_ends_with_its_exit_code(
    understudy: Callable[..., Said], submitted: dict[str, object]
) -> None:
    said = understudy(
        *("submit", "mine.yaml", "recipe.training.epochs=2", "search.seeds=[0, 1]"),
        *("--address", "http://head:8265", "--best-of", "demo", "--variant", "paper"),
        *("--env", "EMODB_ROOT=/data/emodb", "--env", "EMPTY=", "--wait"),
    )

    assert said.code == 7
    assert said.out == "[1/2] fold runs [red]not markup[/red]\n"
    assert submitted == {
        "file": Path("mine.yaml"),
        "address": "http://head:8265",
        "overrides": ["recipe.training.epochs=2", "search.seeds=[0, 1]"],
        "variant": "paper",
        "command": "evaluate",
        "arguments": ("--best-of", "demo"),
        "env": {"EMODB_ROOT": "/data/emodb", "EMPTY": ""},
        "wait": True,
    }


def test_a_submission_as_json_keeps_the_log_apart(
    understudy: Callable[..., Said], submitted: dict[str, object]
) -> None:
    said = understudy("submit", "mine.yaml", "--command", "sweep", "--json")

    assert json.loads(said.out) == {
        "job_id": "raysubmit_1",
        "status": "FAILED",
        "exit_code": 7,
    }
    assert "fold runs" in said.err
    assert (submitted["command"], submitted["arguments"]) == ("sweep", ())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--env", "EMODB_ROOT"), "--env 'EMODB_ROOT' is not NAME=VALUE"),
        (("--env", "=x"), "--env '=x' is not NAME=VALUE"),
        (("--command", "sweep", "--best-of", "demo"), "--best-of goes with --command evaluate"),
    ],
)
def test_a_submission_that_cannot_be_is_bad_input(
    understudy: Callable[..., Said],
    submitted: dict[str, object],
    arguments: tuple[str, ...],
    text: str,
) -> None:
    said = understudy("submit", "mine.yaml", *arguments)

    assert said.code == 2
    assert text in said.err
    assert submitted == {}


def test_a_warning_of_ours_is_said_without_its_place_in_the_code(
    tmp_path: Path, emodb: Path, understudy: Callable[..., Said]
) -> None:
    folds = "protocol.kind=random-folds", "protocol.folds=2"
    systems = "evaluate.systems=[teacher]"

    said = understudy("evaluate", experiment(tmp_path, emodb), *folds, systems)

    assert said.code == 2
    assert said.err.startswith("warning: protocol random-folds is speaker-dependent: ")


def test_a_hint_repeats_what_was_typed_as_a_shell_takes_it() -> None:
    said = said_again(Path("a b.yaml"), ["name=x", "search.seeds=[0, 1]"], "paper")

    assert said == "'a b.yaml' name=x 'search.seeds=[0, 1]' --variant paper"
    assert said_again(Path("demo.yaml"), None, None) == "demo.yaml"
