"""How the command line shows what an experiment would run."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from orchestrator.capacity.resources_plan import ResourcesPlan
from orchestrator.capacity.slots import CPUS, GPU_MEMORY, GPUS, MEMORY, gibibytes
from orchestrator.cli.plan_lines import (
    say,
    seeds_told,
    show_folds,
    show_networks,
    show_pruner,
    time_told,
    title,
)
from orchestrator.cli.plan_search import show_search
from orchestrator.plan import (
    CorpusPlan,
    EvaluationPlan,
    Plan,
    RecogniserPlan,
    StudentPlan,
    UnlabelledPlan,
)


def show_plan(console: Console, plan: Plan) -> None:
    """A plan for people: corpora, folds, sweep, evaluation, resources."""
    variant = f" (variant {plan.variant})" if plan.variant else ""
    title(console, f"{plan.experiment}{variant}: nothing is run")
    for corpus in plan.corpora:
        _show_corpus(console, corpus)
    if plan.unlabelled is not None:
        _show_unlabelled(console, plan.unlabelled)
    _show_student(console, plan.student)
    for recogniser in plan.recognisers:
        _show_recogniser(console, recogniser)
    resources = plan.resources
    if plan.search is not None:
        show_search(console, plan.search, resources)
    _show_evaluation(console, plan.evaluation, resources)
    title(console, "Resources")
    say(console, _fold_run(resources))
    say(console, _memory(resources))
    for line in resources.memory_told:
        say(console, line, style="red")
    if resources.unmeasured:
        say(console, f"no times: {resources.unmeasured}")
    else:
        say(
            console,
            "times are of students alone, from a measured update with cross-entropy by the recipe "
            "as written; teachers, recognisers, encoders, features, validation, the start of Ray, "
            "and what meta-learning, unlabelled speech and listening to a source add are not "
            "counted, nor that trials may have larger students or more epochs",
        )


def _show_corpus(console: Console, corpus: CorpusPlan) -> None:
    title(console, f"Corpus {corpus.name}")
    emotions = ", ".join(f"{name} {count}" for name, count in corpus.emotions.items())
    say(
        console,
        f"{corpus.utterances} utterances of {corpus.mean_seconds:.1f} s on average, "
        f"{corpus.speakers} speakers; {emotions}",
    )
    _show_stored(console, corpus.stored)


def _show_unlabelled(console: Console, speech: UnlabelledPlan) -> None:
    title(console, "Unlabelled speech")
    say(
        console,
        ", ".join(f"{name}: {count} utterances" for name, count in speech.utterances.items()),
    )
    _show_stored(console, speech.stored)


def _show_student(console: Console, student: StudentPlan) -> None:
    title(console, "Student")
    text = f"{student.kind}, {student.parameters:,} parameters"
    if student.receptive_seconds is not None:
        text += (
            f"; a step of its convolutions hears {student.receptive_frames} frames "
            f"({student.receptive_seconds:.2f} s)"
        )
    say(console, text)


def _show_recogniser(console: Console, recogniser: RecogniserPlan) -> None:
    title(console, f"Speech recogniser on {recogniser.corpus}")
    train, validation = recogniser.utterances
    say(
        console,
        f"{train} {recogniser.heard} of {len(recogniser.train)} speakers, "
        + (
            f"validation {validation} of {', '.join(recogniser.validation)}"
            if validation
            else "nobody kept apart for validation"
        )
        + f"; {recogniser.updates} updates"
        + ("; it is in the store" if recogniser.present else ""),
    )


def _show_stored(console: Console, stored: Mapping[str, tuple[int | None, int]]) -> None:
    for what, (there, shards) in stored.items():
        say(console, f"{what}: {_there(there)} of {shards} shards are in the store")


def _there(count: int | None) -> str:
    return "an unknown number (the store is remote)" if count is None else str(count)


def _show_evaluation(
    console: Console, evaluation: EvaluationPlan, resources: ResourcesPlan
) -> None:
    title(console, "Evaluation")
    systems = len(evaluation.fold_runs)
    runs = sum(evaluation.fold_runs.values())
    if not runs:
        say(console, "the recipe has none of the systems asked for", style="red")
        return
    folds = sum(one.folds for one in evaluation.folds)
    _show_selection(console, evaluation, resources)
    say(
        console,
        f"{systems} systems ({', '.join(evaluation.fold_runs)}) x {folds} folds x "
        f"{seeds_told(evaluation.folds[0].seeds)} = {runs} fold runs",
    )
    show_folds(console, evaluation.folds)
    show_networks(console, evaluation.networks)
    there, students = evaluation.students
    if students:
        say(console, f"students: {students}; {_there(there)} of them are in the store")
    if evaluation.student_seconds is not None and there != students:
        seconds = evaluation.student_seconds * (students - (there or 0)) / max(1, students)
        say(console, time_told(seconds, resources, most=students - (there or 0)))


def _show_selection(console: Console, evaluation: EvaluationPlan, resources: ResourcesPlan) -> None:
    """How the recipe comes about, before it is evaluated."""
    if evaluation.nested is not None:
        nested, cost = evaluation.nested, evaluation.nested.cost
        say(
            console,
            f"before it comes a search inside each fold: {cost.outer_folds} folds x {cost.trials} "
            f"trials x {cost.inner_folds} inner folds x {seeds_told(cost.seeds)} = at most "
            f"{cost.fold_runs} fold runs; the sweep above is no part of it",
            style="yellow",
        )
        show_pruner(console, nested.pruner, folds=f"{cost.inner_folds} inner folds")
        show_networks(console, nested.networks)
        if nested.student_seconds is not None:
            least = not nested.pruner.looks and not nested.constrained
            time = time_told(nested.student_seconds, resources, most=cost.fold_runs, least=least)
            say(console, time, style="yellow")
    elif evaluation.selection == "per-fold":
        say(console, "selection per-fold asks for no further search than the sweep above")
    if evaluation.promised:
        say(console, f"selection: {evaluation.promised}")
    if evaluation.selection != "fixed":
        say(
            console,
            f"selection is {evaluation.selection}: recipes that are chosen may need other teachers "
            "and another time than the recipe as written, which is counted here",
        )


def _fold_run(resources: ResourcesPlan) -> str:
    share = f"{resources.cpus} CPU{'' if resources.cpus == 1 else 's'}"
    if resources.gpus:
        share += f" and {resources.gpus:g} GPU"
    asks = f"a fold run asks for {share}"
    if resources.workers > 1:
        asks = f"a fold run asks for {resources.workers} x ({share})"
    if resources.at_once is None:
        return f"{asks}; as many at once as the running cluster holds"
    if not resources.at_once:
        return f"{asks}, which this machine does not have"
    verb = "decide" if resources.decides in (CPUS, GPUS) else "decides"
    return f"{asks}; {resources.at_once} at once on this machine ({resources.decides} {verb})"


def _memory(resources: ResourcesPlan) -> str:
    need = resources.need
    if need is None:
        return f"memory of a fold run: not measured; {resources.need_unmeasured}"
    whose = "a fold run" if resources.workers == 1 else "each worker of a fold run"
    text = f"{whose} needs about {gibibytes(need.host)} of memory ({need.how})"
    if MEMORY in resources.fit:
        machine = gibibytes(resources.machine_bytes)
        runs = "fold runs (workers, and who waits for them)" if resources.workers > 1 else ""
        text += f"; {resources.fit[MEMORY]} {runs} fit".replace("  ", " ")
        text += f" into this machine's {machine}"
        text += ", of which a tenth is left to the system"
    if need.gpu:
        text += f"; and about {gibibytes(need.gpu)} of a GPU's {gibibytes(need.gpu_total)}"
        if GPU_MEMORY in resources.fit:
            text += f": {resources.fit[GPU_MEMORY]} fit into this machine's"
    return text
