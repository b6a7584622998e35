"""Which runs a run leads to, and what the dashboard is told of them."""

from __future__ import annotations

from orchestrator.tracking.links import (
    Target,
    link_tags,
    linked_keys,
    target_tags,
    unlinked,
)

TEACHER = {"event": "link", "role": "teacher", "to": "k1"}


def test_keys_of_a_role_are_kept_in_their_order_and_once() -> None:
    events = [TEACHER, {**TEACHER, "to": "k2"}, TEACHER, {"event": "end"}]

    assert link_tags(events, {"understudy.link.teacher": "k0 k2"}) == {
        "understudy.link.teacher": "k0 k2 k1"
    }
    assert link_tags([{"event": "end"}], {"understudy.link.teacher": "k0"}) == {}


def test_a_run_waits_until_it_leads_to_all() -> None:
    tags = {"understudy.link.teacher": "k1 k2", "understudy.key": "k3"}

    assert linked_keys(tags) == {"k1", "k2"}
    assert unlinked({**tags, "understudy.teacher": "id1"}) == {"k1", "k2"}
    assert unlinked({**tags, "understudy.teacher": "id1 id2"}) == frozenset()
    assert unlinked({}) == frozenset()


def test_a_note_that_somebody_wrote_stays_and_our_line_is_replaced() -> None:
    tags = {
        "understudy.link.best_student": "k1",
        "mlflow.note.content": "Looks odd.\nBest student: [old](#/experiments/7/runs/gone)",
    }

    made = target_tags(tags, {"k1": Target("id1", "trial [3]")}, experiment_id="7")

    assert made == {
        "understudy.best_student": "id1",
        "mlflow.note.content": "Looks odd.  \nBest student: [trial 3](#/experiments/7/runs/id1)",
    }
    again = target_tags({**tags, **made}, {"k1": Target("id1", "trial [3]")}, experiment_id="7")
    assert again == made


def test_nothing_is_written_while_mlflow_has_none_of_them() -> None:
    tags = {"understudy.link.teacher": "k1", "mlflow.note.content": "mine"}

    assert target_tags(tags, {}, experiment_id="7") == {}
