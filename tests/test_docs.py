"""What the documents say is so: keys, defaults, files, commands, links and error messages."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
import yaml
from pydantic.fields import FieldInfo

from orchestrator import cli
from orchestrator.experiment import Experiment, load_experiment
from orchestrator.experiment.loading import is_recogniser_file, load_recogniser_experiment
from orchestrator.experiment.reading import parse_yaml
from orchestrator.experiment.recogniser import RecogniserExperiment
from orchestrator.experiment.section import Section

CHECKOUT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [
        CHECKOUT / "README.md",
        CHECKOUT / "CHANGELOG.md",
        CHECKOUT / "benchmarks" / "RESULTS.md",
        *(CHECKOUT / "docs").glob("*.md"),
    ]
)
FILES: tuple[type[Section], ...] = (Experiment, RecogniserExperiment)
"""What a file can be."""
KEYS = CHECKOUT / "docs" / "experiment-file.md"
VARIABLES = {
    "CREMA_D_ROOT": "/data/crema-d",
    "EMODB_ROOT": "/data/emodb",
    "FSDD_ROOT": "/data/fsdd",
    "IEMOCAP_ROOT": "/data/iemocap",
    "MELD_ROOT": "/data/meld",
    "MINE_ROOT": "/data/mine",
    "RAVDESS_ROOT": "/data/ravdess",
    "SAVEE_ROOT": "/data/savee",
    "UNLABELLED_ROOT": "/data/speech",
    "WHISPER_BASE_ROOT": "/data/whisper",
}
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text("utf-8"), re.M | re.S)


def inline(document: Path) -> list[str]:
    """What stands between backticks outside of blocks."""
    prose = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.M | re.S)
    return [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)]


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    """The sections that an annotation names, at any depth of unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        yield from sections_in(part)


@cache
def all_sections() -> dict[str, type[Section]]:
    """Every section that a file of either kind can have, by class name."""
    found: dict[str, type[Section]] = {}
    waiting = list(FILES)
    while waiting:
        section = waiting.pop()
        if section.__name__ not in found:
            found[section.__name__] = section
            for field in section.model_fields.values():
                waiting += sections_in(field.annotation)
    return found


def dotted_keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a file; items of a list are ``0``."""
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        inner = f"{prefix}{name}.0." if name == "corpora" else f"{prefix}{name}."
        for part in sections_in(field.annotation):
            yield from dotted_keys(part, inner)


def default_of(field: FieldInfo) -> str:
    """A default as the tables write it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return "section"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return '`""`' if value == "" else f"`{value}`"


def key_tables() -> dict[str, dict[str, str]]:
    """From the class name above each table to its keys and defaults."""
    tables: dict[str, dict[str, str]] = {}
    name = ""
    for line in KEYS.read_text("utf-8").splitlines():
        if marker := re.fullmatch(r"<!-- section: (\w+) -->", line):
            name = marker[1]
            assert name not in tables
            tables[name] = {}
        elif name and (row := re.match(r"\| `(\w+)` \| ([^|]+) \| \S", line)):
            tables[name][row[1]] = row[2].strip()
        elif not line.startswith("|"):
            name = ""
    return tables


def test_every_section_has_a_table_and_no_table_is_of_another() -> None:
    assert sorted(key_tables()) == sorted(all_sections())


@pytest.mark.parametrize("name", sorted(all_sections()))
def test_a_table_has_the_keys_and_defaults_of_its_section(name: str) -> None:
    fields = all_sections()[name].model_fields

    assert key_tables()[name] == {key: default_of(field) for key, field in fields.items()}


@each_document
def test_dotted_keys_in_the_text_exist(document: Path) -> None:
    known = {key for file in FILES for key in dotted_keys(file)}
    roots = tuple(f"{name}." for file in FILES for name in file.model_fields)
    mentioned = {
        text.partition("=")[0].rstrip(":")
        for text in inline(document)
        if text.startswith(roots) and " " not in text and "/" not in text.partition("=")[0]
    }

    assert mentioned - known == set()


