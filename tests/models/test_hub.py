"""Encoders by name, from a cache as the hub's client keeps it. Nothing is fetched here."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest

from models.hub import resolve_root
from models.pretrained import NotAnEncoderError, load_encoder
from tests.models.encoders import noise, save_waveform_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, with ``someone/tiny-hubert`` and its branch ``small``."""
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    home = tmp_path / "cache"
    model = home / "models--someone--tiny-hubert"
    save_waveform_model(model / "snapshots" / COMMIT, "hubert")
    (model / "refs").mkdir()
    for branch in ("main", "small"):
        (model / "refs" / branch).write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home))
    monkeypatch.chdir(tmp_path)
    return home


@pytest.mark.parametrize("revision", [None, "small", COMMIT])
def test_a_model_in_the_cache_is_found(cache: Path, revision: str | None) -> None:
    root = resolve_root("someone/tiny-hubert", revision)

    assert root == cache / "models--someone--tiny-hubert" / "snapshots" / COMMIT
    assert load_encoder(root).hidden_states([noise(800)])[0].shape[0] == 3


def test_a_folder_of_that_name_comes_first(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "someone" / "tiny-hubert").mkdir(parents=True)

    assert resolve_root("someone/tiny-hubert") == Path("someone/tiny-hubert")
    with pytest.raises(NotAnEncoderError, match="is a folder here, so revision 'small'"):
        resolve_root("someone/tiny-hubert", "small")


@pytest.mark.parametrize(
    ("name", "revision", "command"),
    [
        ("someone/tiny-hubert", "large", "hf download someone/tiny-hubert --revision large"),
        ("someone/else", None, "'hf download someone/else'"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_a_model_that_is_not_there_is_to_be_fetched_beforehand(
    name: str, revision: str | None, command: str
) -> None:
    with pytest.raises(NotAnEncoderError, match=f"{name}: .*beforehand.*{command}") as caught:
        resolve_root(name, revision)

    assert "\n" not in str(caught.value)


def test_a_part_of_a_model_is_not_taken_for_it(cache: Path) -> None:
    (cache / "models--someone--tiny-hubert/snapshots" / COMMIT / "model.safetensors").unlink()

    with pytest.raises(NotAnEncoderError, match="hf download someone/tiny-hubert"):
        resolve_root("someone/tiny-hubert")


@pytest.mark.parametrize("root", ["encoder", "./someone/tiny-hubert", "a/b/c", "/someone/tiny", ""])
@pytest.mark.usefixtures("cache")
def test_what_is_like_no_name_is_a_folder(root: str) -> None:
    assert resolve_root(root) == Path(root)


def test_a_cache_that_was_cleared_is_seen(cache: Path) -> None:
    assert resolve_root("someone/tiny-hubert").is_dir()
    shutil.rmtree(cache)

    with pytest.raises(NotAnEncoderError, match="cannot be fetched now"):
        resolve_root("someone/tiny-hubert")


@pytest.mark.parametrize("pickled", [False, True])
def test_what_is_fetched_is_safetensors_or_else_what_torch_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickled: bool
) -> None:
    """A hub in a folder: it gives the files that the patterns ask for."""
    hub = save_waveform_model(tmp_path / "hub", "hubert")
    (hub / "pytorch_model.bin").write_bytes(b"weights")
    (hub / "tf_model.h5").write_bytes(b"other weights")
    if pickled:
        (hub / "model.safetensors").unlink()
    here = tmp_path / "here"
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(
        name: str, *, revision: str | None, allow_patterns: list[str], local_files_only: bool
    ) -> str:
        if local_files_only and not here.is_dir():
            raise FileNotFoundError(name)
        here.mkdir(exist_ok=True)
        for file in hub.iterdir() if not local_files_only else ():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, here)
        asked.append((name, revision))
        return str(here)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)

    assert resolve_root("someone/model", "v1") == here
    weights = "pytorch_model.bin" if pickled else "model.safetensors"
    assert {file.name for file in here.iterdir()} == {
        "config.json",
        "preprocessor_config.json",
        weights,
    }
    assert set(asked) == {("someone/model", "v1")}
    # the second time from the cache
    asked.clear()
    assert resolve_root("someone/model", "v1") == here
    assert len(asked) == 1
