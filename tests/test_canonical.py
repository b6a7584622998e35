"""Canonical JSON: equal values, one text."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.canonical import canonical, digest, readable

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_keys_are_sorted_and_tuples_are_lists() -> None:
    assert canonical({"b": (1, "x"), "a": None}) == '{"a":null,"b":[1,"x"]}'


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (0.0, -0.0), (10**22, 1e22), (5e-4, 0.0005), ([1], (1.0,))]
)
def test_equal_numbers_have_one_text(one: object, other: object) -> None:
    assert canonical(one) == canonical(other)  # type: ignore[arg-type]


@pytest.mark.parametrize(("one", "other"), [(True, 1), (False, 0), ("1", 1), (None, "null")])
def test_different_kinds_stay_different(one: object, other: object) -> None:
    assert canonical(one) != canonical(other)  # type: ignore[arg-type]


def test_digest_is_sha256_of_the_text() -> None:
    assert digest({"a": "é"}) == hashlib.sha256(b'{"a":"\\u00e9"}').hexdigest()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_with_its_place(bad: float) -> None:
    with pytest.raises(ValueError, match=r"value\.recipe\.lr\[1\] is -?(nan|inf)"):
        canonical({"recipe": {"lr": [1.0, bad]}})


def test_what_is_no_json_is_refused_with_its_place() -> None:
    with pytest.raises(TypeError, match=r"value\.n is a int64"):
        canonical({"n": np.int64(3)})
    with pytest.raises(ValueError, match=r"value has the key 3"):
        canonical({3: 1})


@given(plain)
def test_both_texts_say_the_same(value: object) -> None:
    assert json.loads(canonical(value)) == json.loads(readable(value)) == value


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_order_of_keys_means_nothing(value: dict[str, object]) -> None:
    assert digest(dict(reversed(list(value.items())))) == digest(value)
