"""What is news to MLflow, cut to its limits."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.tracking.record import (
    CHANGED_TAG,
    CUT_TAG,
    REASON_TAG,
    SEGMENT_TAG,
    Point,
    RunRecord,
    batches,
    news,
    plain_name,
)


def _run(**known: Any) -> RunRecord:
    blank: dict[str, Any] = {"status": "RUNNING", "deleted": False, "params": {}, "tags": {}}
    return RunRecord(run_id="r", **{**blank, **known})


def _start(params: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"event": "start", "params": params, "tags": {}, **more}


def test_points_are_new_when_metric_step_or_value_differ() -> None:
    run = _run(values={("loss", 1): "0.5", ("loss", 2): "nan"})
    told = [
        Point("loss", "0.5", 1, 9000),
        Point("loss", "nan", 2, 9000),
        Point("loss", "0.4", 3, 9000),
        Point("loss", "0.6", 1, 9001),
        Point("loss", "0.6", 1, 9002),
    ]

    fresh = run.unknown(told)

    assert fresh == [told[2], told[3]]
    assert run.values == {("loss", 1): "0.5", ("loss", 2): "nan"}


def test_a_param_is_sent_once_and_a_changed_one_is_named_in_a_tag() -> None:
    run = _run(params={"lr": "0.1", "epochs": "5"})

    params, tags = news(run, [_start({"lr": "0.1", "epochs": "6", "fold": "1"})])

    assert params == {"fold": "1"}
    assert tags == {CHANGED_TAG: '{"epochs": "6"}'}


def test_a_long_param_is_cut_and_named_in_a_tag() -> None:
    params, tags = news(_run(), [_start({"space": "x" * 6001, "fits": "y" * 6000})])

    assert params == {"space": "x" * 6000, "fits": "y" * 6000}
    assert tags == {CUT_TAG: "space"}


def test_a_reason_is_kept_and_taken_back_by_a_later_success() -> None:
    failed = {"event": "end", "reason": "out of memory"}
    finished = {"event": "end", "reason": ""}

    assert news(_run(), [failed])[1] == {REASON_TAG: "out of memory"}
    assert news(_run(), [finished])[1] == {}
    assert news(_run(tags={REASON_TAG: "out of memory"}), [finished])[1] == {REASON_TAG: ""}


def test_the_last_segment_never_goes_back() -> None:
    run = _run(tags={SEGMENT_TAG: "000004-aaaaaaaa.jsonl"})

    assert news(run, [_start({}, segment="j/k/000003-bbbbbbbb.jsonl")])[1] == {}
    later = "000004-bbbbbbbb.jsonl"
    assert news(run, [_start({}, segment=f"j/k/{later}")])[1] == {SEGMENT_TAG: later}


@pytest.mark.parametrize(
    ("points", "params", "tags"), [(0, 0, 0), (1, 1, 1), (2000, 3, 3), (5, 250, 3), (5, 3, 250)]
)
def test_batches_hold_everything_once_within_the_limits_and_end_with_the_marker(
    points: int, params: int, tags: int
) -> None:
    told = [Point("m", "1.0", step, 0) for step in range(points)]
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
