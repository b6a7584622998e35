"""Understudy's orchestrator: from an experiment file to sealed-test scores in MLflow."""

from __future__ import annotations

__version__ = "0.1.0"
