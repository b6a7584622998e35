"""A corpus's section from a command line: ``corpora check iemocap ROOT label_set=6``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError

from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.errors import CorpusError, ExperimentError, nearest
from orchestrator.experiment.complaints import paragraph
from orchestrator.experiment.corpus import CorpusBase, CorpusSection
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.reading import parse_yaml

_OPTION: Final = re.compile(r"[A-Za-z_]+(\.[\w-]+)*=")


def corpus_section(
    kind: str, root: str | None = None, options: Sequence[str] = ()
) -> CorpusSection:
    """The section for a kind, a place and options.

    Args:
        kind: one of ``KINDS``.
        root: the folder; the file of ``table``; none for ``synthetic``. A text like ``name=value``
            that is no path is taken as the first of the options, for kinds without a place.
        options: keys of the section as ``key=value``, values in YAML: ``problems=set-aside``,
            ``labels={anger: anger, neutral: neutral}``, ``columns.session.source=speaker``.

    Raises:
        CorpusError: the kind is unknown; it needs a place and has none, or the reverse; or an
            option is not ``key=value``, not YAML, unknown, or has a value that does not fit.
    """
    if kind not in KINDS:
        raise CorpusError(f"there is no kind of corpus {kind!r}; {nearest(kind, KINDS)}")
    model = _models()[kind]
    if root is not None and _OPTION.match(root) and not Path(root).exists():
        options = (root, *options)
        root = None
    given = _parsed(options, kind=kind)
    place = next((key for key in ("file", "root") if key in model.model_fields), None)
    if place is None and root is not None:
        raise CorpusError(f"the {kind} corpus is built in and has no root, not {root!r}")
    if place is not None and root is None:
        what = "the CSV or Parquet file" if place == "file" else "the folder"
        raise CorpusError(f"a corpus of kind {kind!r} needs a place; give {what} after the kind")
    fixed = {"kind", *(() if place is None else (place,))}
    for key in given:
        if key in fixed:
            raise CorpusError(f"{key}={given[key]!r}: the {key} is given without its name, once")
    data: dict[str, Any] = {"kind": kind} | ({} if place is None else {place: root})
    try:
        apply_overrides(data, given)
        section: Any = model.model_validate(data)
    except ExperimentError as error:
        raise CorpusError(str(error)) from None
    except ValidationError as error:
        said = paragraph(error, model, source=lambda key: f"option of {kind}")
        raise CorpusError(said) from None
    made: CorpusSection = section
    return made


def _models() -> dict[str, type[CorpusBase]]:
    """The section of each kind."""
    union = get_args(get_args(CorpusSection)[0])
    return {get_args(model.model_fields["kind"].annotation)[0]: model for model in union}


def _parsed(options: Sequence[str], *, kind: str) -> dict[str, Any]:
    """Values by dotted key; of two for one key the last counts."""
    given: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not all(key.split(".")):
            raise CorpusError(
                f"the option {option!r} of {kind} is not key=value, such as problems=set-aside"
            )
        try:
            given[key] = parse_yaml(value)
        except ExperimentError as error:
            raise CorpusError(
                f"the value of {option!r} is not YAML ({error}); "
                "quote it for the shell: 'labels={anger: high}'"
            ) from None
    return given
