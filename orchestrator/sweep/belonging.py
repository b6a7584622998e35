"""What a study belongs to: which changes of an experiment end it, and which extend it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.experiment import Experiment
from orchestrator.experiment.recipe import PretrainedSource, PretrainedTeacher
from orchestrator.experiment.section import Section
from orchestrator.preparation import Prepared, fingerprints_of, own_protocols
from orchestrator.source_encoder import source_facts
from orchestrator.sweep.space_checks import open_space
from orchestrator.teacher_encoder import teachers_weights

_FREE = ("trials", "max_hours", "storage")
"""Of the search: how long it goes on, and where it is kept."""
_SHOWN = 60
"""Characters of a value in a message."""


class _Unset:
    """In the place of a value that is not there."""


_UNSET = _Unset()


@dataclass(frozen=True)
class Change:
    """One difference between what a study was begun with and what the file has now."""

    key: str
    """Dotted, as in the file; ``corpora.NAME`` for a fingerprint, ``space.NAME`` for what a
    parameter of the space is drawn from."""
    old: Any
    new: Any

    @property
    def part(self) -> str:
        """Of the file."""
        return self.key.partition(".")[0]

    def __str__(self) -> str:
        """As a clause for people."""
        rest = self.key.partition(".")[2]
        if self.part == "space":
            return f"the space's {rest} was {_value(self.old)} and is {_value(self.new)}"
        if self.part == "corpora":
            if isinstance(self.old, _Unset):
                return f"corpus {rest!r} is new"
            if isinstance(self.new, _Unset):
                return f"corpus {rest!r} is gone"
            return f"corpus {rest!r} has other files or labels than it had"
        return f"{self.key} was {_value(self.old)} and is {_value(self.new)}"

    @property
    def extends(self) -> bool:
        """Whether old trials may go on with it, scored on more folds or seeds."""
        if self.key == "search.seeds":
            return set(self.old) <= set(self.new)
        if self.key == "search.folds":
            # none named: all of them
            return not self.new or (bool(self.old) and set(self.old) <= set(self.new))
        if self.key.startswith("search.protocol") and self.key.endswith(".repeats"):
            old, new = self.old, self.new
            return isinstance(old, int) and isinstance(new, int) and old < new
        return False


def belongs_to(
    experiment: Experiment, prepared: tuple[Prepared, ...], *, inner: str = ""
) -> dict[str, Any]:
    """What a study is begun with, as plain data; how long a search goes on is no part of it.

    Args:
        experiment: with a search.
        prepared: its corpora.
        inner: the fold of the evaluation that the search is inside of; none: the sweep's own.

    Raises:
        PretrainedError: the teacher's root is no speech encoder.
    """
    assert experiment.search is not None
    plain = experiment.model_dump(mode="json")
    search = {key: value for key, value in plain["search"].items() if key not in _FREE}
    protocol, protocols = search["protocol"] or plain["protocol"], own_protocols(experiment)
    if inner:
        # the folds are dealt inside one of the evaluation's, which says itself of which repeat
        protocol = plain["protocol"]
        for dealt in (protocol, *protocols.values()):
            dealt.pop("repeats", None)
    found = {
        **recipe_and_features(experiment),
        "search": search | {"protocol": protocol, "protocols": protocols},
        "corpora": fingerprints_of(prepared),
        "space": open_space(experiment).asks,
    }
    if inner:
        found["nested"] = {"inner_folds": experiment.evaluate.inner_search.inner_folds}
    return found


def recipe_and_features(experiment: Experiment) -> dict[str, Any]:
    """The recipe as the file has it, and the features.

    Of a pretrained teacher's or source's encoder it has the hash of its ``weights`` in the place of
    ``root`` and ``revision``: what it is, wherever it lies.

    Raises:
        PretrainedError: the teacher's root is no speech encoder.
    """
    plain = experiment.model_dump(mode="json")
    teacher = experiment.recipe.teacher
    if isinstance(teacher, PretrainedTeacher):
        told = plain["recipe"]["teacher"]
        del told["root"], told["revision"]
        told["weights"] = teachers_weights(teacher)
    source = experiment.recipe.source
    if isinstance(source, PretrainedSource):
        plain["recipe"]["source"] = source_facts(source)
    if source is None:
        # so that a sweep begun before there were sources goes on
        del plain["recipe"]["source"], plain["recipe"]["initialise"]
        del plain["recipe"]["attention_transfer"]
        del plain["recipe"]["objectives"]["attention_transfer"]
    return {"recipe": plain["recipe"], "features": plain["features"]}


def changes(
    experiment: Experiment, *, theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> list[Change]:
    """What is not as it was when a study was begun.

    An option that the study does not know, since it came later, is no change at its default.

    Args:
        experiment: that ``ours`` is of.
        theirs: what the study belongs to.
        ours: of :func:`belongs_to`, or its parts that count.
    """
    later = set(_later(experiment))
    # the first studies did not say what their space asks for
    parts = [part for part in ours if part != "space" or part in theirs]
    found = [
        change for part in parts for change in _compared(part, theirs.get(part), ours[part], later)
    ]
    if any(change.key.startswith(("search.space", "search.parameters")) for change in found):
        # it goes without saying that the space asks for something else
        return [change for change in found if change.part != "space"]
    return found


def _later(experiment: Experiment) -> Iterator[str]:
    """The keys of options that came after the first studies and are at their defaults."""
    yield from _at_default(experiment.recipe, "recipe")
    yield from _at_default(experiment.features, "features")
    search = experiment.search
    if search is not None:
        yield from _at_default(search, "search")
        for protocol in filter(None, (experiment.protocol, search.protocol)):
            yield from _at_default(protocol, "search.protocol")
    for corpus in experiment.labelled:
        if corpus.protocol is not None:
            yield from _at_default(corpus.protocol, f"search.protocols.{corpus.title}")


def _at_default(section: Section, before: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name in section.LATER and value == field.default:
            yield f"{before}.{name}"
        elif isinstance(value, Section):
            yield from _at_default(value, f"{before}.{name}")


def _compared(key: str, old: Any, new: Any, later: Collection[str]) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if old.get("kind") != new.get("kind"):
            # the other keys of a section are those of its kind
            yield Change(f"{key}.kind", old.get("kind", _UNSET), new.get("kind", _UNSET))
            return
        for name in sorted(old.keys() | new.keys()):
            inside = f"{key}.{name}"
            if name in old or inside not in later:
                yield from _compared(inside, old.get(name, _UNSET), new.get(name, _UNSET), later)
    elif old != new and not _same_set(key, old, new):
        yield Change(key, old, new)


def _same_set(key: str, old: Any, new: Any) -> bool:
    return (
        key in ("search.seeds", "search.folds")
        and isinstance(old, list)
        and isinstance(new, list)
        and set(old) == set(new)
    )


def _value(value: Any) -> str:
    if isinstance(value, _Unset) or value is None:
        return "not set"
    told = value if isinstance(value, str) else json.dumps(value)
    return told if len(told) <= _SHOWN else f"{told[: _SHOWN - 3]}..."