def whole(text: str) -> dict[str, Any]:
    """A YAML block as a file: sections alone are put into a small experiment."""
    data = parse_yaml(text)
    assert isinstance(data, dict)
    if "name" in data:
        return data
    assert "recogniser" not in data, "give it a name"
    base: dict[str, Any] = {
        "name": "base",
        "corpora": [{"kind": "synthetic"}],
        "protocol": {"kind": "leave-one-session-out"},
        "recipe": {"student": {"kind": "vertical-vit"}},
    }
    recipe = base["recipe"] | data.get("recipe", {})
    return base | data | {"recipe": recipe}


def load(file: Path, **given: Any) -> None:
    """Read a file of either kind as the command line would."""
    if is_recogniser_file(file):
        load_recogniser_experiment(file, environment=VARIABLES, **given)
    else:
        load_experiment(file, environment=VARIABLES, **given)


@each_document
def test_yaml_blocks_load(document: Path, tmp_path: Path) -> None:
    for text in blocks(document, "yaml"):
        file = tmp_path / "block.yaml"
        file.write_text(yaml.safe_dump(whole(text)))

        load(file)


def command_lines(document: Path) -> list[list[str]]:
    """Every ``understudy ...`` of blocks and prose, split as a shell would."""
    shell = [text.replace("\\\n", " ") for text in blocks(document, "sh")]
    lines = [line for text in shell for line in text.splitlines()] + inline(document)
    return [
        shlex.split(line, comments=True)[1:]
        for line in lines
        if re.match(r"(?:\.venv/bin/)?understudy ", line)
    ]


def example_file(name: str, document: Path, tmp_path: Path) -> Path | None:
    """The experiment file that a command names: a shipped one, or one of the document's blocks."""
    if (CHECKOUT / name).is_file():
        return CHECKOUT / name
    for text in blocks(document, "yaml"):
        if parse_yaml(text).get("name") == Path(name).stem:
            (tmp_path / name).write_text(text)
            return tmp_path / name
    return None


@each_document
def test_commands_exist_with_their_options_and_overrides(document: Path, tmp_path: Path) -> None:
    known = {key for file in FILES for key in dotted_keys(file)}
    for words in command_lines(document):
        command: Any = typer.main.get_command(cli.app)
        rest = [word for word in words if word != "--debug"]  # the one option of every command
        while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
            assert rest[0] in command.commands, " ".join(words)
            command = command.commands[rest.pop(0)]
        with command.make_context("understudy", [], resilient_parsing=True) as context:
            given, left, _ = command.make_parser(context).parse_args(args=rest)

        assert left == [], " ".join(words)
        overrides = [text for text in given.get("overrides") or () if text != "..."]
        for text in overrides:
            key, equals, _ = text.partition("=")
            assert equals, " ".join(words)
            # a parameter of a space may have the name of a key of the recipe
            key = key.removeprefix("search.parameters.")
            assert key in known | {"key"}, " ".join(words)
        file = example_file(given.get("file") or "", document, tmp_path)
        if file is not None:
            assert not is_recogniser_file(file) or {"evaluate", "report"} & {*words}
            load(file, overrides=overrides, variant=given.get("variant"))


@each_document
def test_links_lead_to_files_that_are_there(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8"))

    assert [name for name in targets if not (document.parent / name).exists()] == []


@cache
def messages() -> str:
    """Every text in the sources, one a line; what is filled in is ``...``."""

    def written(node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(
                str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values
            )
        return ""

    texts = [
        written(node)
        for package in ("orchestrator", "models")
        for file in sorted((CHECKOUT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant | ast.JoinedStr)
    ]
    return "\n".join(" ".join(text.split()) for text in texts)


def test_quoted_messages_are_those_of_the_program() -> None:
    text = (CHECKOUT / "docs" / "troubleshooting.md").read_text("utf-8")
    tables = re.findall(r"^\| message \| mend \|\n((?:\|.*\n)+)", text, re.M)
    quoted = [said for table in tables for said in re.findall(r"^\| `([^`]+)` \|", table, re.M)]

    assert len(quoted) > 20
    assert [
        message
        for message in quoted
        for part in message.split("...")
        if part.strip() and part.strip() not in messages()
    ] == []
