"""What a reader of a sweep's tables sees."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from orchestrator.evaluation.report import markdown, render
from orchestrator.evaluation.sweep_report import FAILED
from tests.evaluation.made_sweep import EARLIER, SWEEP, row, with_front


def printed(sweep: dict[str, Any], width: int = 200) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        for part in render(None, sweep):
            console.print(part)
    return capture.get()


def cells(sweep: dict[str, Any], what: str) -> list[str]:
    """The values of a row of the first table."""
    lines = markdown(None, sweep).splitlines()
    return [line.split(" | ")[1].rstrip(" |") for line in lines if line.startswith(f"| {what} |")]


def test_a_sweep_of_an_earlier_version_is_reported() -> None:
    text = printed(EARLIER)

    assert "4 of 12 (3 complete, 1 failed)" in text
    assert "62.5" in text
    assert "recipe.training.lr" in text
    unfinished = EARLIER | {"states": {}, "best": None}
    assert "0 of 12 (none)" in printed(unfinished)
    assert "no trial is complete yet" in printed(unfinished)


def test_more_trials_than_are_asked_for_now_are_told_as_such() -> None:
    fewer = EARLIER | {"trials": 4, "states": {"complete": 8, "pruned": 1}}

    told = "9, of which 4 are asked for now (8 complete, 1 pruned)"
    assert cells(fewer, "trials") == [told]
    assert cells(EARLIER | {"trials": 4}, "trials") == ["4 of 4 (3 complete, 1 failed)"]


def test_the_best_is_told_with_its_interval() -> None:
    assert cells(SWEEP, "best macro_recall on validation") == ["62.5 [55.0, 70.0]"]
    assert "mean over 4 folds, seeds averaged inside each" in markdown(None, SWEEP)


def test_one_fold_has_no_interval() -> None:
    alone = {"mean": 0.625, "low": None, "high": None, "folds": 1}

    sweep = SWEEP | {"best": SWEEP["best"] | {"interval": alone}}

    assert cells(sweep, "best macro_recall on validation") == ["62.5 [-, -]"]


def test_ranks_are_no_percents_and_the_metric_is_told_beside_them() -> None:
    sweep = SWEEP | {"aggregate": "rank", "best": SWEEP["best"] | {"value": 0.875}}

    assert cells(sweep, "best score") == ["0.875"]
    assert cells(sweep, "its macro_recall on validation") == ["62.5 [55.0, 70.0]"]
    assert cells(sweep, "score") == ["mean rank among the trials in each corpus"]
    text = markdown(None, sweep)
    assert "| 3 | 0.600 | +2.5 | [-2.0, +7.0] | 4 |" in text
    assert "the differences are of macro_recall, paired by fold" in text


def test_the_worst_corpus_is_in_percent() -> None:
    assert cells(SWEEP | {"aggregate": "worst"}, "best score") == ["62.5"]


PRUNED = [
    row(10, "pruned", folds=2, reason="pruned after 2 of 4 folds: p = 0.01 against trial 3"),
    row(11, "pruned", folds=1, reason="pruned after 1 of 4 folds: below all of 7 trials"),
    row(12, "pruned", folds=3, reason="pruned after 3 of 4 folds: p = 0.04 against trial 7"),
]


def test_what_pruning_saved_and_why_is_told() -> None:
    sweep = SWEEP | {
        "rows": [*SWEEP["rows"], *PRUNED],
        "findings": SWEEP["findings"] | {"pruned": 3},
        "fold_runs": {"done": 214, "saved": 386},
        "seconds": 4321.0,
    }

    assert cells(sweep, "fold runs") == ["214 of 600, 64 % saved by pruning"]
    assert cells(sweep, "time") == ["1 h 12 min"]
    # two of them differ in numbers only
    assert cells(sweep, "why pruned") == [
        "2 of 3 such as: pruned after 2 of 4 folds: p = 0.01 against trial 3"
    ]
    text = markdown(None, sweep)
    assert "3 pruned trials are left out" in text
    assert "3 pruned trials were not run on all folds, and are not among these" in text


def test_without_pruning_nothing_is_said_of_it() -> None:
    sweep = SWEEP | {"fold_runs": {"done": 36, "saved": 0}}

    assert cells(sweep, "fold runs") == ["36"]
    assert "pruned" not in markdown(None, sweep)


def test_each_constraint_that_was_not_met_is_named() -> None:
    said = "not run: {} 7,000,000 is above search.constraints.{} {},000"
    costs = [("macs", 5), ("parameters", 9), ("parameters", 9)]
    rows = [
        row(number, "infeasible", folds=0, reason=said.format(cost, cost, limit))
        for number, (cost, limit) in enumerate(costs)
    ]

    assert cells(SWEEP | {"rows": rows}, "why infeasible") == [
        f"2 of 3 such as: {rows[1]['reason']}; 1 of 3 such as: {rows[0]['reason']}"
    ]
    assert cells(SWEEP | {"rows": rows[1:]}, "why infeasible") == [
        f"all such as: {rows[1]['reason']}"
    ]


def test_how_was_searched_is_told() -> None:
    reason = "not run: macs 7,000,000 is above search.constraints.macs 5,000,000"
    sweep = SWEEP | {
        "rows": [*SWEEP["rows"], row(10, "infeasible", folds=0, reason=reason)],
        "sampler": "tpe",
        "pruner": {"kind": "wilcoxon", "p": 0.1},
        "constraints": {"macs": 5e6, "parameters": 250_000},
        "protocols": ["emodb | leave-one-speaker-out"],
    }

    assert cells(sweep, "why infeasible") == [reason]
    assert cells(sweep, "sampler") == ["tpe"]
    assert cells(sweep, "pruner") == ["wilcoxon (p 0.1)"]
    assert cells(sweep | {"pruner": {"kind": "none"}}, "pruner") == ["none"]
    assert cells(sweep, "constraints") == ["MACs at most 5 M, parameters at most 250 k"]
    assert "| protocol | emodb \\| leave-one-speaker-out |" in markdown(None, sweep)


def test_a_further_generation_says_what_it_takes_over() -> None:
    sweep = SWEEP | {"study": "demo (generation 2)", "carried": 9}

    assert cells(sweep, "study")[0].startswith("demo (generation 2): first the trials of")
    assert cells(SWEEP | {"study": "demo", "carried": 0}, "study") == []


def test_failed_trials_are_named_with_their_reasons_up_to_twenty() -> None:
    failed = [
        row(number, "failed", folds=number % 3, reason=f"c/{number}: the loss | is nan\nat once")
        for number in range(20, 43)
    ]

    text = markdown(None, SWEEP | {"rows": [*SWEEP["rows"], *failed]})

    assert FAILED == 20
    table = text[text.index("demo: failed trials") : text.index("what mattered")]
    # a table's line stays one, whatever the reason holds
    assert "| 20 | 2 | c/20: the loss \\| is nan at once |" in table
    assert "| 39 | 0 |" in table
    assert "| 40 |" not in table
    assert "and 3 more (all of them with --json)" in table
    assert "failed trials" not in markdown(None, SWEEP)


def test_a_failed_trial_of_an_earlier_version_may_have_no_reason() -> None:
    text = markdown(None, SWEEP | {"rows": [row(0, "failed", folds=0)]})

    assert "| 0 | 0 | no reason was kept |" in text


def test_a_front_has_the_best_score_first_and_what_differs() -> None:
    sweep = with_front()

    text = markdown(None, sweep)

    assert cells(sweep, "objectives") == ["macro_recall (more is better), MACs (less is better)"]
    assert cells(sweep, "best") == ["8 trials, of which none is better in everything"]
    lines = text[text.index("demo: front") :].splitlines()
    assert lines[2] == "| trial | macro_recall | MACs | what differs |"
    assert lines[3] == "| --- | ---: | ---: | --- |"
    assert lines[4] == "| 8 | 58.0 [53.0, 63.0] | 8 M | training.lr 0.0008 |"
    # a parameter that the others do not have differs, too
    assert lines[11] == (
        "| 1 | 51.0 [46.0, 56.0] | 1 M | temperature.value 2, training.lr 0.0001 |"
    )
    assert "the same in all of them: student.depth 3" in text
    assert "the best is here trial 2, the highest in macro_recall alone" in text


def test_a_front_of_ranks_tells_these_beside_the_metric() -> None:
    sweep = with_front(("macs", "parameters")) | {"aggregate": "z"}

    text = markdown(None, sweep)

    assert "| trial | score | macro_recall | MACs | parameters | what differs |" in text
    assert "| 8 | 0.580 | 58.0 [53.0, 63.0] | 8 M | 8 M | training.lr 0.0008 |" in text


def test_a_front_of_one_trial_differs_in_nothing() -> None:
    sweep = with_front()

    text = markdown(None, sweep | {"front": sweep["front"][:1]})

    assert "| 1 | 51.0 [46.0, 56.0] | 1 M | nothing |" in text


def test_searches_inside_folds_have_a_line_each() -> None:
    found = SWEEP | {"fold": "emodb/speaker=03"}
    none = EARLIER | {"fold": "emodb/speaker=08", "best": None, "states": {"failed": 2}}

    # there may be no sweep of its own beside them
    alone = {"experiment": "demo", "metric": "macro_recall", "inner": [found, none]}

    text = markdown(None, alone)
    assert "| emodb/speaker=03 | 9 of 12 (9 complete) | 2 | 62.5 [55.0, 70.0] | training.lr" in text
    assert "| emodb/speaker=08 | 2 of 12 (2 failed) | - | - | no trial is complete yet |" in text
    assert "demo: sweep" not in text
    both = markdown(None, SWEEP | {"inner": [found]})
    assert both.index("demo: sweep") < both.index("demo: the search inside each fold")


def test_what_a_sweep_found_is_told_with_what_it_is_worth() -> None:
    written = markdown(None, SWEEP)

    assert "| recipe.training.lr | 81.2 | 31.0 | 9 |" in written
    assert "| recipe.temperature.value (conditional) | 5.0 | 31.0 | 9 |" in written
    assert "| cannot be told apart from it | 2 of 8 other complete trials |" in written
    assert "| 3 | 60.0 | +2.5 | [-2.0, +7.0] | 4 |" in written
    assert "| 4 | 60.0 | +2.5 | [+2.0, +7.0] | 4 |" in written
    assert "| 9 |" not in written[written.index("the next ones") :]
    for text in (" ".join(printed(SWEEP).split()), written):
        assert "of these alone" in text
        assert "the best trial won many comparisons on the same folds" in text
        assert "and 3 more (all of them with --json)" in text


def test_the_reason_why_nothing_has_an_importance_is_told() -> None:
    found = SWEEP["findings"] | {"importances": [], "without_importance": "fewer than 8 trials"}

    text = printed(SWEEP | {"findings": found | {"pruned": 4}})

    assert "without importance: fewer than 8 trials" in text
    assert "fANOVA" not in text
    assert "are left out" not in text


def test_a_sweep_of_one_trial_has_nothing_to_compare() -> None:
    found = SWEEP["findings"] | {"comparisons": [], "indistinguishable": []}

    text = printed(SWEEP | {"findings": found})

    assert "the next ones" not in text
    assert "0 of 0 other complete trials" in text


@pytest.mark.parametrize("width", [80, 200])
def test_the_tables_fit_the_terminal(width: int) -> None:
    long = row(10, "failed", reason="c/1: " + "an error that has much to say " * 8)
    sweep = with_front() | {"rows": [long], "inner": [SWEEP | {"fold": "c/1"}]}

    assert max(len(line) for line in printed(sweep, width).splitlines()) <= width
