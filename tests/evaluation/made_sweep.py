"""The facts of a made-up sweep, as :func:`orchestrator.evaluation.stored.stored_sweep` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def other(number: int, *, apart: bool) -> dict[str, Any]:
    """A trial that was compared with the best."""
    low = 0.02 if apart else -0.02
    return {
        "number": number,
        "value": 0.6,
        "difference": 0.025,
        "low": low,
        "high": 0.07,
        "folds": 4,
        "apart": apart,
    }


def importance(parameter: str, *, share: float, conditional: bool = False) -> dict[str, Any]:
    """What a parameter explains."""
    return {
        "parameter": parameter,
        "share": share,
        "chance": 0.31,
        "trials": 9,
        "conditional": conditional,
    }


def row(
    number: int,
    state: str = "complete",
    *,
    value: float | None = 0.6,
    folds: int = 4,
    reason: str = "",
    costs: tuple[float, ...] = (),
    drawn: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A trial; the score of each of its folds is its value."""
    scored = state in ("complete", "pruned")
    return {
        "number": number,
        "state": state,
        "ended": state != "running",
        "value": value if scored else None,
        "values": [value, *costs] if scored else [],
        "folds": {f"c/{place}": value for place in range(folds)},
        "overrides": {},
        "reason": reason,
        "macs": None,
        "parameters": None,
        "seconds": 1.0,
        "drawn": dict(drawn or {}),
    }


SWEEP: dict[str, Any] = {
    "experiment": "demo",
    "metric": "macro_recall",
    "trials": 12,
    "states": {"complete": 9},
    "best": {
        "number": 2,
        "value": 0.625,
        "overrides": {"recipe.training.lr": 0.001},
        "interval": {"mean": 0.625, "low": 0.55, "high": 0.7, "folds": 4},
    },
    "front": [],
    "rows": [
        row(
            number,
            value=0.625 if number == 2 else 0.6,
            drawn={
                "recipe.training.lr": 0.0001 * (number + 1),
                "recipe.student.depth": number % 4 + 1,
                "patch": ["vertical 1", "square 8"][number % 2],
                "logits": number % 3 == 0,
            },
        )
        for number in range(1, 10)
    ],
    "findings": {
        "complete": 9,
        "pruned": 0,
        "importances": [
            importance("recipe.training.lr", share=0.812),
            importance("recipe.temperature.value", share=0.05, conditional=True),
        ],
        "without_importance": "",
        "best": 2,
        "comparisons": [
            *(other(number, apart=False) for number in (1, 3)),
            *(other(number, apart=True) for number in range(4, 10)),
        ],
        "indistinguishable": [1, 3],
        "parameters": {
            "recipe.training.lr": "log",
            "recipe.student.depth": "linear",
            "patch": "choice",
            "logits": "choice",
        },
    },
}
EARLIER: dict[str, Any] = {
    "experiment": "demo",
    "metric": "macro_recall",
    "trials": 12,
    "states": {"complete": 3, "failed": 1},
    "best": {"number": 2, "value": 0.625, "overrides": {"recipe.training.lr": 0.001}},
}
"""What was told of a sweep before there were pruners, costs and intervals."""


def with_front(costs: tuple[str, ...] = ("macs",)) -> dict[str, Any]:
    """The sweep with several objectives: dearer trials are better, and trial 9 is on no front."""
    rows = []
    for number in range(1, 10):
        value = 0.5 + 0.01 * number if number < 9 else 0.4
        rows.append(row(number, value=value, costs=tuple(1e6 * number for _ in costs)))
    front = [
        {
            "number": one["number"],
            "values": dict(zip(("macro_recall", *costs), one["values"], strict=True)),
            "overrides": {
                "recipe.training.lr": 0.0001 * one["number"],
                "recipe.student.depth": 3,
                **({"recipe.temperature.value": 2.0} if one["number"] == 1 else {}),
            },
            "interval": {
                "mean": one["value"],
                "low": one["value"] - 0.05,
                "high": one["value"] + 0.05,
                "folds": 4,
            },
        }
        for one in rows[:-1]
    ]
    told = {"objectives": ["macro_recall", *costs], "front": front, "rows": rows, "best": None}
    return SWEEP | told
