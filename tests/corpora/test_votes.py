from __future__ import annotations

import pandas as pd
import pytest

from orchestrator.corpora.votes import relabelled_votes

NAN = float("nan")


def relabelled(votes: str, emotion: str, agreement: float = NAN, **more) -> tuple[str, float]:
    table = pd.DataFrame({"emotion": [emotion], "votes": [votes], "agreement": [agreement]})
    made = relabelled_votes(table, **more)
    return made["votes"][0], made["agreement"][0]


def test_merged_emotions_share_their_votes_and_others_count_only_in_the_agreement() -> None:
    made = relabelled(
        '{"excitement": 1, "frustration": 2, "happiness": 1, "neutral": 1}',
        "happiness",
        words={"excitement": "happiness", "happiness": "happiness", "neutral": "neutral"},
        learned={"happiness", "neutral"},
    )

    # 2 of 5 votes; the two for frustration are not learned.
    assert made == ('{"happiness": 2, "neutral": 1}', 0.4)


def test_without_a_map_words_stay() -> None:
    made = relabelled(
        '{"fear": 0.5, "joy": 1.5}', "joy", words=None, learned={"anger", "fear", "joy"}
    )

    assert made == ('{"fear": 0.5, "joy": 1.5}', 0.75)


def test_the_agreement_that_a_corpus_gives_stays() -> None:
    assert relabelled('{"joy": 1}', "joy", 0.3, words=None, learned={"joy"}) == ('{"joy": 1}', 0.3)


def test_a_label_that_nobody_voted_for_has_no_agreement_of_listeners() -> None:
    made = relabelled('{"fear": 2}', "joy", words=None, learned={"joy"})

    assert made == ("", 0.0)


def test_without_votes_nothing_is_known() -> None:
    votes, agreement = relabelled("", "joy", words=None, learned={"joy"})

    assert votes == ""
    assert agreement == pytest.approx(NAN, nan_ok=True)
