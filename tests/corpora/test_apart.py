"""Speech beside labelled corpora: nobody in it is tested."""

from __future__ import annotations

import pandas as pd
import pytest

from orchestrator.corpora import Corpus
from orchestrator.corpora.apart import kept_apart
from orchestrator.corpora.listing import Problem
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import Role, TableCorpus


def corpus(
    name: str, speakers: list[str], contents: str, *, silent: tuple[int, ...] = ()
) -> Corpus:
    """One utterance for each speaker and letter of ``contents``."""
    count = len(speakers)
    table = pd.DataFrame(
        {
            "id": [f"u{place}" for place in range(count)],
            "path": [f"{name}/u{place}.wav" for place in range(count)],
            "speaker": speakers,
            "emotion": "",
            "duration": 1.0,
            "content": list(contents),
        }
    )
    problems = tuple(Problem(kind="silent", text="silent", id=f"u{place}") for place in silent)
    return Corpus(name=name, kind="table", table=table, accepted=problems)


def section(*, role: Role = "unlabelled", **more: object) -> TableCorpus:
    return TableCorpus(kind="table", file="t.csv", role=role, **more)


LABELLED = [corpus("one", ["s1", "s2"], "ab"), corpus("two", ["03"], "c")]


def refused(unlabelled: Corpus, **more: object) -> str:
    with pytest.raises(CorpusError) as caught:
        kept_apart(unlabelled, section(**more), labelled=LABELLED)
    return str(caught.value)


def test_other_speakers_are_apart_by_their_names() -> None:
    more = corpus("more", ["s3", "s4"], "xy")

    assert kept_apart(more, section(), labelled=LABELLED) is more


def test_unknown_speakers_are_refused_until_they_are_declared_apart() -> None:
    more = corpus("more", ["s3", "", ""], "xyz")
    said = refused(more)

    for part in ("'more'", "2 of its 3 utterances", "'one', 'two'", "speakers_apart: true"):
        assert part in said
    assert kept_apart(more, section(speakers_apart=True), labelled=LABELLED) is more


def test_a_name_that_a_labelled_corpus_has_too_is_refused_until_declared() -> None:
    more = corpus("more", ["03", "s9"], "xy")
    said = refused(more)

    for part in ("'03' also speak in 'two'", "take them out of one", "speakers_apart: true"):
        assert part in said
    assert "s9" not in said
    assert kept_apart(more, section(speakers_apart=True), labelled=LABELLED) is more


@pytest.mark.parametrize("apart", [True, False])
def test_a_sound_of_a_labelled_corpus_is_refused_whatever_is_declared(apart: bool) -> None:
    said = refused(corpus("more", ["s3", "s4"], "xb"), speakers_apart=apart)

    assert "1 utterances are heard in 'one', 'two' too" in said
    assert "more/u1.wav is heard again as 'u1' of 'one'" in said
    assert "problems: set-aside" in said
    assert ("not apart as speakers_apart declares" in said) is apart


def test_sounds_of_a_labelled_corpus_are_set_aside_and_told() -> None:
    before = corpus("more", ["s3", "s4", "s5"], "xbc")
    after = kept_apart(before, section(problems="set-aside"), labelled=LABELLED)

    assert after.table["id"].tolist() == ["u0"]
    assert [(one.kind, one.id) for one in after.set_aside] == [
        ("duplicate", "u1"),
        ("duplicate", "u2"),
    ]
    assert "every utterance is heard" in refused(corpus("more", ["s3"], "a"), problems="set-aside")


def test_silence_is_nobodys() -> None:
    more = corpus("more", ["s3", "s4"], "xa", silent=(1,))
    assert kept_apart(more, section(), labelled=LABELLED) is more

    quiet = corpus("one", ["s1", "s2"], "ab", silent=(0,))
    heard = corpus("more", ["s3"], "a")
    assert kept_apart(heard, section(), labelled=[quiet]) is heard


def test_messages_call_a_corpus_by_its_role() -> None:
    shared, copied = corpus("more", ["03"], "x"), corpus("more", ["s3"], "b")

    assert refused(shared, role="transcribed").startswith("transcribed corpus 'more': '03' also")
    assert refused(copied, role="transcribed").startswith("transcribed corpus 'more': 1 utter")
    assert refused(copied).startswith("unlabelled corpus 'more': 1 utterances are heard")
    nothing = refused(copied, role="transcribed", problems="set-aside")
    assert nothing.startswith("transcribed corpus 'more': every utterance is heard")


def test_beside_no_labelled_corpus_everything_is_apart() -> None:
    more = corpus("more", ["s1"], "a")

    assert kept_apart(more, section(), labelled=()) is more
