from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.evaluation import attention_pictures
from orchestrator.evaluation.attention_pictures import attention_picture
from orchestrator.features import PackedFrames
from orchestrator.training.student import student_artifact
from orchestrator.training.task import Silent
from tests.training.attending import AttendingHome


@pytest.fixture(scope="module")
def attending(tmp_path_factory: pytest.TempPathFactory) -> AttendingHome:
    return AttendingHome.build(tmp_path_factory.mktemp("attending"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the picture is drawn of."""
    told: dict[str, Any] = {}

    def draw(**what: Any) -> bytes:
        told.update(what)
        return b"picture"

    monkeypatch.setattr(attention_pictures, "draw_attention", draw)
    return told


def test_source_and_student_before_and_after_hear_one_validation_utterance(
    attending: AttendingHome, tmp_path: Path, drawn: dict[str, Any]
) -> None:
    store = attending.store(tmp_path / "store")
    task = attending.task(student__segment_seconds=None)
    trained = student_artifact(task, store, reporter=Silent())

    assert attention_picture(task, store, trained) == b"picture"
    lengths = sorted(
        (PackedFrames.open(store, task.frames).length(id_), id_) for id_ in task.validation.ids
    )
    frames, median = lengths[len(lengths) // 2]
    assert median in drawn["title"]
    assert drawn["log_mel"].shape == (frames, task.features.bins)
    before, after = (drawn["maps"][f"student {when} (layer 1)"] for when in ("before", "after"))
    (source,) = (value for title, value in drawn["maps"].items() if title.startswith("source"))
    for attention in (source, before, after):
        np.testing.assert_allclose(attention.sum(1), 1.0, atol=1e-5)
    assert before.shape == after.shape
    assert not np.allclose(before, after)


def test_nothing_is_drawn_where_no_utterance_is_heard_in_one_go(
    attending: AttendingHome, tmp_path: Path, drawn: dict[str, Any]
) -> None:
    store = attending.store(tmp_path / "store")
    task = attending.task(student__segment_seconds=0.1, training__epochs=1)
    trained = student_artifact(task, store, reporter=Silent())

    assert attention_picture(task, store, trained) is None
    assert not drawn
