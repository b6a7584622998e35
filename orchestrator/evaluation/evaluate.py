"""The evaluation: every fold and seed of one recipe, test unsealed once, results in the store."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

import orchestrator
from models.macs import multiply_accumulates
from orchestrator.canonical import digest
from orchestrator.cluster_session import connect, fold_runs_at_once, shards_on_ray
from orchestrator.errors import ExperimentError, UnderstudyError
from orchestrator.evaluation.metrics import METRICS, score_row, scores, speaker_rows
from orchestrator.evaluation.provenance import sources_digest
from orchestrator.evaluation.sealed import Job, Scored, Unsealed, evaluation_jobs, unseal
from orchestrator.evaluation.selection import validated_on
from orchestrator.evaluation.statistics import differences, summarise
from orchestrator.evaluation.workers import Failed, run_jobs
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import resolved
from orchestrator.experiment.recipe import VerticalVitTeacher
from orchestrator.features import PackedFrames
from orchestrator.preparation import PlannedFold, compute_inputs, plan_folds, read_corpora
from orchestrator.progress import Progress
from orchestrator.recorded import ended_by_errors
from orchestrator.store import Store
from orchestrator.sweep.study import recipe_and_features
from orchestrator.tracking.service import start_tracking
from orchestrator.tracking.tree import RunTree
from orchestrator.training.networks import build_network


class EvaluationError(UnderstudyError):
    """A fold run of an evaluation failed, so there is no result: never a mean over the others."""


@dataclass(frozen=True)
class EvaluationOutcome:
    """An evaluation's result and what this call of it computed."""

    result: dict[str, Any]
    folder: str
    """Where its files are, relative to the store."""
    computed: int
    reused: int
    pending: int
    """Journal segments that have not reached MLflow."""


def result_folder(experiment: Experiment) -> str:
    """Where the evaluation's files go in the store."""
    name = experiment.name
    if experiment.variant:
        name += f"@{experiment.variant}"
    if experiment.evaluate.folds:
        name += ".some-folds"
    return f"results/{name}"


def run_evaluation(experiment: Experiment, *, console: Console) -> EvaluationOutcome:
    """Train and score every system on every fold and seed; what the store has is not done again.

    Raises:
        ExperimentError: there is nothing to evaluate.
        EvaluationError: a fold run failed; names each and why. The others are kept in the store.
        CorpusError, ProtocolError, PretrainedError: the input cannot be used.
    """
    store = Store(experiment.store)
    settings = experiment.evaluate
    with Progress(f"evaluation {experiment.name}", console) as progress:
        prepared = read_corpora(experiment, store)
        planned = plan_folds(
            experiment,
            prepared,
            protocol=experiment.protocol,
            seeds=settings.seeds,
            only=settings.folds,
        )
        jobs = evaluation_jobs(experiment, planned)
        if not jobs:
            raise ExperimentError(
                f"evaluate.systems {list(settings.systems)}: the recipe has none of them; "
                "add a teacher and an objective that listens to it, or ask for student-alone"
            )
        protocols = {entry.corpus.name: entry.describe(experiment.protocol) for entry in prepared}
        fingerprints = {entry.corpus.name: entry.corpus.fingerprint for entry in prepared}
        tree = RunTree(store, experiment.name, _root(experiment, fingerprints))
        progress.enter("starting Ray")
        connect(experiment.resources)
        at_once = fold_runs_at_once(experiment.resources)
        tracking = start_tracking(
            store.uri, uri=experiment.tracking.uri, experiment=experiment.name, prefix=tree.prefix
        )
        top = _start_runs(
            tree, experiment, protocols, fingerprints, jobs_of={j.system for j in jobs}
        )
        with ended_by_errors(top, tracking):
            compute_inputs(
                experiment,
                prepared,
                store,
                run_shards=shards_on_ray(experiment.resources, progress),
            )
            # before the fold runs: a submitted job's sources lie in a folder that Ray manages, and
            # are not sure to be there when the last worker has gone
            code = {"version": orchestrator.__version__, "sources": sources_digest()}
            macs = _macs(experiment, planned, store)
            progress.enter("fold runs", fold_runs=len(jobs))
            ended = run_jobs(
                jobs, store=store, tree=tree, resources=experiment.resources, at_once=at_once
            )
            done = _unsealed(ended, jobs, planned, tree=tree, progress=progress)
            result = _result(
                experiment,
                done,
                planned,
                protocols,
                fingerprints,
                code=code,
                macs=macs,
            )
            folder = result_folder(experiment)
            _write(store, folder, result)
        _end_runs(tree, top, result)
        pending = tracking.close(timeout=60.0)
    return EvaluationOutcome(
        result=result,
        folder=folder,
        computed=sum(not scored.reused for scored, _ in done),
        reused=sum(scored.reused for scored, _ in done),
        pending=pending,
    )


