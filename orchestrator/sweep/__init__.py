"""The search: Tune over trials, an Optuna study as its memory."""

from __future__ import annotations
