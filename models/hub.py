"""Encoders by their name on the Hugging Face hub: the folder that holds a copy."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from models.encoder_folder import NotAnEncoderError, weight_files

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""``owner/name``."""
FILES = ("config.json", "preprocessor_config.json")
SAFE = ("model*.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


def resolve_root(root: str | Path, revision: str | None = None) -> Path:
    """The local folder of an encoder, fetched from the hub if need be.

    A folder of that name comes first, then the hub's cache on this machine (``HF_HUB_CACHE``), and
    the network last; so what a branch held when it was fetched is what is used until the cache is
    cleared. Of a model only configuration, preprocessor and weights are fetched: safetensors, and
    where there are none the weights that torch saved.

    Args:
        root: a folder, or ``owner/name`` of a model on the hub.
        revision: branch, tag or commit on the hub; default: its main branch.

    Returns:
        The folder; or ``root`` itself where it is neither a folder nor like a model's name, for
        ``load_encoder`` to say what is missing.

    Raises:
        NotAnEncoderError: the model is not in the cache and cannot be fetched, or ``revision`` is
            given with a folder.
    """
    folder = Path(root)
    if folder.is_dir():
        if revision is not None:
            raise NotAnEncoderError(
                f"{root}: is a folder here, so revision {revision!r} means nothing; remove it, or "
                "move the folder to use the model of that name on the hub"
            )
        return folder
    if not NAME.fullmatch(str(root)):
        return folder
    name = str(root)
    # no network, no such model, not allowed: the hub, its transport and the disk each have errors
    with contextlib.suppress(Exception):
        folder = _snapshot(name, revision, (*FILES, *SAFE, *PICKLED), cached=True)
        if _whole(folder):
            return folder
    try:
        folder = _snapshot(name, revision, (*FILES, *SAFE), cached=False)
        if not weight_files(folder):
            folder = _snapshot(name, revision, (*FILES, *PICKLED), cached=False)
    except Exception as error:
        raise _unreachable(name, revision, error) from error
    if not _whole(folder):
        raise NotAnEncoderError(
            f"{name}: the model of that name on the Hugging Face hub, as far as this machine has "
            f"it, lacks {FILES[0]}, {FILES[1]} or weights; fetch it where there is a network with "
            f"'{_download(name, revision)}', or choose another"
        )
    return folder


def _whole(folder: Path) -> bool:
    """Whether the cache has all of a model that an encoder needs; other programs keep parts."""
    return all((folder / name).is_file() for name in FILES) and bool(weight_files(folder))


def _snapshot(name: str, revision: str | None, patterns: tuple[str, ...], *, cached: bool) -> Path:
    from huggingface_hub import snapshot_download

    found = snapshot_download(
        name, revision=revision, allow_patterns=list(patterns), local_files_only=cached
    )
    return Path(found)


def _download(name: str, revision: str | None) -> str:
    return f"hf download {name}" + (f" --revision {revision}" if revision else "")


def _unreachable(name: str, revision: str | None, error: Exception) -> NotAnEncoderError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return NotAnEncoderError(
        f"{name}: there is no such folder, this machine's cache does not hold the model of that "
        f"name on the Hugging Face hub, and it cannot be fetched now ({reason[0]}); fetch it "
        f"beforehand where there is a network with '{_download(name, revision)}', or give a folder"
    )
