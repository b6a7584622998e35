"""The ``features`` section: what students (and spectrogram teachers) listen to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.experiment.section import Section


class LogMelFeatures(Section):
    """Log-Mel spectrogram frames by torchaudio."""

    kind: Literal["log-mel"] = "log-mel"
    bins: Annotated[int, Field(ge=8, le=256)] = 64
    deltas: Annotated[int, Field(ge=0, le=2)] = 0
    """0: static only; 1: with deltas; 2: with deltas and delta-deltas, stacked as channels."""
    sample_rate: Annotated[int, Field(ge=4000, le=48000)] = 16000
    """Hz; audio at another rate is resampled once."""
    window_seconds: Annotated[float, Field(gt=0.0, le=0.2)] = 0.025
    hop_seconds: Annotated[float, Field(gt=0.0, le=0.1)] = 0.010
    lowest_hz: Annotated[float, Field(ge=0.0)] = 20.0
    highest_hz: float | None = None
    """Default: half the sample rate."""

    @model_validator(mode="after")
    def _range(self) -> LogMelFeatures:
        top = self.sample_rate / 2 if self.highest_hz is None else self.highest_hz
        if not self.lowest_hz < top <= self.sample_rate / 2:
            raise ValueError(
                f"lowest_hz {self.lowest_hz} and highest_hz {top} must satisfy "
                f"lowest_hz < highest_hz <= sample_rate / 2 = {self.sample_rate / 2}"
            )
        return self

    @property
    def channels(self) -> int:
        """Stacked planes: static, deltas, delta-deltas."""
        return 1 + self.deltas
