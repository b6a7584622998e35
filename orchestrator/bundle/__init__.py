"""A student to take away: a folder that needs no store, no teacher and no experiment file."""

from __future__ import annotations
