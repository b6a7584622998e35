"""How long a fold run takes, what it holds of memory, and so how many there may be at once."""

from __future__ import annotations
