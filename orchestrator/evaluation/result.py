"""The result of an evaluation: everything a reader needs, made of nothing but the inputs."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.macs import multiply_accumulates
from orchestrator.corpora import Corpus
from orchestrator.corpora.listing import Problem
from orchestrator.evaluation.metrics import score_row, scores, speaker_rows
from orchestrator.evaluation.sealed import Scored, Unsealed, recipes_by_place
from orchestrator.evaluation.selection import seen_by_sweep
from orchestrator.evaluation.statistics import differences, pairs_of, summarise
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import ablation_recipes
from orchestrator.experiment.recipe import PretrainedSource, PretrainedTeacher
from orchestrator.features import PackedFrames
from orchestrator.preparation import PlannedFold, corpora_of
from orchestrator.source_encoder import source_facts
from orchestrator.store import Store
from orchestrator.sweep.belonging import recipe_and_features
from orchestrator.training.inputs import plain
from orchestrator.training.networks import build_network


def result_of(
    experiment: Experiment,
    done: list[tuple[Scored, Unsealed]],
    planned: list[PlannedFold],
    protocols: dict[str, str],
    fingerprints: dict[str, str],
    *,
    code: dict[str, str],
    macs: dict[tuple[str, str], int],
) -> dict[str, Any]:
    """Everything a reader needs, in an order that depends on nothing but the inputs."""
    done = sorted(done, key=lambda pair: tuple(map(str, pair[0].job.place)))
    systems = list(next(iter(recipes_by_place(experiment, planned).values())))
    emotions = {entry.task.corpus: list(entry.task.emotions) for entry in planned}
    rows = []
    together: dict[tuple[str, str, int], list[Unsealed]] = defaultdict(list)
    for scored, unsealed in done:
        job = scored.job
        together[job.task.corpus, job.system, job.task.seed].append(unsealed)
        rows.append(
            score_row(
                unsealed.labels,
                unsealed.predictions,
                job.task.classes,
                corpus=job.task.corpus,
                system=job.system,
                fold=job.task.fold,
                seed=job.task.seed,
                epoch=scored.epoch,
                parameters=scored.parameters,
            )
        )
    prepared = {entry.task.corpus: entry.prepared for entry in planned}
    read = corpora_of(prepared.values())
    tested = {
        name: {i for e in planned if e.task.corpus == name for i in e.fold.test}
        for name in prepared
    }
    units = {name: entry.unit(experiment.protocol) for name, entry in prepared.items()}
    by_dialogue: dict[str, list[dict[str, object]]] = {
        name: [] for name, unit in units.items() if unit == "dialogue"
    }
    speakers: list[dict[str, object]] = []
    confusion: dict[str, dict[str, dict[str, Any]]] = {}
    for (corpus, system, seed), parts in sorted(together.items()):
        labels = np.concatenate([part.labels for part in parts])
        predictions = np.concatenate([part.predictions for part in parts])
        who = [speaker for part in parts for speaker in part.speakers]
        classes = len(emotions[corpus])
        speakers += speaker_rows(
            labels, predictions, who, classes, corpus=corpus, system=system, seed=seed
        )
        if units[corpus] == "dialogue":
            dialogues = [unit for part in parts for unit in part.units]
            by_dialogue[corpus] += speaker_rows(
                labels, predictions, dialogues, classes, corpus=corpus, system=system, seed=seed
            )
        found = scores(labels, predictions, classes).confusion
        confusion.setdefault(corpus, {}).setdefault(system, {})[str(seed)] = found.tolist()
    return {
        "experiment": experiment.name,
        "variant": experiment.variant,
        "selection": experiment.evaluate.selection,
        "protocols": protocols,
        "fingerprints": fingerprints,
        "emotions": emotions,
        "selected": None if experiment.selected is None else plain(experiment.selected),
        "code": code,
        "recipe": recipe_and_features(experiment)["recipe"],
        "ablations": ablation_changes(experiment),
        "seeds": list(experiment.evaluate.seeds),
        "rows": rows,
        "speakers": speakers,
        "confusion": confusion,
        "systems": systems,
        "summary": summarise(rows, macs=macs, order=systems),
        "units": units,
        "seen_by_sweep": {
            name: seen_by_sweep(experiment, entry, tested[name]) for name, entry in prepared.items()
        },
        "differences": _differences(
            speakers, by_dialogue, pairs=pairs_of(list(experiment.evaluate.ablations))
        ),
        "not_used": {name: corpus.not_used for name, corpus in read.items()},
        "set_aside": {
            name: [_told(problem, corpus) for problem in corpus.set_aside]
            for name, corpus in read.items()
        },
        "accepted": {
            name: [_told(problem, corpus) for problem in corpus.accepted]
            for name, corpus in read.items()
        },
        "dropped": {
            name: [
                {
                    "fold": entry.task.fold,
                    "seed": entry.task.seed,
                    "utterances": len(entry.fold.dropped),
                }
                for entry in planned
                if entry.task.corpus == name
            ]
            for name in prepared
            if prepared[name].protocol(experiment.protocol).text_disjoint
        },
    }


def ablation_changes(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """What each ablation changes, by dotted key, wherever the encoders' folders are.

    Of a source that is a pretrained encoder it has the hash of its ``weights`` in the place of
    ``root`` and ``revision``.
    """
    told: dict[str, dict[str, Any]] = experiment.evaluate.model_dump(mode="json")["ablations"]
    for name, changes in told.items():
        if another := [key for key in changes if key.startswith("recipe.source")]:
            source = ablation_recipes(experiment)[name].source
            if isinstance(source, PretrainedSource):
                for key in another:
                    del changes[key]
                changes["recipe.source"] = source_facts(source)
        # no ablation has a teacher's encoder of its own, so its place may only be said again
        changes.pop("recipe.teacher.root", None)
        if isinstance(teacher := changes.get("recipe.teacher"), Mapping):
            changes["recipe.teacher"] = {k: v for k, v in teacher.items() if k != "root"}
    return told


def _told(problem: Problem, corpus: Corpus) -> dict[str, str]:
    """A problem without the folders of this machine, so that results are the same anywhere."""
    text = problem.text
    for folder in corpus.folders:
        text = text.replace(f"{folder}{os.sep}", "")
    return {"id": problem.id, "kind": problem.kind, "text": text}


def _differences(
    speakers: list[dict[str, object]],
    by_dialogue: dict[str, list[dict[str, object]]],
    *,
    pairs: Sequence[tuple[str, str]],
) -> list[dict[str, Any]]:
    """Per speaker, or per dialogue: of these accuracy only, since one holds few emotions."""
    alone = [row for row in speakers if row["corpus"] not in by_dialogue]
    found = differences(alone, pairs=pairs)
    for rows in by_dialogue.values():
        found += differences(rows, unit="dialogue", metrics=("accuracy",), pairs=pairs)
    return found


def multiply_accumulates_of(
    experiment: Experiment, planned: list[PlannedFold], store: Store
) -> dict[tuple[str, str], int]:
    """Multiply-accumulates of an utterance of the corpus' mean length; not of frozen encoders.

    Where each fold has its own recipe, those of the largest.
    """
    found: dict[tuple[str, str], int] = {}
    tasks = {entry.place: entry.task for entry in planned}
    packs = {
        corpus: PackedFrames.open(store, task.frames)
        for corpus, task in {task.corpus: task for task in tasks.values()}.items()
    }
    frames = {
        corpus: round(float(np.mean([pack.length(name) for name in pack.ids])))
        for corpus, pack in packs.items()
    }
    known: dict[tuple[str, str], int] = {}
    for place, recipes in recipes_by_place(experiment, planned).items():
        task = tasks[place]
        for system, recipe in recipes.items():
            section = recipe.teacher if system == "teacher" else recipe.student
            if section is None or isinstance(section, PretrainedTeacher):
                continue
            same = task.corpus, section.model_dump_json()
            if same not in known:
                network = build_network(section, features=task.features, classes=task.classes)
                width = packs[task.corpus].width
                known[same] = multiply_accumulates(network, frames=frames[task.corpus], width=width)
            at = task.corpus, system
            found[at] = max(found.get(at, 0), known[same])
    return found
