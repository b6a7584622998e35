"""Metrics, statistics, the sealed evaluation and its report."""

from __future__ import annotations
