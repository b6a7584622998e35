"""The experiment file: one pydantic model a section, and the only place where defaults live."""

from __future__ import annotations

from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.loading import load_experiment
from orchestrator.experiment.recipe import Recipe

__all__ = ["Experiment", "Recipe", "load_experiment"]
