"""A fold run on utterances that nobody spoke: shipped recipes timed without their corpora."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.experiment import Experiment, load_experiment
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.recipe import Recipe
from orchestrator.features import PackHandle
from orchestrator.packing import FRAMES, ArrayWriter, write_index
from orchestrator.store import Store
from orchestrator.training.task import FoldTask, Utterances

EMOTIONS = ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")


def shipped_experiment(name: str, *, overrides: Sequence[str] = ()) -> Experiment:
    """An experiment file of this checkout, its folders unset: for its recipe and sizes alone."""
    file = Path(__file__).parent.parent / "experiments" / f"{name}.yaml"
    roots = dict.fromkeys(re.findall(r"\$\{(\w+)\}", file.read_text()), "/")
    return load_experiment(str(file), overrides=list(overrides), environment=roots)


def generated_fold(
    recipe: Recipe,
    features: LogMelFeatures,
    *,
    store: Store,
    train: int,
    validation: int,
    seed: int = 0,
    **options: Any,
) -> FoldTask:
    """A fold of noise, with lengths like those of EmoDB: 1.2 to 9 seconds, 2.8 in the mean.

    Args:
        recipe: of the fold run.
        features: of the frames.
        store: gets the frames.
        train: utterances.
        validation: likewise.
        seed: of frames, lengths and labels.
        options: of the task.
    """
    draw = np.random.default_rng(seed)
    count = train + validation
    seconds = np.clip(draw.lognormal(np.log(2.6), 0.36, size=count), 1.2, 9.0)
    frames = np.maximum(1, (seconds / features.hop_seconds).astype(int))
    ids = [f"u{place:06d}" for place in range(count)]
    width = features.bins * features.channels

    def build(folder: Path) -> None:
        with ArrayWriter(folder / FRAMES, shape=(width,), dtype=np.float32) as pack:
            for length in frames.tolist():
                pack.append(draw.standard_normal((length, width), dtype=np.float32))
        write_index(folder, ids, [0, *np.cumsum(frames).tolist()])

    made = store.obtain("features", {"noise": [count, width, seed]}, build)
    labels = draw.integers(len(EMOTIONS), size=count)
    speakers = [f"s{place % 8}" for place in range(count)]

    def utterances(places: range) -> Utterances:
        return Utterances(
            ids=tuple(ids[place] for place in places),
            contents=tuple(f"{place:064x}" for place in places),
            labels=tuple(int(labels[place]) for place in places),
            speakers=tuple(speakers[place] for place in places),
        )

    return FoldTask(
        corpus="noise",
        fold="session=1",
        seed=seed,
        recipe=recipe,
        features=features,
        emotions=EMOTIONS,
        train=utterances(range(train)),
        validation=utterances(range(train, count)),
        frames=PackHandle(keys=(made.key,), identity="noise"),
        **options,
    )
