from __future__ import annotations

import re

import pytest

from orchestrator.corpora import corpus_section
from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import (
    ColumnMap,
    EmodbCorpus,
    IemocapCorpus,
    SyntheticCorpus,
    TableCorpus,
)


@pytest.mark.parametrize(
    ("kind", "root", "made"),
    [
        ("emodb", "there", EmodbCorpus(kind="emodb", root="there")),
        ("iemocap", "there", IemocapCorpus(kind="iemocap", root="there")),
        ("table", "t.csv", TableCorpus(kind="table", file="t.csv")),
        ("synthetic", None, SyntheticCorpus(kind="synthetic")),
    ],
)
def test_section_from_kind_and_place(kind: str, root: str | None, made: object) -> None:
    assert corpus_section(kind, root) == made


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_can_be_asked_for(kind: str) -> None:
    assert corpus_section(kind, None if kind == "synthetic" else "there").kind == kind


def test_options_are_keys_of_the_section_and_yaml() -> None:
    made = corpus_section(
        "iemocap",
        "there",
        [
            "label_set=6",
            "subset=improvised",
            "problems=set-aside",
            "accept=[silent, duplicate]",
            "columns.gender={source: speaker, map: {a: female}}",
        ],
    )

    assert made == IemocapCorpus(
        kind="iemocap",
        root="there",
        label_set="6",
        subset="improvised",
        problems="set-aside",
        accept=("silent", "duplicate"),
        columns={"gender": ColumnMap(source="speaker", map={"a": "female"})},
    )


def test_the_file_of_a_table_may_start_its_paths_elsewhere() -> None:
    made = corpus_section("table", "t.csv", ["root=/data", "labels={a: b}"])

    assert made == TableCorpus(kind="table", file="t.csv", root="/data", labels={"a": "b"})


def test_a_kind_without_a_place_takes_options_at_once() -> None:
    made = corpus_section("synthetic", "sessions=3", ["seed=1"])

    assert made == SyntheticCorpus(kind="synthetic", sessions=3, seed=1)


@pytest.mark.parametrize(
    ("kind", "root", "options", "said"),
    [
        ("emdb", "there", [], "no kind of corpus 'emdb'; did you mean 'emodb'?"),
        ("emodb", None, [], "needs a place; give the folder"),
        ("emodb", "problems=refuse", [], "needs a place; give the folder"),
        ("table", None, [], "needs a place; give the CSV or Parquet file"),
        ("synthetic", "there", [], "is built in and has no root, not 'there'"),
        ("iemocap", "there", ["lable_set=6"], "'lable_set' (value 6); did you mean 'label_set'?"),
        ("emodb", "there", ["label_set=6"], "unknown key 'label_set'"),
        ("iemocap", "there", ["label_set=7"], "'label_set' is '7'; known: 4, 4-excited"),
        ("emodb", "there", ["problems=setaside"], "did you mean 'set-aside'?"),
        ("emodb", "there", ["accept=[missing]"], "'missing'"),
        ("emodb", "there", ["accept"], "'accept' of emodb is not key=value"),
        ("emodb", "there", ["=1"], "'=1' of emodb is not key=value"),
        ("emodb", "there", ["labels={a"], "'labels={a' is not YAML"),
        ("emodb", "there", ["root=here"], "the root is given without its name"),
        ("emodb", "there", ["kind=table"], "the kind is given without its name"),
        ("synthetic", "sessions=1", [], "'sessions' is 1; it should be greater than or equal to 2"),
        ("emodb", "there", ["name=a", "name.x=1"], "leads into name"),
    ],
)
def test_what_is_wrong_is_said(kind: str, root: str | None, options: list[str], said: str) -> None:
    with pytest.raises(CorpusError, match=re.escape(said)):
        corpus_section(kind, root, options)
