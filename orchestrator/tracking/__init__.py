"""Everything that reaches MLflow: journals written by runs, and the one writer that replays them.

A fold run anywhere writes a :class:`Journal` into the store and never meets MLflow. On the driver's
node one actor (:func:`start_tracking`) tails the journals and replays them through a
:class:`Writer`. MLflow is imported only when it is used, and in no other room.
"""

from __future__ import annotations

from orchestrator.tracking.dashboard import dashboard_command, run_dashboard
from orchestrator.tracking.journal import Journal, run_key
from orchestrator.tracking.service import Tracking, start_tracking
from orchestrator.tracking.writer import Writer

__all__ = [
    "Journal",
    "Tracking",
    "Writer",
    "dashboard_command",
    "run_dashboard",
    "run_key",
    "start_tracking",
]
