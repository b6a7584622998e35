"""Several corpora as one: common labels, names that do not collide, audio from the right place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from orchestrator.corpora import Corpus
from orchestrator.corpora.joint import joined, settled, with_common_labels
from orchestrator.corpora.listing import Problem
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import TableCorpus


@dataclass(frozen=True)
class Constant:
    """Audio that says whose it is."""

    value: float

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        return np.full(4, self.value + len(path), dtype=np.float32), 16000


def corpus(name: str, emotions: str, *, value: float = 0.0, **columns: list[str]) -> Corpus:
    count = len(emotions)
    table = pd.DataFrame(
        {
            "id": [f"u{place}" for place in range(count)],
            "path": ["p" * (place + 1) for place in range(count)],
            "speaker": ["s1"] * count,
            "emotion": list(emotions),
            "duration": [1.0] * count,
            "content": [f"{name}{place}" for place in range(count)],
            **columns,
        }
    )
    return Corpus(name=name, kind="table", table=table, source=Constant(value))


def test_common_labels_leave_the_others_out_and_count_them() -> None:
    one, two = with_common_labels([corpus("one", "aabc"), corpus("two", "abdd")])

    assert (one.emotions, two.emotions) == (("a", "b"), ("a", "b"))
    assert (one.not_used, two.not_used) == ({"c": 1}, {"d": 2})
    assert len(one.table) == 3


def test_votes_for_emotions_that_are_not_common_are_dropped() -> None:
    votes = ['{"a": 2, "c": 1}', '{"c": 3}', ""]
    one, _ = with_common_labels([corpus("one", "abb", votes=votes), corpus("two", "abc")])
    both = with_common_labels([corpus("one", "abc", votes=votes), corpus("two", "ab")])

    # nothing is left out of the first, whose emotions are all common
    assert list(one.table["votes"]) == votes
    assert list(both[0].table["votes"]) == ['{"a": 2}', ""]


def test_one_common_emotion_is_refused_naming_what_each_has() -> None:
    with pytest.raises(CorpusError, match="1 emotions in common .one: a, b; two: b, joy.") as told:
        with_common_labels(
            [
                corpus("one", "ab"),
                corpus("two", "bj").__class__(
                    name="two",
                    kind="table",
                    table=corpus("two", "bj").table.replace({"emotion": {"j": "joy"}}),
                ),
            ]
        )
    assert "labels: {joy: happiness}" in str(told.value)


def test_names_of_one_corpus_do_not_meet_those_of_another() -> None:
    one = corpus(
        "one",
        "ab",
        session=["1", "1"],
        dialogue=["", ""],
        text=["t1", "hello"],
        transcript=["", "Hello!"],
        gender=["male", "male"],
    )
    two = corpus("two", "ab", text=["t1", "hello"], transcript=["", "Hello."], level=["x", "y"])
    together = joined([one, two])

    table = together.table.set_index("id")
    assert list(table.index) == ["one/u0", "one/u1", "two/u0", "two/u1"]
    assert list(table["speaker"]) == ["one/s1", "one/s1", "two/s1", "two/s1"]
    assert list(table["session"]) == ["one/1", "one/1", "", ""]
    assert list(table["dialogue"]) == ["", "", "", ""]
    # ids of texts are each corpus's own; words are the same words everywhere
    assert list(table["text"]) == ["one/t1", "hello", "two/t1", "hello"]
    assert list(table["corpus"]) == ["one", "one", "two", "two"]
    assert list(table["level"]) == ["", "", "x", "y"]
    assert together.name == "one+two"


def test_audio_comes_from_the_corpus_that_has_it() -> None:
    together = joined([corpus("one", "ab", value=10.0), corpus("two", "ab", value=20.0)])

    assert together.waveform("one/u1", sample_rate=16000)[0] == 12.0
    assert together.waveform("two/u0", sample_rate=16000)[0] == 21.0


def test_what_was_left_out_of_each_is_kept_apart() -> None:
    one = corpus("one", "ab")
    object.__setattr__(one, "set_aside", (Problem("silent", "x is silent", "x"),))
    object.__setattr__(one, "not_used", {"c": 3})
    object.__setattr__(one, "labels", {"e": "a", "a": "a"})
    object.__setattr__(one, "said", ("improvised only",))
    together = joined([one, corpus("two", "ab")])

    assert together.not_used == {"one/c": 3}
    assert together.labels == {"one/e": "a"}
    assert together.said == ("one: improvised only",)
    assert [problem.id for problem in together.set_aside] == ["one/x"]


def test_different_emotions_are_refused() -> None:
    with pytest.raises(CorpusError, match="'one' and 'two' have different emotions: a, b and a"):
        joined([corpus("one", "ab"), corpus("two", "aa")])


def sections(**options: object) -> list[TableCorpus]:
    given = {"kind": "table", "file": "x.csv", **options}
    return [TableCorpus.model_validate({**given, "name": name}) for name in ("one", "two")]


def doubled() -> Corpus:
    """The second utterance of one is the first of two."""
    one, two = corpus("one", "aab"), corpus("two", "abb")
    two.table.loc[0, "content"] = one.table["content"][1]
    return joined([one, two])


def test_a_sound_in_two_corpora_is_refused() -> None:
    with pytest.raises(CorpusError, match="one.two: 2 utterances are heard in more than one"):
        settled(doubled(), sections())


def test_a_sound_in_two_corpora_is_set_aside_with_all_its_copies() -> None:
    left = settled(doubled(), sections(problems="set-aside"))

    assert [problem.id for problem in left.set_aside] == ["one/u1", "two/u0"]
    assert list(left.table["id"]) == ["one/u0", "one/u2", "two/u1", "two/u2"]


def test_a_sound_in_two_corpora_may_be_accepted_and_is_counted() -> None:
    kept = settled(doubled(), sections(accept=["duplicate"]))

    assert [problem.id for problem in kept.accepted] == ["one/u1", "two/u0"]
    assert len(kept.table) == 6


def test_copies_within_one_corpus_are_its_own_matter() -> None:
    one = corpus("one", "aab")
    one.table.loc[1, "content"] = one.table["content"][0]
    together = joined([one, corpus("two", "abb")])

    assert settled(together, sections()) is together
