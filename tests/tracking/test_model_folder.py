"""A student as an MLflow model: it is asked for bytes, tries itself, and needs what it says."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import wave
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import LoggedModel
from mlflow.models import validate_serving_input
from packaging.requirements import Requirement
from scipy.special import softmax

import models
import orchestrator
from orchestrator.errors import InputError
from orchestrator.tracking import model_folder
from orchestrator.tracking.model_folder import (
    MissingSourcesError,
    requirements,
    sources,
    tone,
    write_model_folder,
)
from tests.bundle.small_student import SYNTHETIC, train

EMOTIONS = ["anger", "happiness", "neutral", "sadness"]


def folder_of(files: Mapping[str, bytes], folder: Path) -> Path:
    """The MLflow model of a student's files."""
    entry: Any = LoggedModel("1", "m-1", "student", str(folder), 0, 0, source_run_id="run")
    write_model_folder(folder / "model", files, model=entry)
    return folder / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MLflow model of a student of the synthetic corpus."""
    trained = train(SYNTHETIC, tmp_path_factory.mktemp("store"))
    return folder_of(trained.files, tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.pyfunc.PyFuncModel:
    """The model, loaded; Python's path is as before when the test is over."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return mlflow.pyfunc.load_model(str(model))


def test_the_example_that_comes_along_gets_an_answer(loaded: mlflow.pyfunc.PyFuncModel) -> None:
    answer = loaded.predict(loaded.input_example)

    shares = answer[[f"probability_{emotion}" for emotion in EMOTIONS]].to_numpy()
    assert shares.shape == (1, 4)
    np.testing.assert_allclose(shares.sum(), 1.0, rtol=1e-9)
    assert answer["emotion"][0] == EMOTIONS[shares.argmax()]


@pytest.mark.filterwarnings("ignore:.*validate_serving_input.*:FutureWarning")
def test_a_served_model_takes_the_example_as_json(
    model: Path, loaded: mlflow.pyfunc.PyFuncModel
) -> None:
    sent = (model / "serving_input_example.json").read_text()

    answer = validate_serving_input(str(model), sent)

    pd.testing.assert_frame_equal(answer, loaded.predict(loaded.input_example))


def test_the_signature_is_bytes_in_and_emotion_and_probabilities_out(
    loaded: mlflow.pyfunc.PyFuncModel,
) -> None:
    signature = loaded.metadata.signature

    assert [(it.name, it.type.name) for it in signature.inputs] == [("audio", "binary")]
    assert [(it.name, it.type.name) for it in signature.outputs] == [
        ("emotion", "string"),
        *((f"probability_{emotion}", "double") for emotion in EMOTIONS),
    ]


def test_whoever_may_ask_cannot_have_files_opened_by_name(
    loaded: mlflow.pyfunc.PyFuncModel, tmp_path: Path
) -> None:
    file = tmp_path / "secret.wav"
    file.write_bytes(tone(16000))

    with pytest.raises(InputError, match="audio 0: .* the bytes of an audio file, not str"):
        loaded.predict(pd.DataFrame({"audio": [str(file)]}))


def test_the_example_is_a_whole_wav_file_at_the_students_rate() -> None:
    with wave.open(io.BytesIO(tone(8000))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (1, 8000, 2400)
        samples = np.frombuffer(file.readframes(2400), "<i2").astype(float)
    # 66 periods of 220 Hz in 0.3 s
    assert np.abs(np.fft.rfft(samples)).argmax() == 66


def test_requirements_are_what_is_installed_by_the_names_of_an_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_folder, "version", lambda name: version(name) + "+cpu")

    pinned = {one.name: one for one in map(Requirement, requirements())}

    assert "understudy" not in pinned  # whatever is called that elsewhere is not ours
    assert str(pinned["torch"].specifier) == f"=={version('torch').partition('+')[0]}"
    assert all(str(one.specifier).startswith("==") for one in pinned.values())


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where the packages are said to be; the real ones are taken again afterwards."""
    for package in (models, orchestrator):
        place = tmp_path / package.__name__ / "__init__.py"
        monkeypatch.setattr(package, "__file__", str(place))
    sources.cache_clear()
    yield tmp_path
    sources.cache_clear()


def test_the_sources_are_all_of_both_packages_and_the_same_bytes_each_time(packages: Path) -> None:
    lines = {"models/__init__.py": "1", "orchestrator/__init__.py": "2", "orchestrator/a/b.py": "3"}
    for name, line in lines.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(line)
    (packages / "orchestrator" / "a" / "b.pyc").write_text("compiled")

    packed = sources()

    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        assert {name: file.read(name).decode() for name in file.namelist()} == lines
    sources.cache_clear()
    os.utime(packages / "models" / "__init__.py", (10**9, 10**9))
    assert sources() == packed


def test_sources_that_have_gone_are_no_empty_zip(packages: Path) -> None:
    with pytest.raises(MissingSourcesError, match="tracking repair"):
        sources()


BARE = """
    import importlib.metadata as metadata
    import re
    import sys
    from pathlib import Path

    model, *files = map(Path, sys.argv[1:])

    # whatever its requirements do not bring is not there
    wanted = [re.split(r"[ =<>~!;\\[(]", line)[0] for line in
              (model / "requirements.txt").read_text().splitlines()]
    brought = set()
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in brought:
            continue
        brought.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        wanted += [re.split(r"[ =<>~!;\\[(]", one)[0] for one in needs if "extra ==" not in one]

    class Bare:
        def find_spec(self, name, path=None, target=None):
            owners = providers.get(name, ())
            if owners and not any(re.sub(r"[-_.]+", "-", it).lower() in brought for it in owners):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    providers = {name: owners for name, owners in metadata.packages_distributions().items()
                 if name not in ("orchestrator", "models")}
    sys.meta_path.insert(0, Bare())

    import mlflow.pyfunc
    import pandas as pd

    loaded = mlflow.pyfunc.load_model(str(model))
    answer = loaded.predict(pd.DataFrame({"audio": [file.read_bytes() for file in files]}))

    import orchestrator
    assert ".zip" in orchestrator.__file__, orchestrator.__file__
    assert "ray" not in sys.modules
    print(answer.to_json(orient="split", double_precision=15))
"""


@pytest.mark.slow
def test_a_fresh_process_hears_in_emodb_what_the_evaluation_heard(
    emodb_root: Path, tmp_path: Path
) -> None:
    some = tmp_path / "emodb" / "wav"
    some.mkdir(parents=True)
    for file in sorted((emodb_root / "wav").glob("*.wav")):
        if file.name[:2] in {"11", "13", "14"}:
            (some / file.name).symlink_to(file)
    trained = train({"kind": "emodb", "root": str(some.parent)}, tmp_path / "store")
    model = folder_of(trained.files, tmp_path / "mlflow")
    (tmp_path / "store").rename(tmp_path / "gone")
    three = [0, 20, 40]
    paths = trained.corpus.table.set_index("id")["path"]
    files = [paths[trained.sealed.ids[place]] for place in three]

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BARE), str(model), *files],
        cwd=model,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    answer = pd.read_json(io.StringIO(done.stdout.splitlines()[-1]), orient="split")
    shares, logits = answer.iloc[:, 1:].to_numpy(), trained.logits[three]
    np.testing.assert_allclose(np.log(shares), np.log(softmax(logits, axis=1)), rtol=0, atol=1e-5)
    emotions = trained.task.emotions
    assert list(answer["emotion"]) == [emotions[place] for place in logits.argmax(axis=1)]
    assert len({tuple(row) for row in shares.round(6)}) == 3
