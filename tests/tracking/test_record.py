"""What is news to MLflow, cut to its limits."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.tracking.record import (
    CHANGED_TAG,
    CUT_TAG,
    END_TAG,
    REASON_TAG,
    Mark,
    Point,
    RunRecord,
    batches,
    news,
    plain_name,
    points,
    timely,
    unknown,
)


def _run(**known: Any) -> RunRecord:
    blank: dict[str, Any] = {"status": "RUNNING", "params": {}, "tags": {}}
    return RunRecord(run_id="r", **{**blank, **known})


def _start(params: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"event": "start", "params": params, "tags": {}, **more}


def test_points_are_new_when_metric_step_or_value_differ() -> None:
    held = {("loss", 1): "0.5", ("loss", 2): "nan"}
    told = [
        Point("loss", "0.5", 1, 9000),
        Point("loss", "nan", 2, 9000),
        Point("loss", "0.4", 3, 9000),
        Point("loss", "0.6", 1, 9001),
        Point("loss", "0.6", 1, 9002),
    ]

    assert unknown(told, held) == [told[2], told[3]]
    assert held == {("loss", 1): "0.5", ("loss", 2): "nan"}


def test_mlflow_is_asked_about_a_metric_only_if_it_may_hold_the_step() -> None:
    told = [Point("loss", "0.5", 3, 0), Point("new", "1.0", 1, 0)]

    assert _run().doubtful(told) == {"loss", "new"}
    assert _run(steps={"loss": 2}).doubtful(told) == {"new"}
    assert _run(whole=True, steps={"loss": 2}).doubtful(told) == set()
    assert _run(whole=True, steps={"loss": 3}).doubtful(told) == {"loss"}
    twice = [Point("loss", "0.5", 1, 0), Point("loss", "0.6", 1, 1)]
    assert _run(whole=True).doubtful(twice) == {"loss"}


def test_an_infinite_value_is_what_mlflow_keeps_of_it() -> None:
    values = {"up": "inf", "down": "-inf", "none": "nan", "some": 0.1}
    event = {"event": "metrics", "step": 1, "time": 2, "values": values}

    assert [(point.name, point.value) for point in points([event])] == [
        ("up", "1.7976931348623157e+308"),
        ("down", "-1.7976931348623157e+308"),
        ("none", "nan"),
        ("some", "0.1"),
    ]


def test_a_param_is_sent_once_and_a_changed_one_is_named_in_a_tag() -> None:
    run = _run(params={"lr": "0.1", "epochs": "5"})

    told = news(run, [_start({"lr": "0.1", "epochs": "6", "fold": "1"})])

    assert told.params == {"fold": "1"}
    assert told.tags == {CHANGED_TAG: '{"epochs": "6"}'}


def test_a_long_param_is_cut_named_in_a_tag_and_kept_whole() -> None:
    told = news(_run(), [_start({"space": "x" * 6001, "fits": "y" * 6000})])

    assert told.params == {"space": "x" * 6000, "fits": "y" * 6000}
    assert told.tags == {CUT_TAG: "space"}
    assert told.long == {"space": "x" * 6001}


def test_of_several_values_of_a_tag_the_last_is_kept() -> None:
    told = [
        {"event": "start", "params": {}, "tags": {"a": "1", "b": "1"}},
        {"event": "tags", "tags": {"b": "2", "c": "3"}},
    ]

    assert news(_run(tags={"c": "3"}), told).tags == {"a": "1", "b": "2"}


def test_text_that_a_database_may_not_take_is_mended_and_secrets_are_left_out() -> None:
    params = {"nul": "a\0b", "half": "\ud800", "uri": "postgresql://me:pw@db/x"}

    assert news(_run(), [_start(params)]).params == {
        "nul": "a\ufffdb",
        "half": "?",
        "uri": "postgresql://***@db/x",
    }


def test_a_reason_is_kept_and_taken_back_by_a_later_success() -> None:
    failed = {"event": "end", "reason": "out of memory"}
    finished = {"event": "end", "reason": ""}

    assert news(_run(), [failed]).tags == {REASON_TAG: "out of memory"}
    assert news(_run(), [finished]).tags == {}
    assert news(_run(tags={REASON_TAG: "out of memory"}), [finished]).tags == {REASON_TAG: ""}


def test_what_began_or_ended_before_the_last_end_is_no_news_and_measurements_are() -> None:
    def at(time: int, kind: str) -> dict[str, Any]:
        return {"event": kind, "time": time}

    fresh = [at(1, "start"), at(3, "start"), at(5, "end")]
    late = [at(2, "start"), at(2, "metrics"), at(4, "end"), at(5, "start")]
    again = [at(6, "start"), at(6, "end")]

    assert timely(_run(), [*fresh, *late, *again]) == [*fresh, late[1], *again]
    ended = _run(tags={END_TAG: "5"})
    assert timely(ended, [*fresh, *late, *again]) == [fresh[2], late[1], *again]
    assert timely(_run(tags={END_TAG: "by hand"}), fresh) == fresh


NAMES = ["j/k/000001-aaaaaaaa.jsonl", "j/k/000002-bbbbbbbb.jsonl", "j/k/000003-cccccccc.jsonl"]


def test_a_mark_says_what_is_left_and_survives_its_tag() -> None:
    mark = Mark.after(NAMES[:2])

    assert str(mark) == "000002-bbbbbbbb.jsonl #2"
    assert Mark.read(str(mark)) == mark
    assert mark.rest(NAMES) == NAMES[2:]
    assert mark.rest(NAMES[:2]) == []
    assert Mark.after([]).rest(NAMES) == NAMES


@pytest.mark.parametrize("tag", ["", "000002-bbbbbbbb.jsonl", "000002-bbbbbbbb.jsonl #x"])
def test_a_tag_that_no_writer_wrote_holds_nothing(tag: str) -> None:
    assert Mark.read(tag).rest(NAMES) == NAMES


def test_a_segment_in_between_or_another_store_leaves_all_to_replay() -> None:
    mark = Mark.after([NAMES[0], NAMES[2]])

    assert mark.rest(NAMES) == NAMES
    assert mark.rest(NAMES[:1]) == NAMES[:1]


@pytest.mark.parametrize(
    ("count", "params", "tags"), [(0, 0, 0), (1, 1, 1), (2000, 3, 3), (5, 250, 3), (5, 3, 250)]
)
def test_batches_hold_everything_once_within_the_limits_and_end_with_the_marker(
    count: int, params: int, tags: int
) -> None:
    told = [Point("m", "1.0", step, 0) for step in range(count)]
    named = {f"p{place}": "v" for place in range(params)}
    tagged = {"!marker": "z", **{f"t{place}": "v" for place in range(tags)}}

    cut = list(batches(told, named, tagged, last_tag="!marker"))

    assert [point for batch in cut for point in batch.points] == told
    assert dict(pair for batch in cut for pair in batch.params) == named
    assert dict(pair for batch in cut for pair in batch.tags) == tagged
    assert sum(len(batch.tags) for batch in cut) == tags + 1
    assert cut[-1].tags[-1] == ("!marker", "z")
    for batch in cut:
        assert len(batch.params) <= 100
        assert len(batch.tags) <= 100
        assert len(batch.points) + len(batch.params) + len(batch.tags) <= 1000


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("validation/macro_recall", "validation/macro_recall"),
        ("uar@fold(1)", "uar_fold_1_"),
        ("/a//b/../c", "a/c"),
        ("", "_"),
        ("x" * 300, "x" * 250),
    ],
)
def test_names_take_the_form_that_mlflow_accepts(name: str, plain: str) -> None:
    assert plain_name(name) == plain
