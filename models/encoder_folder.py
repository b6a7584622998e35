"""What can be seen of an encoder's folder without loading it."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

WAVEFORM_MODELS = (
    "wav2vec2",
    "hubert",
    "wavlm",
    "data2vec-audio",
    "unispeech",
    "unispeech-sat",
    "wav2vec2-conformer",
)
"""``model_type`` of encoders that listen to the waveform through strided convolutions."""


class NotAnEncoderError(ValueError):
    """A folder is no speech encoder that can be loaded; the message says what is missing."""


def weights_hash(root: str | Path) -> str:
    """Hash (sha256, hex) what the numbers of an encoder depend on: weights, config, preprocessor.

    A file is read once in a process, and again when its size or time of change is another.

    Args:
        root: the encoder's folder.

    Raises:
        NotAnEncoderError: as ``load_encoder``, for what can be seen without loading.
    """
    root = Path(root)
    model_type(root)
    total = hashlib.sha256()
    for path in (root / "config.json", root / "preprocessor_config.json", *weight_files(root)):
        seen = path.stat()
        total.update(path.name.encode() + b"\0")
        total.update(_file_hash(path.absolute(), seen.st_size, seen.st_mtime_ns))
    return total.hexdigest()


@lru_cache(maxsize=64)
def _file_hash(path: Path, size: int, changed: int) -> bytes:
    """The hash of a file's bytes; ``size`` and ``changed`` only tell a changed file from itself."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def sample_rate(root: str | Path) -> int:
    """Hz of the waveforms that the encoder in ``root`` expects.

    Raises:
        NotAnEncoderError: as ``load_encoder``, for what can be seen without loading.
    """
    root = Path(root)
    model_type(root)
    # where the file does not say, transformers takes 16 kHz for all of these kinds
    return int(_read(root / "preprocessor_config.json").get("sampling_rate", 16000))


def block_count(root: str | Path) -> int:
    """Transformer blocks of the encoder in ``root``.

    Raises:
        NotAnEncoderError: as ``load_encoder``, for what can be seen without loading.
    """
    root = Path(root)
    key = "encoder_layers" if model_type(root) == "whisper" else "num_hidden_layers"
    count = _read(root / "config.json").get(key)
    if not isinstance(count, int):
        raise NotAnEncoderError(f"{root / 'config.json'}: {key} is {count!r}, no number of blocks")
    return count


def refuse_fine_tuning(kind: str) -> None:
    """Raise if encoders of ``kind`` can only be used frozen.

    Raises:
        NotAnEncoderError: it is a conformer.
    """
    if kind == "wav2vec2-conformer":
        raise NotAnEncoderError(
            f"a {kind} encoder can be used frozen but not fine-tuned: the convolutions in its "
            "blocks would hear the padding of a batch; use mode frozen, or another encoder"
        )


def model_type(root: Path) -> str:
    """Check the folder's files and return the kind of model it says it is."""
    if not root.is_dir():
        raise NotAnEncoderError(f"{root}: there is no such folder")
    for name in ("config.json", "preprocessor_config.json"):
        if not (root / name).is_file():
            raise NotAnEncoderError(
                f"{root}: holds no {name}; give a folder as save_pretrained writes it, "
                "with config.json, preprocessor_config.json and the weights"
            )
    kind = _read(root / "config.json").get("model_type")
    if kind != "whisper" and kind not in WAVEFORM_MODELS:
        known = ", ".join(("whisper", *WAVEFORM_MODELS))
        raise NotAnEncoderError(
            f"{root / 'config.json'}: model_type is {kind!r}, no speech encoder known here "
            f"(known: {known})"
        )
    if not weight_files(root):
        raise NotAnEncoderError(
            f"{root}: holds no weights (model.safetensors or pytorch_model.bin)"
        )
    return str(kind)


def weight_files(root: Path) -> list[Path]:
    """The weight files that ``from_pretrained`` reads: safetensors where there are any."""
    return sorted(root.glob("model*.safetensors")) or sorted(root.glob("pytorch_model*.bin"))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise NotAnEncoderError(f"{path}: is not JSON ({error})") from error
    return found if isinstance(found, dict) else {}
