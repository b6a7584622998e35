"""Students that learn attention: a labelled corpus beside tones, a recogniser and an encoder."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.corpora import Corpus
from orchestrator.corpus_inputs import Inputs, stages
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.preparation import Prepared, prepare
from orchestrator.store import Store
from orchestrator.training.task import FoldTask
from tests import tones
from tests.models.encoders import save_whisper
from tests.training.tiny import CROWD, fold_of

STUDENT: dict[str, Any] = {"kind": "satn", **tones.NETWORK}
SOURCE: dict[str, Any] = {
    "kind": "recogniser",
    "network": tones.NETWORK,
    "units": "words",
    "training": tones.TRAINING,
}
"""As wide as the student and with as many heads."""
TRAINING: dict[str, Any] = {"epochs": 4, "batch_size": 8, "lr": 5e-3}


@dataclass(frozen=True)
class AttendingHome:
    """Everything that fold runs need, made once; every test gets a store of its own."""

    source: Path
    sections: Mapping[str, Any]
    """Of the experiment file."""
    encoder: Mapping[str, Any]
    """The section of the pretrained source."""
    prepared: Prepared

    @classmethod
    def build(cls, folder: Path) -> AttendingHome:
        """Extract features, run the encoder, and fit the recogniser."""
        sections = {
            "name": "attending",
            "corpora": [
                {"kind": "synthetic", "sessions": 4, "utterances_per_emotion": 1},
                CROWD,
                tones.section(tones.write_tones(folder / "tones")),
            ],
            "protocol": {
                "kind": "leave-one-speaker-out",
                "validation_speakers": 2,
                "held_speakers": 1,
            },
            "features": tones.FEATURES,
            "recipe": {
                "student": STUDENT,
                "source": SOURCE,
                "objectives": {"cross_entropy": 1.0, "attention_transfer": 1.0},
                "training": TRAINING,
            },
        }
        root = save_whisper(folder / "encoder", seconds=2)
        encoder = {"kind": "pretrained", "root": str(root), "layers": [1, 2]}
        both = {"encoder": {"recipe.source": encoder}}
        wanted = experiment_of(sections, {"recipe.unlabelled": {"kind": "mixed"}})
        ablated = {**wanted.evaluate.model_dump(), "ablations": both}
        wanted = Experiment.model_validate({**wanted.model_dump(), "evaluate": ablated})
        (prepared,) = prepare(wanted, Store(folder / "store"))
        return cls(folder / "store", sections, encoder, prepared)

    def store(self, folder: Path) -> Store:
        """A new store with what was made, and nothing else."""
        shutil.copytree(self.source / "artifacts", folder / "artifacts")
        return Store(folder)

    def experiment(self, **recipe: Any) -> Experiment:
        """The experiment with other values of the recipe, by dotted name, dots as ``__``."""
        return experiment_of(
            self.sections, {f"recipe.{k.replace('__', '.')}": v for k, v in recipe.items()}
        )

    def task(self, name: str = "speaker=s1m", *, seed: int = 0, **recipe: Any) -> FoldTask:
        """A fold run; ``recipe`` as for :meth:`experiment`."""
        return fold_of(self.experiment(**recipe), self.prepared, name, seed=seed).task

    def task_on(self, corpus: Corpus, store: Store, **recipe: Any) -> FoldTask:
        """The same on a corpus that no section describes, whose inputs go into ``store``."""
        wanted = self.experiment(**recipe)
        for _, shards in stages(corpus, wanted, store):
            for shard in shards:
                shard()
        inputs = Inputs.of(corpus, wanted, store)
        there = dataclasses.replace(
            self.prepared, corpus=corpus, frames=inputs.frames, attended=inputs.attended
        )
        return fold_of(wanted, there).task


def experiment_of(sections: Mapping[str, Any], changes: Mapping[str, Any]) -> Experiment:
    """An experiment with single values changed."""
    return override_recipe(Experiment.model_validate(sections), changes)