def _unsealed(
    ended: Iterable[Scored | Failed],
    jobs: Sequence[Job],
    planned: Sequence[PlannedFold],
    *,
    tree: RunTree,
    progress: Progress,
) -> list[tuple[Scored, Unsealed]]:
    """Every job with its test labels, as the jobs end.

    Raises:
        EvaluationError: when all have ended and some have failed.
    """
    places = {(entry.task.corpus, entry.task.fold, entry.task.seed): entry for entry in planned}
    done: list[tuple[Scored, Unsealed]] = []
    failures: list[Failed] = []
    for one in ended:
        if isinstance(one, Failed):
            failures.append(one)
            tree.journal(*one.job.place).end("FAILED", reason=one.reason)
            progress.failure(f"{_title(one)}: {one.reason}", dropped=1)
            continue
        task = one.job.task
        unsealed = unseal(one, places[task.corpus, task.fold, task.seed])
        done.append((one, unsealed))
        _journal_test(tree, one, unsealed)
        progress.fold_run(reused=one.reused)
    if failures:
        for system in sorted({job.system for job in jobs}):
            tree.journal(system).end("FAILED", reason="a fold run failed")
        named = "; ".join(f"{_title(failed)}: {failed.reason}" for failed in failures[:3])
        more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
        raise EvaluationError(
            f"{len(failures)} of {len(jobs)} fold runs failed, so there is no result: "
            f"{named}{more}. The {len(done)} others are kept; the same command goes on from them"
        )
    return done


def _title(failed: Failed) -> str:
    system, corpus, fold, seed = failed.job.place
    return f"{system}, {corpus}, {fold}, seed {seed}"


def _root(experiment: Experiment, fingerprints: dict[str, str]) -> str:
    """Its name in the run tree: the same recipe on the same corpora is the same run."""
    plain = resolved(experiment) | recipe_and_features(experiment)
    what = {key: plain[key] for key in ("recipe", "features", "protocol", "evaluate", "variant")}
    return f"evaluation-{digest([what, fingerprints])[:12]}"


def _start_runs(
    tree: RunTree,
    experiment: Experiment,
    protocols: dict[str, str],
    fingerprints: dict[str, str],
    *,
    jobs_of: set[str],
) -> Any:
    top = tree.journal()
    tags = {
        "understudy.kind": "evaluation",
        "understudy.selection": experiment.evaluate.selection,
        "understudy.protocol": "; ".join(protocols.values()),
        "understudy.corpus": "; ".join(f"{k} {v}" for k, v in fingerprints.items()),
        "understudy.version": orchestrator.__version__,
    }
    variant = f" ({experiment.variant})" if experiment.variant else ""
    plain = resolved(experiment)
    top.start(
        name=f"evaluation {experiment.name}{variant}",
        parent=None,
        params={"recipe": plain["recipe"], "features": plain["features"]},
        tags=tags,
    )
    for system in sorted(jobs_of):
        tree.journal(system).start(
            name=system, parent=tree.key(), params={}, tags=tags | {"understudy.kind": "system"}
        )
    return top


