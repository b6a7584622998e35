"""The speech recogniser: what it learns, whom it hears, and what its key is made of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.speech_recogniser import Recognition
from orchestrator.errors import TrainingError
from orchestrator.experiment.sources import RecogniserTraining
from orchestrator.features import PackedFrames, normalisation
from orchestrator.store import STAGE_VERSIONS, Artifact, Store
from orchestrator.training.data import Batch, PooledData
from orchestrator.training.files import read_json, statistics_tensors, write_fitted
from orchestrator.training.judges import Judged
from orchestrator.training.loop import Fitted, fit
from orchestrator.training.networks import build_recogniser
from orchestrator.training.ranks import Ranks
from orchestrator.training.recogniser import (
    RecogniserJudge,
    RecogniserTask,
    Symbols,
    Transcribed,
    load_recogniser,
    padded,
    recogniser_artifact,
    recognition_errors,
    units_of,
)
from orchestrator.training.stage import Stage
from orchestrator.training.task import Silent
from tests import tones
from tests.tones import Toned
from tests.training.test_resume import KilledError, KillsAt, assert_same_files
from tests.training.tiny import assert_same_tensors, tensors

NewStore = Callable[[], Store]


@pytest.fixture(scope="module")
def toned(tmp_path_factory: pytest.TempPathFactory) -> Toned:
    return Toned.build(tmp_path_factory.mktemp("tones"))


@pytest.fixture
def new_store(toned: Toned, tmp_path: Path) -> NewStore:
    number = count()
    return lambda: toned.store(tmp_path / f"store{next(number)}")


@pytest.fixture
def store(new_store: NewStore) -> Store:
    return new_store()


def fitted(task: RecogniserTask, store: Store) -> Artifact:
    return recogniser_artifact(task, store, reporter=Silent())


def saying(utterances: Transcribed, **words: str) -> Transcribed:
    """The utterances with other transcripts for some ids, dashes as ``_``."""
    told = dict(zip(utterances.ids, utterances.transcripts, strict=True))
    told |= {name.replace("_", "-"): text for name, text in words.items()}
    return dataclasses.replace(utterances, transcripts=tuple(told.values()))


# Units and symbols


@pytest.mark.parametrize(
    ("text", "units", "found"),
    [
        ("Seven  two\n", "words", ["seven", "two"]),
        ("Oh  NO ", "characters", ["o", "h", " ", "n", "o"]),
        ("", "words", []),
        (" ", "characters", []),
        ("Äh", "characters", ["ä", "h"]),
    ],
)
def test_a_transcript_in_units(text: str, units: str, found: list[str]) -> None:
    assert units_of(text, units) == found


def test_symbols_are_numbered_from_one_in_the_order_of_the_alphabet() -> None:
    words = Symbols.of(["two One", "one one three"], "words")
    letters = Symbols.of(["ab", "b a"], "characters")

    assert words.symbols == ("one", "three", "two")
    assert words.labels("THREE one two one") == [2, 1, 3, 1]
    assert letters.symbols == (" ", "a", "b")
    assert letters.labels("b a") == [3, 1, 2]
    assert (len(words), len(letters)) == (3, 3)


def test_a_unit_that_was_never_trained_on_has_no_label() -> None:
    assert Symbols.of(["one"], "words").labels("one four one") == [1, -1, 1]


def test_labels_are_padded_to_the_longest() -> None:
    rows, lengths = padded([[1, 2, 3], [], [4]])

    assert rows.tolist() == [[1, 2, 3], [0, 0, 0], [4, 0, 0]]
    assert lengths.tolist() == [3, 0, 1]
    assert padded([[]])[0].shape == (1, 1)


def test_utterances_of_some_speakers_are_sorted_by_id(toned: Toned) -> None:
    shuffled = toned.corpus.table.sample(frac=1.0, random_state=0)
    found = Transcribed.of(shuffled, ["dan", "bob"])

    assert found.ids == tuple(sorted(f"{who}-{n}" for who in ("bob", "dan") for n in range(12)))
    assert dict(zip(found.ids, found.transcripts, strict=True))["bob-1"] == "mi sol"
    assert dict(zip(found.ids, found.speakers, strict=True))["dan-10"] == "dan"


# Learning


def test_it_learns_words_from_some_and_knows_them_from_a_stranger(
    toned: Toned, store: Store
) -> None:
    task = toned.task()
    artifact = fitted(task, store)
    stranger = Transcribed.of(toned.corpus.table, ["dan"])
    labels, *errors = recognition_errors(task, stranger, store=store, trained=artifact).sum(0)
    history = read_json(artifact.path / "history.json")
    deaf = toned.task(training__lr=1e-9)
    missed = recognition_errors(deaf, stranger, store=store, trained=fitted(deaf, store)).sum(0)

    # four times one, two and three words
    assert labels == 4 * (1 + 2 + 3)
    assert sum(errors) <= 0.1 * labels
    assert sum(missed[1:]) >= 0.5 * labels
    assert [sorted(row) for row in history] == [
        ["train/ctc", "validation/ctc", "validation/error_rate"]
    ] * 14
    assert history[-1]["train/ctc"] < 0.1 * history[0]["train/ctc"]
    assert history[-1]["validation/error_rate"] < history[0]["validation/error_rate"]


def test_characters_are_learned_too(toned: Toned, store: Store) -> None:
    artifact = fitted(toned.task(units="characters", network__stride=1), store)
    history = read_json(artifact.path / "history.json")

    assert read_json(artifact.path / "facts.json")["symbols"] == [*" dilmos"]
    assert history[-1]["train/ctc"] < 0.5 * history[0]["train/ctc"]


def test_what_is_loaded_is_what_was_fitted(toned: Toned, store: Store) -> None:
    task = toned.task(training__epochs=2)
    artifact = fitted(task, store)
    found = load_recogniser(artifact, features=task.features)
    again = recognition_errors(task, task.validation, store=store, trained=artifact)
    facts = read_json(artifact.path / "facts.json")

    assert (found.symbols.units, found.symbols.symbols) == ("words", ("do", "mi", "sol"))
    assert not found.network.training
    assert not any(parameter.requires_grad for parameter in found.network.parameters())
    np.testing.assert_array_equal(again, np.load(artifact.path / "validation_logits.npy"))
    assert facts["parameters"] == sum(value.numel() for value in found.network.parameters())


def test_its_frames_are_normalised_by_those_who_train_it(toned: Toned, store: Store) -> None:
    task = toned.task(training__epochs=1)
    found = tensors(fitted(task, store))
    pack = PackedFrames.open(store, task.frames)
    mean, std = normalisation(pack, task.train.ids)

    np.testing.assert_array_equal(found["mean"], mean)
    np.testing.assert_array_equal(found["std"], std)
    everyone = normalisation(pack, pack.ids)
    assert not np.array_equal(found["mean"], everyone[0])


def test_what_nobody_in_training_says_is_an_error_and_ends_no_fit(
    toned: Toned, store: Store
) -> None:
    task = toned.task(training__epoch_choice="last")
    # four of a speaker's 24 words
    strange = saying(task.validation, cem_2="fa do mi", cem_5="fa la fa")
    fit_beside = dataclasses.replace(task, validation=strange)
    artifact = fitted(fit_beside, store)
    last = read_json(artifact.path / "history.json")[-1]
    stranger = Transcribed.of(toned.corpus.table, ["dan"])
    known = recognition_errors(task, stranger, store=store, trained=artifact)
    unknown = recognition_errors(task, saying(stranger, dan_0="fa"), store=store, trained=artifact)

    assert math.isfinite(last["validation/ctc"])
    assert last["validation/error_rate"] == pytest.approx(4 / 24)
    assert known.sum(0).tolist() == [24, 0, 0, 0]
    assert (unknown - known).tolist() == [[0, 1, 0, 0], *[[0, 0, 0, 0]] * 11]


# Labels that do not fit

FRAMES = 17
"""Of ``ann-0``, centred every 20 ms from the start to the end of 0.32 s."""


def words(number: int, *, alike: int = 0) -> str:
    """So many words, the first ``alike`` of which repeat the one before."""
    said = ["do"] * (1 + alike)
    while len(said) < number:
        said.append("mi" if said[-1] == "do" else "do")
    return " ".join(said)


@pytest.mark.parametrize("role", ["train", "validation"])
@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"network__stride": 2}, FRAMES // 2 + 1),
        # the last step hears less than a whole stride
        ({"network__stride": 3}, FRAMES // 3 + 1),
    ],
)
def test_more_labels_than_steps_are_refused_by_name(
    toned: Toned, new_store: NewStore, role: str, options: dict[str, Any], most: int
) -> None:
    task = toned.task(training__epochs=1, **options)
    name = "ann_0" if role == "train" else "cem_0"

    def with_words(text: str) -> RecogniserTask:
        changed: dict[str, Any] = {role: saying(getattr(task, role), **{name: text})}
        return dataclasses.replace(task, **changed)

    pack = PackedFrames.open(new_store(), task.frames)
    assert pack.length(name.replace("_", "-")) == FRAMES
    for text in (words(most), words(most - 2, alike=2)):
        fitted(with_words(text), new_store())
    for text, needs in ((words(most + 1), most + 1), (words(most - 1, alike=2), most + 1)):
        with pytest.raises(TrainingError) as caught:
            fitted(with_words(text), new_store())
        said = str(caught.value)
        assert f"corpus 'tones', utterance '{name.replace('_', '-')}'" in said
        assert f"transcript {text!r}" in said
        assert f"needs {needs} steps, but its {FRAMES} frames make {most}" in said
        assert f"network.stride is {options['network__stride']}" in said


def test_only_what_is_trained_on_has_to_fit_when_it_is_sped_up(
    toned: Toned, new_store: NewStore
) -> None:
    """17 frames at 1.6 times the speed make 10, so 5 steps."""
    task = toned.task(training__epochs=1, training__augment__time_stretch=0.6)
    fits = dataclasses.replace(task, train=saying(task.train, ann_0=words(5)))
    full = saying(task.train, ann_0=words(6))
    fitted(fits, new_store())
    fitted(
        dataclasses.replace(task, validation=saying(task.validation, cem_0=words(8))), new_store()
    )

    with pytest.raises(TrainingError, match=r"17 frames make 5 where time_stretch 0\.6 speeds it"):
        fitted(dataclasses.replace(task, train=full), new_store())


def test_a_tested_utterance_that_holds_too_many_labels_is_counted(
    toned: Toned, store: Store
) -> None:
    """Whoever is tested cannot stop the test: it is too late to leave the utterance out."""
    task = toned.task(training__epochs=1)
    artifact = fitted(task, store)
    one = saying(Transcribed.of(toned.corpus.table, ["dan"]), dan_0=words(40))
    found = recognition_errors(task, one, store=store, trained=artifact)

    assert found[0, 0] == 40
    assert found[0, 1:].sum() >= 40 - FRAMES // 2


# What the key is made of

NETWORK: dict[str, Any] = {
    "stride": 3,
    "dim": 8,
    "levels": 2,
    "kernel": 5,
    "causal": True,
    "depth": 2,
    "heads": 4,
    "mlp_dim": 8,
    "dropout": 0.5,
    "instance_norm": True,
}
FITTING: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 8,
    "lr": 1e-3,
    "weight_decay": 0.5,
    "warmup_share": 0.5,
    "gradient_clip": None,
    "average_decay": 0.5,
    "smoothing_epochs": 1,
    "updates_per_epoch": 5,
    "lr_schedule": "linear",
    "patience": 2,
    "micro_batch": 2,
    "precision": "bf16",
    "compile": True,
    "epoch_choice": "last",
    "augment__frequency_masks": 1,
    "augment__frequency_width": 2,
    "augment__time_masks": 1,
    "augment__time_width_seconds": 0.1,
    "augment__time_stretch": 0.1,
    "augment__frequency_warp": 0.1,
    "augment__gain_db": 6.0,
    "augment__tilt_db": 6.0,
    "augment__noise": 0.1,
}
OPTIONS: dict[str, Any] = {
    "units": "characters",
    **{f"network__{name}": value for name, value in NETWORK.items()},
    **{f"training__{name}": value for name, value in FITTING.items()},
}


def test_the_options_below_are_all_that_a_fit_has(toned: Toned) -> None:
    plain = toned.task().section.model_dump(mode="json")
    found = {f"network__{name}" for name in plain["network"]} | {"units"}
    for name, value in plain["training"].items():
        if name == "augment":
            found |= {f"training__augment__{inner}" for inner in value}
        else:
            found.add(f"training__{name}")

    # transcripts are of whole utterances; what is joined is in the contents
    assert found - set(OPTIONS) == {"training__augment__crop_seconds"}
    assert plain.keys() == {"units", "network", "training", "strings"}


@pytest.mark.parametrize(("option", "value"), OPTIONS.items())
def test_every_option_changes_the_key(toned: Toned, store: Store, option: str, value: Any) -> None:
    assert toned.task(**{option: value}).key(store) != toned.task().key(store)


@pytest.mark.parametrize("role", ["train", "validation"])
@pytest.mark.parametrize("column", ["ids", "contents", "transcripts"])
def test_every_utterance_that_is_heard_is_in_the_key(
    toned: Toned, store: Store, role: str, column: str
) -> None:
    task = toned.task()
    utterances = getattr(task, role)
    values = (*getattr(utterances, column)[:-1], "changed")
    other = dataclasses.replace(task, **{role: dataclasses.replace(utterances, **{column: values})})

    assert other.key(store) != task.key(store)


def test_strings_are_in_the_key_as_what_is_heard(toned: Toned, store: Store) -> None:
    strings = {"seconds": 1.0, "passes": 1}
    tasks = [
        toned.task(),
        toned.task(strings=strings),
        toned.task(strings={**strings, "seconds": 1.5}),
        toned.task(strings={**strings, "passes": 2}),
        toned.task(strings={**strings, "seed": 1}),
        toned.task(strings={**strings, "pause_seconds": [0.1, 0.2]}),
    ]

    assert len({task.key(store) for task in tasks}) == len(tasks)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"seed": 1}, False),
        ({"threads": 2}, False),
        ({"device": "cuda"}, False),
        # whom a fold tests is no part of it, nor how results call the corpus
        ({"corpus": "other"}, True),
        ({"checkpoint_minutes": 60.0}, True),
    ],
)
def test_what_else_the_key_is_made_of(
    toned: Toned, store: Store, change: dict[str, Any], same: bool
) -> None:
    task = toned.task()

    assert (dataclasses.replace(task, **change).key(store) == task.key(store)) == same


def test_features_and_speakers_are_in_the_key(toned: Toned, store: Store) -> None:
    task = toned.task()
    lower = task.features.model_copy(update={"lowest_hz": 50.0})
    others = [
        dataclasses.replace(task, features=lower),
        toned.task(train=("ann", "dan")),
        toned.task(validation=("dan",)),
    ]

    assert task.key(store) not in {other.key(store) for other in others}


def test_features_of_another_version_are_in_the_key(
    toned: Toned, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = toned.task().key(store)
    monkeypatch.setitem(STAGE_VERSIONS, "features", STAGE_VERSIONS["features"] + 1)

    assert toned.task().key(store) != before


def test_a_speaker_who_is_only_tested_changes_nothing(tmp_path: Path, toned: Toned) -> None:
    """The corpus without them, or with another saying, has the same recogniser."""
    without = tones.write_tones(tmp_path / "a", speakers=("ann", "bob", "cem"), utterances=12)
    other = tones.write_tones(tmp_path / "b", utterances=12, changes={"dan-0": "fa la"})
    keys = {
        dataclasses.replace(toned, corpus=tones.load(file)).task().key(Store(tmp_path))
        for file in (without, other)
    }

    assert keys == {toned.task().key(Store(tmp_path))}


# The same numbers again (law 5)

RICH: dict[str, Any] = {
    "network__dropout": 0.2,
    "training__epochs": 4,
    "training__augment__noise": 0.1,
    "training__augment__time_stretch": 0.1,
}


def test_two_fits_are_bitwise_the_same(toned: Toned, new_store: NewStore) -> None:
    task = toned.task(**RICH)
    first = fitted(task, new_store())
    torch.manual_seed(99)
    before = torch.get_rng_state()
    second = fitted(task, new_store())
    other = fitted(toned.task(seed=1, **RICH), new_store())

    assert_same_files(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    name = "network.head.weight"
    assert not torch.equal(tensors(first)[name], tensors(other)[name])


@pytest.mark.parametrize(
    ("kill_at", "choice"), [(2, "validation-loss"), (4, "validation-error-rate"), (3, "last")]
)
def test_one_that_was_killed_ends_bitwise_as_if_it_had_not_been(
    toned: Toned, new_store: NewStore, kill_at: int, choice: str
) -> None:
    task = toned.task(**RICH, training__epoch_choice=choice)
    whole, broken = new_store(), new_store()
    undisturbed = fitted(task, whole)
    with pytest.raises(KilledError):
        recogniser_artifact(task, broken, reporter=KillsAt(kill_at))
    left = list((broken.folder / "checkpoints" / "recogniser").glob("*/*.safetensors"))
    told = KillsAt(0)
    again = recogniser_artifact(task, broken, reporter=told)

    assert len(left) == min(kill_at - 1, 2)
    assert list(told.rows) == list(range(kill_at, 5))
    assert_same_files(again, undisturbed)
    assert not left[0].parent.exists()


def test_nobody_need_choose_the_epoch(toned: Toned, new_store: NewStore) -> None:
    task = toned.task(validation=(), training__epoch_choice="last", **RICH)
    whole, broken = new_store(), new_store()
    found = fitted(task, whole)
    with pytest.raises(KilledError):
        recogniser_artifact(task, broken, reporter=KillsAt(3))
    again = fitted(task, broken)

    assert [list(row) for row in read_json(found.path / "history.json")] == [["train/ctc"]] * 4
    assert read_json(found.path / "facts.json")["epoch"] == 4
    assert np.load(found.path / "validation_logits.npy").shape == (0, 4)
    assert_same_files(again, found)
    # whoever else might have chosen changes no weight of the last epoch
    beside = toned.task(training__epoch_choice="last", **RICH)
    assert_same_tensors(tensors(fitted(beside, whole)), tensors(found))
    assert beside.key(whole) != task.key(whole)


def test_what_the_store_has_is_not_fitted_again(toned: Toned, store: Store) -> None:
    task = toned.task(training__epochs=1)
    told = KillsAt(1)

    assert not fitted(task, store).reused
    assert recogniser_artifact(task, store, reporter=told).reused
    assert task.key(store) == fitted(task, store).key


# Errors by hand


def one_worded(task: RecogniserTask, store: Store, word: str) -> Artifact:
    """A recogniser that hears one and the same word in everything."""
    symbols = ["do", "mi", "sol"]
    network = build_recogniser(task.section.network, features=task.features, symbols=3)
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    with torch.no_grad():
        network.head.bias[1 + symbols.index(word)] = 1.0
    fitted = Fitted(dict(network.state_dict()), epoch=1, validation_logits=np.zeros(0))

    def build(folder: Path) -> None:
        width = task.features.bins * task.features.channels
        extra = statistics_tensors(np.zeros(width, np.float32), np.ones(width, np.float32))
        facts = {
            "network": task.section.network.model_dump(mode="json"),
            "units": "words",
            "symbols": symbols,
        }
        write_fitted(folder, fitted, extra=extra, facts=facts)

    return store.obtain("recogniser", {"by": "hand", "word": word}, build)


def test_errors_are_counted_by_kind(toned: Toned, store: Store) -> None:
    task = toned.task()
    heard = Transcribed.of(toned.corpus.table, ["dan"])
    # "do", "mi sol" and "sol do mi" are said by the first three in the order of ids: 0, 1, 10, 11
    told = saying(heard, dan_0="sol", dan_1="mi", dan_10="mi mi sol", dan_11="sol mi sol mi")
    found = recognition_errors(task, told, store=store, trained=one_worded(task, store, "mi"))

    assert found[:4].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [3, 0, 2, 0], [4, 0, 3, 0]]
    assert found.dtype == np.int64


def test_a_test_is_done_once_and_others_are_other_tests(toned: Toned, store: Store) -> None:
    task = toned.task()
    trained = one_worded(task, store, "mi")
    heard = Transcribed.of(toned.corpus.table, ["dan"])

    def tests() -> int:
        return len(list((store.folder / "artifacts" / "recognition").glob("*/*")))

    counted = []
    for utterances in (heard, heard, saying(heard, dan_0="mi"), task.validation):
        recognition_errors(task, utterances, store=store, trained=trained)
        counted.append(tests())
    recognition_errors(task, heard, store=store, trained=one_worded(task, store, "do"))

    assert [*counted, tests()] == [1, 1, 2, 3, 4]


# The choice of the epoch


class Scripted(nn.Module):
    """In its n-th epoch it says, of every utterance, how sure it is of symbol 1."""

    epoch: Tensor

    def __init__(self, script: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.script = torch.tensor(script)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    def forward(self, pooled: Tensor) -> Recognition:
        sure = self.script[min(int(self.epoch), len(self.script) - 1)]
        if self.training:
            sure = torch.full((len(pooled),), 0.5) + 0.0 * self.weight
        else:
            self.epoch += 1
        logits = torch.stack([1.0 - sure, sure], dim=1).log()[:, None]
        ones = torch.ones(len(pooled), dtype=torch.long)
        return Recognition(logits, ones, torch.full((len(pooled), 1), 0.5), ())


def judge(choice: str, script: Sequence[Sequence[float]]) -> tuple[RecogniserJudge, Scripted]:
    """A judge of so many utterances of one word each, and the network."""
    by = RecogniserTraining.model_validate({"epoch_choice": choice})
    count = len(script[0])
    data = PooledData(np.zeros((count, 1, 1)))
    symbols = Symbols("words", ["yes"])
    return RecogniserJudge(data, ["yes"] * count, symbols=symbols, by=by), Scripted(script)


def chosen(choice: str, script: Sequence[Sequence[float]]) -> Fitted:
    judging, network = judge(choice, script)
    settings = RecogniserTraining.model_validate(
        {
            "epochs": len(script),
            "epoch_choice": choice,
            "average_decay": 0.0,
            "smoothing_epochs": 1,
        }
    )

    def losses(output: Any, batch: Batch) -> Mapping[str, Tensor]:
        return {"ctc": 0.0 * output.logits.sum(dim=(1, 2))}

    return fit(
        network,
        data=PooledData(np.zeros((4, 1, 1))),
        ids=["a", "b", "c", "d"],
        judge=judging,
        stages=[Stage("recogniser", len(script), losses)],
        settings=settings,
        seed=0,
        ranks=Ranks(),
        reporter=Silent(),
        key="recogniser.training",
    )


@pytest.mark.parametrize(
    ("choice", "epoch"), [("validation-error-rate", 2), ("validation-loss", 3), ("last", 4)]
)
def test_the_epoch_is_chosen_by_loss_by_errors_or_not_at_all(choice: str, epoch: int) -> None:
    # errors of half, none, half, none; of equals the earlier is kept
    script = [[0.6, 0.2], [0.51, 0.51], [0.99, 0.45], [0.52, 0.51]]
    found = chosen(choice, script)
    told = [(row["validation/ctc"], row["validation/error_rate"]) for row in found.history]

    assert found.epoch == epoch
    for (loss, rate), sure in zip(told, script, strict=True):
        assert loss == pytest.approx(-sum(map(math.log, sure)) / 2, rel=1e-5)
        assert rate == sum(one < 0.5 for one in sure) / 2
    # labels, substitutions, deletions and insertions of both utterances as the kept epoch heard
    missed = [[1, 0, int(one < 0.5), 0] for one in script[epoch - 1]]
    assert found.validation_logits.tolist() == missed


@pytest.mark.parametrize("choice", ["validation-error-rate", "validation-loss"])
def test_a_loss_that_is_not_finite_is_not_hidden_by_an_error_rate(choice: str) -> None:
    with pytest.raises(TrainingError, match=r"validation ctc became nan .*recogniser\.training"):
        chosen(choice, [[0.6, 0.6], [math.nan, 0.6]])


def test_a_judge_puts_the_network_in_evaluation_mode_and_asks_for_no_gradient() -> None:
    class Watched(Scripted):
        def forward(self, pooled: Tensor) -> Recognition:
            assert not torch.is_grad_enabled()
            assert not self.training
            return super().forward(pooled)

    judging, _ = judge("last", [[0.6, 0.4]])
    found: Judged = judging(Watched([[0.6, 0.4]]).train())

    assert found.logits.tolist() == [[1, 0, 0, 0], [1, 0, 1, 0]]
    assert torch.is_grad_enabled()
