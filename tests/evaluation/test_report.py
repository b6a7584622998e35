"""What a reader of the tables sees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from orchestrator.evaluation.metrics import score_row, scores, speaker_rows
from orchestrator.evaluation.plots import compared
from orchestrator.evaluation.report import markdown, plot, render
from orchestrator.evaluation.statistics import SYSTEMS, differences, pairs_of, summarise
from tests.evaluation.made_sweep import SWEEP

EMOTIONS = ["anger", "happiness", "sadness"]


def _result(speakers: int, corpus: str = "emodb", ablations: Sequence[str] = ()) -> dict[str, Any]:
    """An evaluation of made-up predictions, one speaker a fold, two seeds."""
    systems = {"teacher": 0.9, "student-alone": 0.5, "distilled": 0.7}
    systems |= {name: 0.3 + 0.6 * (place % 2) for place, name in enumerate(ablations)}
    rng = np.random.default_rng(0)
    rows, by_speaker, confusion = [], [], {}
    for system, skill in systems.items():
        for seed in (0, 1):
            labels = np.tile(np.arange(3), 4 * speakers)
            guesses = rng.integers(0, 3, len(labels))
            predicted = np.where(rng.random(len(labels)) < skill, labels, guesses)
            who = np.repeat([f"{place:02d}" for place in range(speakers)], 12)
            for speaker in np.unique(who):
                rows.append(
                    score_row(
                        labels[who == speaker],
                        predicted[who == speaker],
                        3,
                        corpus=corpus,
                        system=system,
                        fold=f"speaker={speaker}",
                        seed=seed,
                        epoch=3,
                        parameters=1_310_000,
                    )
                )
            by_speaker += speaker_rows(
                labels, predicted, list(who), 3, corpus=corpus, system=system, seed=seed
            )
            matrix = scores(labels, predicted, 3).confusion.tolist()
            confusion.setdefault(system, {})[str(seed)] = matrix
    return {
        "experiment": "emodb-kim2024",
        "variant": None,
        "selection": "fixed",
        "protocols": {corpus: f"{corpus} | leave-one-speaker-out ({speakers} folds)"},
        "fingerprints": {corpus: "abc123"},
        "emotions": {corpus: EMOTIONS},
        "code": {"version": "0.1.0"},
        "seeds": [0, 1],
        "rows": rows,
        "speakers": by_speaker,
        "confusion": {corpus: confusion},
        "systems": list(systems),
        "summary": summarise(rows, macs={(corpus, "distilled"): 12_300_000}, order=list(systems)),
        "differences": differences(by_speaker, pairs=pairs_of(ablations)),
    }


def _printed(parts: list[Any], width: int = 200) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def test_the_table_gives_each_system_in_percent_with_its_provenance() -> None:
    result = _result(6)

    text = _printed(render(result))

    distilled = next(entry for entry in result["summary"] if entry["system"] == "distilled")
    mean, std = distilled["macro_recall_mean"], distilled["macro_recall_std"]
    assert f"{100 * mean:.1f} ± {100 * std:.1f}" in text
    assert "macro_recall (UA)" in text
    assert "accuracy (WA)" in text
    assert "1.31 M" in text
    assert "12.3 M" in text
    assert "protocol: emodb | leave-one-speaker-out (6 folds)" in text
    assert "corpus fingerprint: abc123" in text
    assert "code: version 0.1.0" in text
    assert text.index("teacher") < text.index("student-alone") < text.index("distilled")


def test_differences_show_signed_points_and_their_units() -> None:
    result = _result(6)

    text = _printed(render(result))

    first = result["differences"][0]
    assert "distilled - student-alone" in text
    assert f"{100 * first['mean']:+.1f}" in text
    assert f"[{100 * first['low']:+.1f}, {100 * first['high']:+.1f}]" in text
    assert "n: speakers" in text
    assert "(!)" not in text


def test_ablations_stand_in_tables_of_their_own_by_what_they_are_compared_with() -> None:
    result = _result(6, ablations=["z-first", "a-second"])

    written = markdown(result)

    _, plain, alone, distilled = re.split(r"\*\*emodb: differences.*\*\*", written)
    assert "| distilled - student-alone |" in plain
    assert "z-first" not in plain
    assert "each interval stands for itself" not in plain
    assert "**emodb: differences of ablations to student-alone**" in written
    assert "**emodb: differences of ablations to distilled**" in written
    for part, other in ((alone, "student-alone"), (distilled, "distilled")):
        assert part.index("| z-first |") < part.index("| a-second |")
        assert "each interval stands for itself" in part
        entry = next(
            it
            for it in result["differences"]
            if (it["a"], it["b"], it["metric"]) == ("a-second", other, "macro_recall")
        )
        assert f"| a-second | macro_recall (UA) | {100 * entry['mean']:+.1f} |" in part
    scores_table = written[: written.index("fold runs and networks")]
    assert scores_table.index("| distilled |") < scores_table.index("| z-first |")
    assert scores_table.index("| z-first |") < scores_table.index("| a-second |")
    assert max(len(line) for line in _printed(render(result), 80).splitlines()) <= 80


def test_ablations_without_a_distilled_student_are_compared_with_the_one_alone() -> None:
    result = _result(6, ablations=["mine"])
    entries = [it for it in result["differences"] if (it["a"], it["b"]) == ("mine", SYSTEMS[1])]

    written = markdown(result | {"differences": entries})

    assert "differences**" not in written
    assert "differences of ablations to student-alone**" in written


def test_an_interval_over_fewer_than_six_units_carries_a_warning() -> None:
    result = _result(5)

    for text in (_printed(render(result)), markdown(result)):
        assert "5 (!)" in text
        assert "fewer than 6 speakers" in text


def test_one_fold_and_one_speaker_print_dashes_for_the_spread() -> None:
    text = markdown(_result(1))

    assert "± -" in text
    assert "[-, -]" in text


def test_a_selection_on_the_same_corpus_says_what_it_cost() -> None:
    result = {**_result(6), "selection": "same-corpus", "variant": "paper"}

    text = markdown(result)

    assert "the best trial of a sweep on this corpus" in text
    assert "emodb-kim2024 (variant paper)" in text


def test_the_recipe_of_each_fold_has_a_table() -> None:
    choices = {
        "emodb/speaker=08": {
            "trial": 3,
            "value": 0.7512,
            "overrides": {"recipe.training.lr": 1e-3},
        },
        "emodb/speaker=03": {"trial": 0, "value": 0.5, "overrides": {}},
        "other/speaker=03": {"trial": 9, "value": 0.1, "overrides": {}},
    }
    selected = {"sweep": "demo", "trial": None, "choices": choices, "sampler": "tpe"}
    result = {**_result(6), "selection": "nested", "selected": selected | {"pruner": "none"}}

    text = markdown(result)

    assert "- selection: nested (" in text
    table = text[text.index("**emodb: the recipe of each fold**") :].splitlines()
    assert table[2] == "| fold | trial | validation | what it changes |"
    # in the order of the folds, and none of another corpus
    assert table[4:7] == [
        "| speaker=03 | 0 | 50.0 | nothing |",
        "| speaker=08 | 3 | 75.1 | training.lr 0.001 |",
        "",
    ]


def test_without_recipes_of_their_own_folds_have_no_such_table() -> None:
    for selected in (None, {"sweep": "demo", "trial": 3, "choices": {}}):
        assert "recipe of each fold" not in markdown({**_result(6), "selected": selected})


def test_markdown_is_the_same_twice_and_escapes_bars_in_cells() -> None:
    result = _result(6)
    result["summary"][0]["system"] = "tea|cher"

    text = markdown(result)

    assert text == markdown(result)
    assert "| tea\\|cher |" in text
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    columns = {line.replace("\\|", "").count("|") for line in tables}
    assert columns == {7, 6}


def test_a_corpus_name_in_brackets_is_printed_and_not_read_as_markup() -> None:
    assert "[bold]: sealed test scores" in _printed(render(_result(6, corpus="[bold]")))


def test_markdown_has_the_sweep_before_the_evaluation() -> None:
    both = markdown(_result(6), SWEEP)

    assert both == markdown(None, SWEEP) + "\n" + markdown(_result(6))


def test_neither_a_sweep_nor_an_evaluation_gives_nothing_to_print() -> None:
    assert render(None) == []


def test_plots_are_written_for_every_corpus(tmp_path: Path) -> None:
    files = plot(_result(3, corpus="my corpus/2"), tmp_path / "plots")

    assert [file.name for file in files] == ["my_corpus_2-confusion.png", "my_corpus_2-folds.png"]
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size > 5000


def test_ablations_are_drawn_too(tmp_path: Path) -> None:
    files = plot(_result(3, ablations=["one"]), tmp_path)

    assert [file.name for file in files] == [
        "emodb-confusion.png",
        "emodb-folds.png",
        "emodb-ablations.png",
    ]
    for file in files:
        assert file.stat().st_size > 5000


def _size(file: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header of a PNG."""
    header = file.read_bytes()[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def test_sixteen_systems_are_drawn_in_rows_of_four(tmp_path: Path) -> None:
    few = plot(_result(2, ablations=["one"]), tmp_path / "few")
    many = plot(_result(2, ablations=[f"no-{place}" for place in range(13)]), tmp_path / "many")

    # four panels in a row of about three inches each, then four such rows
    assert _size(many[0])[0] == _size(few[0])[0]
    assert _size(many[0])[1] > 3 * _size(few[0])[1]
    for file in many:
        assert max(_size(file)) < 2500


def test_what_ablations_differ_is_told_against_the_distilled_student_in_order() -> None:
    result = _result(6, ablations=["z-first", "a-second"])
    found = compared(result, "emodb")
    stored = {(it["a"], it["b"], it["metric"]): it for it in result["differences"]}

    assert [one["system"] for one in found] == ["teacher", "student-alone", "z-first", "a-second"]
    assert {(one["reference"], one["metric"]) for one in found} == {("distilled", "macro_recall")}
    # the ablation minus the reference, as stored; what is stored the other way round is turned
    own = stored["z-first", "distilled", "macro_recall"]
    assert [found[2][name] for name in ("mean", "low", "high", "n", "unit")] == [
        own[name] for name in ("mean", "low", "high", "n", "unit")
    ]
    turned = stored["distilled", "student-alone", "macro_recall"]
    assert (found[1]["mean"], found[1]["low"], found[1]["high"]) == (
        -turned["mean"],
        -turned["high"],
        -turned["low"],
    )


def test_without_a_distilled_student_the_one_alone_is_the_reference() -> None:
    result = _result(6, ablations=["mine"])
    left = [it for it in result["differences"] if "distilled" not in (it["a"], it["b"])]

    (found,) = compared(result | {"differences": left}, "emodb")
    assert (found["system"], found["reference"]) == ("mine", "student-alone")


def test_of_dialogues_accuracy_is_compared() -> None:
    result = _result(6, ablations=["mine"])
    left = [it for it in result["differences"] if it["metric"] == "accuracy"]

    assert {one["metric"] for one in compared(result | {"differences": left}, "emodb")} == {
        "accuracy"
    }


def test_without_ablations_there_is_nothing_to_compare() -> None:
    result = _result(6)
    old = {name: value for name, value in result.items() if name != "systems"}

    assert compared(result, "emodb") == compared(old, "emodb") == []
    assert compared(_result(6, ablations=["mine"]) | {"differences": []}, "emodb") == []


def test_one_speaker_is_drawn_without_an_interval(tmp_path: Path) -> None:
    result = _result(1, ablations=["mine"])

    assert compared(result, "emodb")[1]["low"] is None
    assert len(plot(result, tmp_path)) == 3


@pytest.mark.parametrize("width", [80, 200])
def test_the_tables_fit_the_terminal(width: int) -> None:
    text = _printed(render(_result(6)), width)

    assert max(len(line) for line in text.splitlines()) <= width
