"""A student out of its folder: the same numbers as in the store, and what it refuses."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torchaudio.functional import resample

from orchestrator.bundle.files import bundle_files
from orchestrator.bundle.student import Student, load_bundle
from orchestrator.corpora.audio import AudioError
from orchestrator.errors import BundleError
from orchestrator.experiment.networks import StudentNet
from orchestrator.store import Artifact
from orchestrator.training.networks import build_network
from tests.bundle.small_student import FACTS, Trained, write


def wav(samples: NDArray[Any], *, rate: int = 16000, kind: str = "WAV") -> bytes:
    """An audio file of float samples."""
    held = io.BytesIO()
    soundfile.write(held, samples, rate, format=kind, subtype="FLOAT" if kind == "WAV" else None)
    return held.getvalue()


def noise(seconds: float = 0.5, *, rate: int = 16000, seed: int = 0) -> NDArray[np.float32]:
    """A second's part of noise, of steps that 16 bits hold."""
    drawn = np.random.default_rng(seed).integers(-8000, 8000, round(seconds * rate))
    return (drawn / 32768).astype(np.float32)


@pytest.fixture(scope="module")
def student(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Student:
    """The trained student, out of a folder."""
    return load_bundle(write(trained.files, tmp_path_factory.mktemp("bundle")))


def test_it_says_of_audio_files_what_the_evaluation_said(
    trained: Trained, student: Student
) -> None:
    corpus, ids = trained.corpus, trained.sealed.ids

    found = student.logits([wav(corpus.waveform(id, sample_rate=16000)) for id in ids])

    assert len({tuple(row) for row in trained.logits.round(4).tolist()}) > 1
    np.testing.assert_allclose(found, trained.logits, rtol=0, atol=1e-5)


def test_bytes_a_path_another_coding_and_equal_channels_are_the_same_sound(
    student: Student, tmp_path: Path
) -> None:
    sound = noise()
    file = tmp_path / "said.wav"
    file.write_bytes(wav(sound))

    logits = student.logits(
        [wav(sound), file, wav(sound, kind="FLAC"), wav(np.stack([sound, sound], axis=1))]
    )

    np.testing.assert_allclose(logits, np.tile(logits[:1], (4, 1)), rtol=0, atol=1e-5)


def test_audio_at_another_rate_is_resampled(student: Student) -> None:
    slow = noise(rate=8000)
    quick = resample(torch.from_numpy(slow), 8000, 16000).numpy()

    found, expected = student.logits([wav(slow, rate=8000), wav(quick)])

    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    # half as long, and an octave up
    assert np.abs(student.logits([wav(slow)])[0] - expected).max() > 1e-3


def test_an_utterance_is_heard_alike_alone_and_among_others(student: Student) -> None:
    sounds = [wav(noise(seconds, seed=place)) for place, seconds in enumerate([0.3, 1.1, 0.05])]

    together = student.logits(sounds)

    alone = np.concatenate([student.logits([one]) for one in sounds])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_an_answer_is_an_emotion_and_the_softmax_of_the_logits(student: Student) -> None:
    sounds = [wav(noise(seed=seed)) for seed in range(3)]

    told = student.predict(sounds)

    logits = student.logits(sounds).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert list(told.columns) == [
        "emotion",
        "probability_anger",
        "probability_happiness",
        "probability_neutral",
        "probability_sadness",
    ]
    np.testing.assert_allclose(told.iloc[:, 1:].to_numpy(), shares, rtol=1e-9)
    assert list(told["emotion"]) == [student.emotions[place] for place in logits.argmax(1)]


def test_nothing_said_is_nothing_heard(student: Student) -> None:
    assert student.logits([]).shape == (0, 4)
    told = student.predict([])
    assert len(told) == 0
    assert len(told.columns) == 5


@pytest.mark.parametrize(
    ("audio", "kind", "said"),
    [
        (b"", "zero-length", r"^audio 1 is empty"),
        (b"no sound at all", "unreadable", r"^audio 1 is no readable audio"),
        (wav(noise())[:-100], "truncated", r"^audio 1 is cut short"),
        (wav(noise(0.0)), "zero-length", r"^audio 1 holds no samples"),
        (wav(np.array([0.1, np.nan] * 50)), "not-finite", r"^audio 1 holds samples that are not"),
        (Path("gone.wav"), "missing", r"^gone\.wav does not exist"),
    ],
)
def test_what_cannot_be_heard_is_named_and_refused(
    student: Student, audio: bytes | Path, kind: str, said: str
) -> None:
    with pytest.raises(AudioError, match=said) as refused:
        student.logits([wav(noise()), audio])
    assert refused.value.kind == kind


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "vertical-vit", "depth": 1, "conv_stem": True, "coordinates": True},
        {"kind": "conv-transformer", "channels": [4, 4], "dim": 8, "heads": 2},
        {"kind": "inverted-transformer", "window_seconds": 0.2, "dim": 8, "heads": 2},
        {"kind": "satn", "dim": 8, "heads": 2, "levels": 2, "segment_seconds": 0.3},
    ],
    ids=lambda section: section["kind"],
)
def test_every_kind_of_student_comes_back_as_it_was(
    trained: Trained, tmp_path: Path, section: dict[str, Any]
) -> None:
    wanted: StudentNet = TypeAdapter(StudentNet).validate_python(section)
    features = trained.task.features.model_copy(update={"deltas": 1})
    recipe = trained.task.recipe.model_copy(update={"student": wanted})
    task = dataclasses.replace(trained.task, recipe=recipe, features=features)
    torch.manual_seed(3)
    network = build_network(wanted, features=features, classes=4).eval()
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {"mean": torch.zeros(16), "std": torch.ones(16)}
    stored = write(
        {"weights.safetensors": save(tensors), "facts.json": b'{"epoch": 1, "parameters": 2}'},
        tmp_path / "stored",
    )

    files = bundle_files(task, Artifact(stored, "key", True), facts=FACTS)
    student = load_bundle(write(files, tmp_path / "bundle"))

    assert student.features == features
    for name, value in network.state_dict().items():
        assert torch.equal(student.network.state_dict()[name], value), name
    logits = student.logits([wav(noise(0.7)), wav(noise(0.05))])
    assert logits.shape == (2, 4)
    assert np.isfinite(logits).all()


