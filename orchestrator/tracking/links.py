"""Links from a run to the runs that it used, such as a student's to its teacher's.

A tag holds the keys of the others as soon as they are told; the tag with their ids in MLflow, which
one may search for, and the note that the dashboard shows follow when MLflow has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.tracking.segment import Event

NOTE_TAG = "mlflow.note.content"
_LINK = "understudy.link."


@dataclass(frozen=True)
class Target:
    """A run that others lead to."""

    run_id: str
    name: str


def link_tags(events: Iterable[Event], tags: Mapping[str, str]) -> dict[str, str]:
    """The tags with the keys of all runs that a run was told to lead to.

    Args:
        events: Of the run; those that are no links say nothing here.
        tags: That the run has.
    """
    told: dict[str, str] = {}
    for event in events:
        if event["event"] == "link":
            name = f"{_LINK}{event['role']}"
            keys = told.get(name, tags.get(name, "")).split()
            told[name] = " ".join(dict.fromkeys([*keys, event["to"]]))
    return told


def linked_keys(tags: Mapping[str, str]) -> frozenset[str]:
    """The keys of all runs that a run with these tags uses."""
    return frozenset(
        key for name, keys in tags.items() if name.startswith(_LINK) for key in keys.split()
    )


def unlinked(tags: Mapping[str, str]) -> frozenset[str]:
    """The keys of the runs that a run uses, as long as it does not lead to all of them."""
    waiting: set[str] = set()
    for name, keys in tags.items():
        if name.startswith(_LINK):
            ids = tags.get(_id_tag(name), "")
            if len(ids.split()) < len(keys.split()):
                waiting.update(keys.split())
    return frozenset(waiting)


def target_tags(
    tags: Mapping[str, str], targets: Mapping[str, Target], *, experiment_id: str
) -> dict[str, str]:
    """The tags that lead from a run to the others, and its note with the same for the dashboard.

    Args:
        tags: That the run has; what a person wrote into its note stays.
        targets: By key, those of the others that MLflow has.
        experiment_id: MLflow's id of the experiment that all of them are in.
    """
    made: dict[str, str] = {}
    note = tags.get(NOTE_TAG, "").splitlines()
    for name, keys in sorted(tags.items()):
        if not name.startswith(_LINK):
            continue
        known = [targets[key] for key in keys.split() if key in targets]
        if not known:
            continue
        made[_id_tag(name)] = " ".join(target.run_id for target in known)
        title = name.removeprefix(_LINK).replace("_", " ").capitalize()
        runs = f"#/experiments/{experiment_id}/runs"
        links = ", ".join(f"[{_plain(one.name)}]({runs}/{one.run_id})" for one in known)
        note = [line for line in note if not line.startswith(f"{title}: [")]
        note.append(f"{title}: {links}")
    if made:
        # Two spaces end a line in Markdown.
        made[NOTE_TAG] = "\n".join(f"{line.rstrip()}  " for line in note).rstrip()
    return made


def _plain(name: str) -> str:
    """A run's name without what Markdown would take for the end of a link."""
    return re.sub(r"[][]", "", name)


def _id_tag(link_tag: str) -> str:
    return f"understudy.{link_tag.removeprefix(_LINK)}"
