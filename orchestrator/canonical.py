"""One text, and so one digest, for values that are equal: what the store's keys are made of."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

JSON: TypeAlias = "None | bool | int | float | str | Sequence[JSON] | Mapping[str, JSON]"
"""What can be written as JSON; tuples are written as lists."""


def canonical(value: JSON) -> str:
    """The JSON text of ``value`` that every equal value shares.

    Keys are sorted, text is ASCII, there is no white space, and numbers that compare equal are
    written alike (``1.0`` as ``1``, ``-0.0`` as ``0``), so that a file's ``lr: 1`` and ``lr: 1.0``
    are one input. ``true`` and ``1`` stay different.

    Raises:
        ValueError: a float is NaN or infinite, or a key is no text; the message says where.
        TypeError: something is not JSON, such as a numpy scalar; the message says where.

    >>> canonical({"b": 1.0, "a": (True, None, "x")})
    '{"a":[true,null,"x"],"b":1}'
    """
    return json.dumps(_plain(value, "value"), sort_keys=True, separators=(",", ":"))


def digest(value: JSON) -> str:
    """SHA-256 of :func:`canonical` text, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


def readable(value: JSON) -> str:
    """The same content as :func:`canonical`, indented for people, with a newline at the end."""
    return json.dumps(_plain(value, "value"), sort_keys=True, indent=2) + "\n"


def _plain(value: JSON, where: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            msg = f"{where} is {value}; only finite numbers can be an input"
            raise ValueError(msg)
        return int(value) if value.is_integer() else float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                msg = f"{where} has the key {key!r}, which is a {type(key).__name__}, not text"
                raise ValueError(msg)
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item, f"{where}[{place}]") for place, item in enumerate(value)]
    msg = f"{where} is a {type(value).__name__}, which JSON cannot hold"
    raise TypeError(msg)
