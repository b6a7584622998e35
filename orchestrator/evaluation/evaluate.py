"""The evaluation: every fold and seed of one recipe, test unsealed once, results in the store."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

import orchestrator
from orchestrator.canonical import digest
from orchestrator.capacity.memory_probe import MemoryProbe
from orchestrator.cluster_session import connect, fold_runs_at_once, packed, shards_on_ray
from orchestrator.errors import ExperimentError, UnderstudyError
from orchestrator.evaluation.provenance import sources_digest
from orchestrator.evaluation.result import (
    ablation_changes,
    multiply_accumulates_of,
    result_of,
)
from orchestrator.evaluation.sealed import Job, Scored, Unsealed, evaluation_jobs, unseal
from orchestrator.evaluation.selection import refuse_other_corpora, selected_briefly
from orchestrator.evaluation.system_runs import end_runs, show_systems, start_runs, tell_test
from orchestrator.evaluation.workers import Failed, run_jobs
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import resolved
from orchestrator.preparation import (
    PlannedFold,
    Prepared,
    compute_inputs,
    fingerprints_of,
    own_protocols,
    plan_folds,
    read_corpora,
)
from orchestrator.progress import Progress
from orchestrator.recorded import ended_by_errors
from orchestrator.run_origin import origin_tags
from orchestrator.store import Store
from orchestrator.store.use import using
from orchestrator.sweep.belonging import recipe_and_features
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.service import start_tracking
from orchestrator.tracking.tree import RunTree
from orchestrator.training.inputs import plain


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
    pictures: tuple[str, ...] = ()
    """Names of the pictures of attention among its files."""


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
    absolute_uri(experiment.tracking.uri)  # raises where runs can never be kept
    folder = result_folder(experiment)
    store = Store(experiment.store, used_by=folder.removeprefix("results/"))
    settings = experiment.evaluate
    with (
        Progress(f"evaluation {experiment.name}", console) as progress,
        contextlib.ExitStack() as stack,
    ):
        prepared = read_corpora(experiment, store, progress=progress.hearing)
        planned = plan_folds(
            experiment,
            prepared,
            protocol=experiment.protocol,
            seeds=settings.seeds,
            only=settings.folds,
        )
        fingerprints = fingerprints_of(prepared)
        refuse_other_corpora(experiment, fingerprints)
        jobs = evaluation_jobs(experiment, planned)
        if not jobs:
            raise ExperimentError(
                f"evaluate.systems {list(settings.systems)}: the recipe has none of them; "
                "add a teacher or a source and an objective that listens to it, or ask for "
                "student-alone"
            )
        protocols = {
            entry.corpus.name: entry.describe(experiment.protocol)
            + _some_folds(settings.folds, entry, planned)
            + selected_briefly(experiment)
            for entry in prepared
            if any(fold.prepared is entry for fold in planned)
        }
        stack.enter_context(using(store, command=f"the evaluation {experiment.name!r}"))
        tree = RunTree(store, experiment.name, _root(experiment, fingerprints))
        probe = MemoryProbe.of(experiment, prepared, memory=store.folder)
        stack.enter_context(probe)
        progress.enter("starting Ray")
        connect(experiment.resources)
        fold_runs_at_once(experiment.resources)  # raises where not one fits
        tracking = start_tracking(
            store.uri, uri=experiment.tracking.uri, experiment=experiment.name, prefix=tree.prefix
        )
        if tracking.problem:
            progress.note(f"{tracking.problem}; going on, what is recorded is kept and sent later")
        tags = origin_tags(prepared, protocols=protocols.values(), seeds=settings.seeds)
        with ended_by_errors(tree.journal(), tracking):
            top = start_runs(
                tree, experiment, prepared, systems={job.system for job in jobs}, tags=tags
            )
            compute_inputs(
                experiment,
                prepared,
                store,
                run_shards=shards_on_ray(experiment.resources, progress),
                tree=tree,
            )
            # before the fold runs: a submitted job's sources lie in a folder that Ray manages, and
            # are not sure to be there when the last worker has gone
            code = {"version": orchestrator.__version__, "sources": sources_digest()}
            macs = multiply_accumulates_of(experiment, planned, store)
            slots = packed(experiment.resources, probe, progress)
            jobs = [replace(job, task=replace(job.task, memory=slots.memory)) for job in jobs]
            progress.enter("fold runs", fold_runs=len(jobs))
            ended = run_jobs(
                jobs,
                store=store,
                tree=tree,
                resources=experiment.resources,
                slots=slots,
                lost=lambda job: progress.note(
                    f"{_title(job)}: its process was lost; another goes on from the last checkpoint"
                ),
            )
            done = _unsealed(ended, jobs, planned, tree=tree, progress=progress)
            result = result_of(
                experiment,
                done,
                planned,
                protocols,
                fingerprints,
                code=code,
                macs=macs,
            )
            sources = next((entry.sources for entry in prepared if entry.sources), None)
            if sources is not None:
                result["recognisers"] = sources.quality(store)
            _write(store, folder, result)
            pictures = {
                f"{scored.job.task.corpus}-attention-{scored.job.system}.png": scored.picture
                for scored, _ in done
                if scored.picture is not None
            }
            for name, picture in sorted(pictures.items()):
                store.write_bytes(f"{folder}/{name}", picture)
            store.noted_all()
            progress.enter("pictures and the best student")
            show_systems(tree, top, experiment, done, result, note=progress.note)
            end_runs(tree, top, done, result)
        progress.enter("sending runs to MLflow")
        pending = tracking.close(timeout=60.0)
        if tracking.refused:
            progress.note(tracking.refused)
    return EvaluationOutcome(
        result=result,
        folder=folder,
        computed=sum(not scored.reused for scored, _ in done),
        reused=sum(scored.reused for scored, _ in done),
        pending=pending,
        pictures=tuple(sorted(pictures)),
    )


def _some_folds(folds: Sequence[str], prepared: Prepared, planned: Sequence[PlannedFold]) -> str:
    """What the protocol string adds where only some folds are evaluated."""
    if not folds:
        return ""
    own = {entry.fold.name: entry.fold for entry in planned if entry.prepared is prepared}
    tested = sum(len(fold.test) for fold in own.values())
    return f" | some folds only: {', '.join(own)} | tested: n={tested}"


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
            progress.failure(f"{_title(one.job)}: {one.reason}", dropped=1)
            continue
        task = one.job.task
        unsealed = unseal(one, places[task.corpus, task.fold, task.seed])
        done.append((one, unsealed))
        tell_test(tree, one, unsealed)
        progress.fold_run(reused=one.reused)
        for note in one.notes:
            progress.note(f"{_title(one.job)}: {note}")
    if failures:
        for system in sorted({job.system for job in jobs}):
            tree.journal(system).end("FAILED", reason="a fold run failed")
        named = "; ".join(f"{_title(failed.job)}: {failed.reason}" for failed in failures[:3])
        more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
        raise EvaluationError(
            f"{len(failures)} of {len(jobs)} fold runs failed, so there is no result: "
            f"{named}{more}. What is done ({len(done)}) is kept; the same command goes on from it"
        )
    return done


def _title(job: Job) -> str:
    system, corpus, fold, seed = job.place
    return f"{system}, {corpus}, {fold}, seed {seed}"


def _root(experiment: Experiment, fingerprints: dict[str, str]) -> str:
    """Its name in the run tree: the same recipe on the same corpora is the same run."""
    whole = resolved(experiment) | recipe_and_features(experiment)
    what = {key: whole[key] for key in ("recipe", "features", "protocol", "variant")}
    what["evaluate"] = plain(experiment.evaluate)
    if any("recipe.source" in changes for changes in ablation_changes(experiment).values()):
        # wherever the encoders of ablations lie
        what["evaluate"] |= {"ablations": ablation_changes(experiment)}
    if experiment.selected is not None and experiment.selected.choices:
        chosen = experiment.selected.choices
        what["choices"] = {place: choice.overrides for place, choice in chosen.items()}
    own = own_protocols(experiment)
    return f"evaluation-{digest([what | {'protocols': own}, fingerprints])[:12]}"


def _write(store: Store, folder: str, result: dict[str, Any]) -> None:
    text = json.dumps(result, indent=1, sort_keys=True) + "\n"
    store.write_bytes(f"{folder}/evaluation.json", text.encode())
    for name in ("rows", "speakers"):
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(result[name][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(result[name])
        store.write_bytes(f"{folder}/{name}.csv", buffer.getvalue().encode())