def told(**changes: Any) -> Callable[[Mapping[str, bytes]], dict[str, bytes]]:
    """A change of what the page says."""

    def change(files: Mapping[str, bytes]) -> dict[str, bytes]:
        page = json.loads(files["student.json"]) | changes
        return {**files, "student.json": json.dumps(page).encode()}

    return change


def without(*names: str) -> Callable[[Mapping[str, bytes]], dict[str, bytes]]:
    """The weights without some of them."""

    def change(files: Mapping[str, bytes]) -> dict[str, bytes]:
        tensors = load(files["student.safetensors"])
        kept = {name: value for name, value in tensors.items() if name not in names}
        assert len(kept) < len(tensors)
        return {**files, "student.safetensors": save(kept)}

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: {}, "is no student's folder: it has no student.json"),
        (lambda files: {**files, "student.json": b"{"}, "student.json cannot be read"),
        (lambda files: {**files, "student.json": b"[]"}, "format None is not the one"),
        (told(format=2), r"format 2 is not the one that this Understudy reads \(1\)"),
        (told(network={"kind": "lstm"}), "student.json: network: .*'lstm'"),
        (told(emotions=["anger", "fear"]), "student.safetensors does not hold the weights"),
        (without("mean"), r"student.safetensors does not hold the weights .*\('mean'\)"),
        (lambda files: {"student.json": files["student.json"]}, "No such file"),
        (
            lambda files: {**files, "student.safetensors": files["student.safetensors"][:200]},
            "student.safetensors does not hold the weights",
        ),
    ],
)
def test_a_damaged_folder_is_refused(
    trained: Trained,
    tmp_path: Path,
    change: Callable[[Mapping[str, bytes]], dict[str, bytes]],
    said: str,
) -> None:
    with pytest.raises(BundleError, match=said):
        load_bundle(write(change(trained.files), tmp_path))
