"""``python -m orchestrator.cli``: the command line without its entry point."""

from __future__ import annotations

from orchestrator.cli import main

main()
