from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestrator.corpora.habits import duplicates, far_off, wrong_length
from orchestrator.corpora.listing import Problem


def lasting(*seconds: float, stated: list[float] | None = None) -> pd.DataFrame:
    ids = [f"u{place}" for place in range(len(seconds))]
    table = pd.DataFrame({"id": ids, "path": [f"{one}.wav" for one in ids], "duration": seconds})
    return table if stated is None else table.assign(stated=stated)


def named(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.kind, problem.id) for problem in problems]


def test_in_equal_lengths_six_times_is_the_limit_both_ways() -> None:
    table = lasting(*[2.0] * 10, 11.9, 12.1, 0.34, 0.33)

    assert named(far_off(table)) == [("far-longer", "u11"), ("far-shorter", "u13")]
    assert far_off(table)[0].text == (
        "u11.wav lasts 12.10 s, more than 12.00 s, the limit in this corpus of utterances of "
        "about 2.00 s"
    )


def test_in_scattered_lengths_sixteen_times_is_the_limit() -> None:
    # Medians of 4 and of a factor of 2 around it: six deviations would be a factor of 474.
    table = lasting(*[2.0, 4.0, 8.0] * 5, 63.9, 64.1, 0.26, 0.24)

    assert named(far_off(table)) == [("far-longer", "u16"), ("far-shorter", "u18")]


def test_in_between_the_deviations_decide() -> None:
    # The median of |log d - log 4| is log 1.3: six deviations are a factor of 1.3 ** 8.8956 = 10.3.
    table = lasting(*[4.0 / 1.3, 4.0, 4.0 * 1.3] * 8, 40.0, 42.6)

    assert named(far_off(table)) == [("far-longer", "u25")]


def test_seven_utterances_make_no_habit() -> None:
    assert far_off(lasting(*[2.0] * 6, 100.0)) == []
    assert named(far_off(lasting(*[2.0] * 7, 100.0))) == [("far-longer", "u7")]
    assert far_off(lasting()) == []


@pytest.mark.parametrize(
    ("median", "spread", "legitimate", "wrong"),
    [
        (3.5, 0.65, [0.6, 34.0], []),
        (2.5, 0.75, [0.4, 20.0, 39.0], [60.0, 300.0]),
        (2.5, 0.2, [1.27, 5.0], [60.0]),
    ],
    ids=["iemocap", "meld", "crema-d"],
)
def test_lengths_as_in_the_real_corpora(
    median: float, spread: float, legitimate: list[float], wrong: list[float]
) -> None:
    draws = np.random.default_rng(0).normal(size=2000).clip(-2.5, 2.5)
    most = (median * np.exp(spread * draws)).tolist()

    found = far_off(lasting(*most, *legitimate, *wrong))

    assert [problem.id for problem in found] == [
        f"u{2000 + len(legitimate) + place}" for place in range(len(wrong))
    ]


def test_neither_emodb_nor_fsdd_has_an_odd_length(emodb_root, fsdd_root) -> None:
    import soundfile

    for folder in (emodb_root / "wav", fsdd_root / "recordings"):
        lengths = [soundfile.info(file).duration for file in sorted(folder.glob("*.wav"))]

        assert far_off(lasting(*lengths)) == []


def test_wrong_length_needs_twice_and_two_seconds() -> None:
    table = lasting(
        *(10.0, 0.5, 4.0, 1.0, 3.1, 7.9, 60.0, 60.0, 60.0),
        stated=[3.0, 2.7, 1.9, 0.4, 6.3, 4.0, float("nan"), 0.0, -1.0],
    )

    # u3: two and a half times, but 0.6 s; u5: 3.9 s, but not twice as long. u4 is half and 3.2 s.
    assert named(wrong_length(table)) == [
        ("wrong-length", "u0"),
        ("wrong-length", "u1"),
        ("wrong-length", "u2"),
        ("wrong-length", "u4"),
    ]
    assert wrong_length(table)[0].text == "u0.wav lasts 10.00 s; its corpus says 3.00 s"


def test_without_stated_lengths_nothing_is_compared() -> None:
    assert wrong_length(lasting(1.0, 100.0)) == []


def copies(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    table = pd.DataFrame(list(rows), columns=["id", "speaker", "split", "content"])
    table["emotion"] = "joy"
    return table.assign(path=table["id"] + ".wav")


def test_the_same_audio_under_two_speakers_names_every_copy() -> None:
    problems, remarks = duplicates(
        copies(
            ("a", "x", "", "same"),
            ("b", "y", "", "same"),
            ("c", "x", "", "same"),
            ("d", "x", "", "other"),
        )
    )

    assert named(problems) == [("duplicate", "a"), ("duplicate", "b"), ("duplicate", "c")]
    assert problems[0].text == "a.wav is heard again under another speaker: 'b' (y)"
    assert problems[1].text == "b.wav is heard again under another speaker: 'a' (x), 'c' (x)"
    assert remarks == []


@pytest.mark.parametrize(
    ("splits", "wrong"),
    [
        (["train", "test"], "a"),
        (["test", "validation"], "b"),
        (["train", "validation"], "a"),
        (["train", "validation", "test"], "ab"),
        (["train", "test", "test"], "a"),
        (["train", "train", "validation"], "ab"),
        (["", "train"], ""),
    ],
)
def test_the_same_audio_in_two_splits_names_those_not_measured_on(
    splits: list[str], wrong: str
) -> None:
    rows = [(one, "x", split, "same") for one, split in zip("abc", splits, strict=False)]

    problems, _ = duplicates(copies(*rows))

    assert [problem.id for problem in problems] == list(wrong)
    assert all("in another official split" in problem.text for problem in problems)


def test_copies_of_one_speaker_in_one_split_are_a_remark() -> None:
    problems, remarks = duplicates(
        copies(
            ("b", "x", "train", "1"),
            ("a", "x", "train", "1"),
            ("c", "y", "train", "2"),
            ("d", "y", "train", "2"),
            ("e", "y", "train", "2"),
            ("f", "z", "test", "3"),
        )
    )

    assert problems == []
    assert remarks == [
        "3 utterances have the same audio as another of the same speaker: "
        "'a' = 'b'; 'c' = 'd' = 'e'"
    ]


def test_many_copies_are_counted() -> None:
    rows = [(f"u{place}", f"s{place}", "", "same") for place in range(6)]

    problems, _ = duplicates(copies(*rows))

    assert problems[0].text.endswith("'u1' (s1), 'u2' (s2), 'u3' (s3) and 2 more")


def test_one_sound_under_two_emotions_is_named_both_times() -> None:
    table = copies(("a", "s1", "", "x"), ("b", "s1", "", "x"), ("c", "s1", "", "y"))
    table.loc[1, "emotion"] = "sadness"

    problems, remarks = duplicates(table)

    assert [(problem.id, problem.kind) for problem in problems] == [
        ("a", "duplicate"),
        ("b", "duplicate"),
    ]
    assert "heard again under another emotion: 'b' (sadness)" in problems[0].text
    assert remarks == []
