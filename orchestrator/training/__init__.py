"""The fold run: teacher, knowledge, student, and where they train."""

from __future__ import annotations
