"""The recognisers that an experiment needs: which, on whose speech, and who is told of them."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.corpora import Corpus, load_corpus
from orchestrator.corpus_inputs import Build, source_recipes
from orchestrator.errors import CorpusError, ExperimentError, TrainingError
from orchestrator.evaluation.sealed import evaluation_jobs
from orchestrator.experiment import Experiment
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.sources import Recogniser
from orchestrator.plan import plan
from orchestrator.preparation import (
    Prepared,
    compute_inputs,
    corpora_of,
    fingerprints_of,
    plan_folds,
    read_corpora,
)
from orchestrator.source_encoder import source_name
from orchestrator.speech_sources import (
    PreparedSources,
    heard_corpus,
    read_sources,
    refuse_frequencies,
    split_speakers,
)
from orchestrator.store import Store
from orchestrator.tracking.tree import RunTree
from tests import tones
from tests.models.encoders import save_whisper

LABELLED = {"kind": "synthetic", "sessions": 3, "utterances_per_emotion": 1}
SOURCE: dict[str, Any] = {
    "kind": "recogniser",
    "network": tones.NETWORK,
    "units": "words",
    "training": {"epochs": 1},
}
RECIPE: dict[str, Any] = {
    "student": {"kind": "satn", **tones.NETWORK},
    "source": SOURCE,
    "objectives": {"cross_entropy": 1.0, "attention_transfer": 1.0},
    "training": {"epochs": 1},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones.write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def experiment(
    table: Path | None, recipe: Mapping[str, Any] | None = None, **sections: Any
) -> Experiment:
    """An experiment with tones beside a labelled corpus, and other parts of its recipe."""
    corpora = [LABELLED, *([] if table is None else [tones.section(table)])]
    plain = {
        "name": "sources",
        "corpora": corpora,
        "protocol": {"kind": "leave-one-session-out"},
        "features": tones.FEATURES,
        "recipe": {**RECIPE, **(recipe or {})},
        "evaluate": {"systems": ["student-alone", "distilled"]},
    }
    return Experiment.model_validate({**plain, **sections})


def labelled(wanted: Experiment) -> list[Corpus]:
    return [load_corpus(section) for section in wanted.labelled]


def found_in(wanted: Experiment, store: Store) -> PreparedSources:
    found = read_sources(wanted, labelled(wanted), store)
    assert found is not None
    return found


UNREAD = {"objectives": {"cross_entropy": 1.0}}
Ran = list[tuple[str, list[bool]]]
TAUGHT = {"taught": {"recipe.objectives.attention_transfer": 1.0}}


# Which


@pytest.mark.parametrize(
    ("recipe", "sections"),
    [
        ({"source": None, **UNREAD}, {}),
        # nobody listens to it
        (UNREAD, {}),
        (UNREAD, {"evaluate": {"ablations": {"longer": {"recipe.training.epochs": 2}}}}),
    ],
)
def test_where_none_is_wanted_none_is_looked_for(
    store: Store, recipe: dict[str, Any], sections: dict[str, Any]
) -> None:
    wanted = experiment(Path("nowhere.csv"), recipe, **sections)

    assert read_sources(wanted, labelled(wanted), store) is None
    (prepared,) = read_corpora(wanted, store)
    assert prepared.sources is None
    assert "recogniser" not in prepared.describe(wanted.protocol)
    planned = plan_folds(wanted, [prepared], protocol=wanted.protocol, seeds=[0])
    assert dict(planned[0].task.recognisers) == {}


@pytest.mark.parametrize(
    ("recipe", "sections", "where"),
    [
        ({}, {}, [""]),
        ({**UNREAD, "initialise": "source"}, {}, [""]),
        # a trial may give the objective a weight
        (UNREAD, {"search": {"space": "satn2021"}}, [""]),
        (UNREAD, {"evaluate": {"ablations": TAUGHT}}, ["evaluate.ablations.taught: "]),
        ({}, {"evaluate": {"ablations": TAUGHT}}, ["", "evaluate.ablations.taught: "]),
    ],
)
def test_whoever_may_listen_to_it_wants_it(
    table: Path, store: Store, recipe: dict[str, Any], sections: dict[str, Any], where: list[str]
) -> None:
    wanted = experiment(table, recipe, **sections)
    found = found_in(wanted, store)

    assert list(source_recipes(wanted)) == where
    assert list(found.recognisers) == [source_name(wanted.recipe.source)]
    assert found.transcribed.name == "tones"


def test_an_ablation_may_have_a_source_of_its_own(table: Path, store: Store) -> None:
    ablations = {
        "another": {"recipe.source.seed": 1},
        "the-same": {"recipe.training.epochs": 2},
        "none": {"recipe.objectives.attention_transfer": 0.0},
    }
    evaluate = {"systems": ["student-alone", "distilled"], "ablations": ablations}
    wanted = experiment(table, evaluate=evaluate)
    ran: Ran = []
    prepared = prepare_with(wanted, store, ran)
    planned = plan_folds(wanted, prepared, protocol=wanted.protocol, seeds=[0, 1])
    jobs = evaluation_jobs(wanted, planned)
    keys = {job.system: set(job.task.recognisers.values()) for job in jobs}
    own = {
        job.system: job.task.recognisers[source_name(job.task.recipe.source)]
        for job in jobs
        if job.task.recipe.needs_source
    }

    assert [stage for stage, _ in ran] == [
        "features of synthetic",
        "features of tones",
        "speech recogniser on tones",
        "features of tones",
        "speech recogniser on tones",
    ]
    assert own.keys() == {"distilled", "another", "the-same"}
    assert own["distilled"] == own["the-same"] != own["another"]
    # every fold run is given all, and takes its own
    assert all(given == set(own.values()) for given in keys.values())
    for key in own.values():
        assert store.get("recogniser", key)


def test_a_recogniser_and_an_encoder_are_both_made_ready(
    table: Path, store: Store, tmp_path: Path
) -> None:
    root = save_whisper(tmp_path / "encoder", seconds=2)
    encoder = {"recipe.source": {"kind": "pretrained", "root": str(root)}}
    wanted = experiment(table, evaluate={"ablations": {"encoder": encoder}})
    ran: Ran = []
    prepared = prepare_with(wanted, store, ran)
    (task, *_) = [
        entry.task for entry in plan_folds(wanted, prepared, protocol=wanted.protocol, seeds=[0])
    ]

    assert [stage for stage, _ in ran] == [
        "features of synthetic",
        "attention source on synthetic",
        "features of tones",
        "speech recogniser on tones",
    ]
    assert len(task.recognisers) == len(task.attended) == 1
    assert not task.recognisers.keys() & task.attended.keys()


def prepare_with(wanted: Experiment, store: Store, ran: Ran) -> tuple[Prepared, ...]:
    """Everything before fold runs; ``ran`` gets each stage and what of it was there already."""

    def run_shards(stage: str, shards: Sequence[Build]) -> None:
        # as they are sent to workers
        ran.append((stage, [pickle.loads(pickle.dumps(shard))() for shard in shards]))

    prepared = read_corpora(wanted, store)
    compute_inputs(wanted, prepared, store, run_shards=run_shards)
    return prepared


def test_what_was_fitted_is_not_fitted_again_and_serves_all_folds_and_seeds(
    table: Path, store: Store
) -> None:
    wanted = experiment(table)
    first: Ran = []
    second: Ran = []
    prepared = prepare_with(wanted, store, first)
    prepare_with(wanted, store, second)
    planned = plan_folds(wanted, prepared, protocol=wanted.protocol, seeds=[0, 1, 2])
    given = {tuple(entry.task.recognisers.items()) for entry in planned}

    assert not any(any(reused) for _, reused in first)
    assert [stage for stage, _ in first] == [stage for stage, _ in second]
    assert all(all(reused) for _, reused in second)
    assert len(planned) == 9
    ((name, key),) = given.pop()
    assert not given
    assert name == source_name(wanted.recipe.source)
    assert [one.name for one in (store.folder / "artifacts/recogniser").glob("*/*")] == [key]


def test_another_protocol_or_labelled_corpus_has_the_same_recogniser(
    table: Path, store: Store
) -> None:
    """Once for all folds and seeds, and for every experiment."""
    one = experiment(table)
    other = experiment(
        table,
        {"training": {"epochs": 7}},
        corpora=[{**LABELLED, "seed": 3}, tones.section(table)],
        protocol={"kind": "leave-one-speaker-out"},
    )

    assert found_in(one, store).keys(store) == found_in(other, store).keys(store)


# On whose speech


def test_validation_speakers_are_drawn_and_nobody_is_both() -> None:
    names = ["ann", "bob", "cem", "dan"]

    def drawn(count: int, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        # in whatever order
        given = [*names[seed % 4 :], *names[: seed % 4]]
        return split_speakers(given, count=count, draw=["recogniser", seed], what="count")

    chosen = set()
    for seed in range(12):
        for count in (0, 1, 2, 3):
            train, validation = drawn(count, seed)
            assert sorted((*train, *validation)) == names
            assert len(validation) == count
            assert (list(train), list(validation)) == (sorted(train), sorted(validation))
        chosen |= set(drawn(1, seed)[1])
        # whoever is asked for more keeps those who were drawn first
        assert set(drawn(1, seed)[1]) < set(drawn(2, seed)[1]) < set(drawn(3, seed)[1])
        assert drawn(2, seed) == split_speakers(
            set(names), count=2, draw=["recogniser", seed], what="count"
        )
    assert chosen == set(names)


def test_the_task_hears_all_that_its_speakers_say(table: Path, store: Store) -> None:
    wanted = experiment(table, {"source": {**SOURCE, "validation_speakers": 3, "seed": 4}})
    (one,) = found_in(wanted, store).recognisers.values()
    heard = [*one.task.train.ids, *one.task.validation.ids]

    assert sorted(heard) == sorted(one.heard.table["id"])
    assert (len(one.task.train.ids), len(one.task.validation.ids)) == (6, 18)
    assert (one.task.seed, one.task.corpus, one.task.device) == (4, "tones", "cpu")


def test_another_seed_draws_another_validation_speaker(table: Path, store: Store) -> None:
    ablations = {f"seed{seed}": {"recipe.source.seed": seed} for seed in range(1, 6)}
    found = found_in(experiment(table, evaluate={"ablations": ablations}), store)
    drawn = [one.task.validation.speakers[0] for one in found.recognisers.values()]

    assert len(drawn) == 6
    assert len(set(drawn)) > 1


def test_all_may_be_trained_on_where_the_last_epoch_is_kept(table: Path, store: Store) -> None:
    last = {**SOURCE, "validation_speakers": 0, "training": {"epochs": 1, "epoch_choice": "last"}}
    wanted = experiment(table, {"source": last})
    (prepared,) = prepare_with(wanted, store, [])
    assert prepared.sources is not None
    (one,) = prepared.sources.recognisers.values()

    assert (len(one.task.train.ids), one.task.validation.ids) == (24, ())
    assert store.get("recogniser", one.task.key(store))


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        ({"recipe": {**RECIPE, "source": {**SOURCE, "validation_speakers": 4}}}, ""),
        (
            {"evaluate": {"ablations": {"few": {"recipe.source.validation_speakers": 4}}}},
            "evaluate.ablations.few: ",
        ),
    ],
)
def test_somebody_must_be_left_to_train_on(
    table: Path, store: Store, sections: dict[str, Any], where: str
) -> None:
    wanted = experiment(table, **sections)
    with pytest.raises(ExperimentError) as caught:
        read_sources(wanted, labelled(wanted), store)

    assert str(caught.value) == (
        f"{where}recipe.source.validation_speakers is 4, but there are 4 speakers, so nobody is "
        "left to train on; lower it"
    )


def test_strings_are_joined_of_what_is_heard(table: Path, store: Store) -> None:
    strings = {"seconds": 1.0, "passes": 2}
    found = found_in(experiment(table, {"source": {**SOURCE, "strings": strings}}), store)
    (one,) = found.recognisers.values()
    plain = Recogniser.model_validate({"network": tones.NETWORK})

    assert one.task.train.ids[0].endswith("-p1-0001")
    assert len(found.transcribed.table) == 24
    # each word is said twice, in strings of several utterances
    said = " ".join(one.heard.table["transcript"]).split()
    assert len(said) == 2 * len(" ".join(found.transcribed.table["transcript"]).split())
    assert max(one.heard.table["duration"]) > max(found.transcribed.table["duration"])
    assert heard_corpus(found.transcribed, plain) is found.transcribed


def test_a_recogniser_without_a_transcribed_corpus_names_the_mend(store: Store) -> None:
    """Of the recipe's own the file says so, of an ablation's whoever reads its corpora."""
    mend = "no corpus has role: transcribed; add one to corpora, such as {kind: fsdd, root: FOLDER}"
    with pytest.raises(ValidationError, match=f"recipe.source.kind is 'recogniser' but {mend}"):
        experiment(None)
    changes = {**TAUGHT["taught"], "recipe.source": SOURCE}
    evaluate = {"ablations": {"taught": changes}}
    wanted = experiment(None, {"source": None, **UNREAD}, evaluate=evaluate)
    with pytest.raises(ExperimentError, match=rf"^evaluate\.ablations\.taught: .* but {mend}"):
        read_sources(wanted, labelled(wanted), store)


@pytest.mark.parametrize(
    ("features", "asked"),
    [
        ({"sample_rate": 16000}, "8000"),
        ({"sample_rate": 16000, "highest_hz": 4000.5}, "4000.5"),
        ({"sample_rate": 16000, "highest_hz": 4000.0}, None),
        ({"sample_rate": 8000}, None),
        ({"sample_rate": 4000}, None),
    ],
)
def test_frequencies_that_were_never_recorded_are_refused(
    table: Path, store: Store, features: dict[str, Any], asked: str | None
) -> None:
    wanted = experiment(table, features={**tones.FEATURES, **features})
    if asked is None:
        found_in(wanted, store)
        refuse_frequencies(tones.load(table), LogMelFeatures(**features))
        return
    with pytest.raises(ExperimentError) as caught:
        read_sources(wanted, labelled(wanted), store)
    said = str(caught.value)
    given = "" if "highest_hz" in features else ", half of sample_rate,"
    assert f"features.highest_hz is {asked}{given} but corpus 'tones' was recorded at" in said
    assert "set features.highest_hz: 4000, which is for students too" in said


# Nobody whom a fold tests (law 2)


def test_a_shared_speaker_or_sound_is_refused(table: Path, store: Store) -> None:
    wanted = experiment(table)
    tone = tones.load(table).table[:1]
    other = labelled(wanted)[0]
    speaker = dataclasses.replace(other, table=tone.assign(id="x", content="another"))
    sound = dataclasses.replace(other, table=tone.assign(id="x", speaker="stranger"))

    with pytest.raises(CorpusError, match="transcribed corpus 'tones': 'ann' also speak in 'synth"):
        read_sources(wanted, [other, speaker], store)
    with pytest.raises(CorpusError, match="1 utterances are heard in .*'synthetic' too"):
        read_sources(wanted, [other, sound], store)


def test_speakers_who_are_declared_apart_may_have_the_same_names(
    store: Store, tmp_path: Path
) -> None:
    namesake = tones.write_tones(tmp_path / "namesakes", speakers=("s1m", "ann"))
    refused, declared = (
        experiment(None, corpora=[LABELLED, tones.section(namesake, **more)])
        for more in ({}, {"speakers_apart": True})
    )

    with pytest.raises(CorpusError, match="'s1m' also speak in 'synthetic'"):
        read_corpora(refused, store)
    (prepared,) = read_corpora(declared, store)
    assert prepared.sources is not None


# Who is told (law 7)


def test_results_name_the_transcribed_corpus(table: Path, store: Store) -> None:
    wanted = experiment(table)
    (prepared,) = read_corpora(wanted, store)
    told = prepared.describe(wanted.protocol)

    assert told.endswith(" | recogniser: tones (24 utterances)")
    assert fingerprints_of([prepared]) == {
        "synthetic": prepared.corpus.fingerprint,
        "tones": tones.load(table).fingerprint,
    }
    assert list(corpora_of([prepared])) == ["synthetic", "tones"]


def events(tree: RunTree, store: Store) -> list[dict[str, Any]]:
    """What the journals of a command hold, in the order of time."""
    lines = [
        line
        for name in store.list(tree.prefix)
        for line in store.read_bytes(name).decode().splitlines()
    ]
    return [json.loads(line) for line in lines]


def test_a_fit_has_a_run_of_its_own_with_its_course(table: Path, store: Store) -> None:
    wanted = experiment(table, {"source": {**SOURCE, "training": {"epochs": 3}}})
    tree = RunTree(store, "sources", "evaluation-x")
    prepared = read_corpora(wanted, store)
    compute_inputs(wanted, prepared, store, tree=tree)
    start, *epochs, end = events(tree, store)

    assert start["name"] == "recogniser tones"
    assert start["parent"] == tree.key()
    assert start["key"] == tree.key("source", source_name(wanted.recipe.source))
    assert start["tags"] == {"understudy.kind": "source"}
    assert start["params"]["recogniser.network.dim"] == "16"
    assert [event["step"] for event in epochs] == [1, 2, 3]
    wanted_names = {"train/ctc", "validation/ctc", "validation/error_rate", "learning_rate"}
    assert all(event["values"].keys() == wanted_names for event in epochs)
    assert (end["event"], end["status"]) == ("end", "FINISHED")

    # a second time it is not fitted, and its run is not left open
    compute_inputs(wanted, prepared, store, tree=tree)
    again = [event["event"] for event in events(tree, store)]
    assert again == ["start", *["metrics"] * 3, "end", "start", "end"]


def test_a_fit_that_fails_says_why_in_its_run(store: Store, tmp_path: Path) -> None:
    said = " ".join(["do", "mi"] * 20)
    crowded = tones.write_tones(tmp_path / "crowded", changes={"ann-0": said, "bob-0": said})
    wanted = experiment(crowded)
    tree = RunTree(store, "sources", "evaluation-x")
    prepared = read_corpora(wanted, store)
    with pytest.raises(TrainingError, match=r"-0': its transcript .* network\.stride"):
        compute_inputs(wanted, prepared, store, tree=tree)
    last = events(tree, store)[-1]

    assert last["status"] == "FAILED"
    assert last["reason"].startswith("TrainingError: corpus 'tones', utterance ")


# Plan


def test_a_plan_of_it_is_made_and_fits_nothing(table: Path, store: Store) -> None:
    ablations = {"another": {"recipe.source.seed": 1}}
    evaluate = {"seeds": [0], "systems": ["student-alone", "distilled"], "ablations": ablations}
    # the student has one layer only
    search = {"space": "satn2021", "trials": 2, "parameters": {"layers": "last to last"}}
    wanted = experiment(table, evaluate=evaluate, store=str(store.folder), search=search)
    found = plan(wanted)

    assert dict(found.evaluation.fold_runs) == {"student-alone": 3, "distilled": 3, "another": 3}
    assert found.evaluation.folds[0].protocol.endswith("recogniser: tones (24 utterances)")
    assert not (store.folder / "artifacts").exists()