def _journal_test(tree: RunTree, scored: Scored, unsealed: Unsealed) -> None:
    classes = scored.logits.shape[1]
    found = scores(unsealed.labels, unsealed.predictions, classes)
    journal = tree.journal(*scored.job.place)
    journal.metrics(
        {f"test/{name}": getattr(found, name) for name in METRICS} | {"test/n": float(found.n)},
        step=scored.epoch,
    )
    journal.end("FINISHED")


def _end_runs(tree: RunTree, top: Any, result: dict[str, Any]) -> None:
    for entry in result["summary"]:
        journal = tree.journal(entry["system"])
        values = {
            f"test/{metric}_{what}": entry[f"{metric}_{what}"]
            for metric in METRICS
            for what in ("mean", "std")
            if entry[f"{metric}_{what}"] is not None
        }
        journal.metrics({f"{entry['corpus']}/{k}": v for k, v in values.items()}, step=0)
        journal.end("FINISHED")
        top.metrics(
            {f"{entry['corpus']}/{entry['system']}/{k}": v for k, v in values.items()}, step=0
        )
    top.end("FINISHED")


def _result(
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
        "selected": None if experiment.selected is None else experiment.selected.model_dump(),
        "code": code,
        "recipe": recipe_and_features(experiment)["recipe"],
        "seeds": list(experiment.evaluate.seeds),
        "rows": rows,
        "speakers": speakers,
        "confusion": confusion,
        "summary": summarise(rows, macs=macs),
        "units": units,
        "validated_on": {
            name: validated_on(experiment, entry, tested[name]) for name, entry in prepared.items()
        },
        "differences": _differences(speakers, by_dialogue),
        "not_used": {name: entry.corpus.not_used for name, entry in prepared.items()},
        "set_aside": {
            name: [dataclasses.asdict(problem) for problem in entry.corpus.set_aside]
            for name, entry in prepared.items()
        },
        "accepted": {
            name: [dataclasses.asdict(problem) for problem in entry.corpus.accepted]
            for name, entry in prepared.items()
        },
        "dropped": {
            name: {
                entry.task.fold: len(entry.fold.dropped)
                for entry in planned
                if entry.task.corpus == name and entry.task.seed == experiment.evaluate.seeds[0]
            }
            for name in prepared
            if experiment.protocol.text_disjoint
        },
    }


def _differences(
    speakers: list[dict[str, object]], by_dialogue: dict[str, list[dict[str, object]]]
) -> list[dict[str, Any]]:
    """Per speaker, or per dialogue: of these accuracy only, since one holds few emotions."""
    found = differences([row for row in speakers if row["corpus"] not in by_dialogue])
    for rows in by_dialogue.values():
        found += differences(rows, unit="dialogue", metrics=("accuracy",))
    return found


def _macs(
    experiment: Experiment, planned: list[PlannedFold], store: Store
) -> dict[tuple[str, str], int]:
    """Multiply-accumulates of an utterance of the corpus' mean length; not of frozen encoders."""
    found: dict[tuple[str, str], int] = {}
    for entry in {e.task.corpus: e for e in planned}.values():
        task = entry.task
        pack = PackedFrames.open(store, task.frames)
        frames = round(float(np.mean([pack.length(name) for name in pack.ids])))
        sections = {"student-alone": task.recipe.student, "distilled": task.recipe.student}
        if isinstance(task.recipe.teacher, VerticalVitTeacher):
            sections["teacher"] = task.recipe.teacher
        for system, section in sections.items():
            network = build_network(section, features=task.features, classes=task.classes)
            found[task.corpus, system] = multiply_accumulates(
                network, frames=frames, width=pack.width
            )
    return found


def _write(store: Store, folder: str, result: dict[str, Any]) -> None:
    text = json.dumps(result, indent=1, sort_keys=True) + "\n"
    store.write_bytes(f"{folder}/evaluation.json", text.encode())
    for name in ("rows", "speakers"):
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(result[name][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(result[name])
        store.write_bytes(f"{folder}/{name}.csv", buffer.getvalue().encode())
