"""How the command line shows what an experiment would run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console

from orchestrator.capacity.resources_plan import ResourcesPlan
from orchestrator.capacity.slots import CPUS, GPU_MEMORY, GPUS, MEMORY, gibibytes
from orchestrator.plan import (
    CorpusPlan,
    EvaluationPlan,
    FoldsPlan,
    Plan,
    RecogniserPlan,
    SearchPlan,
    StudentPlan,
    UnlabelledPlan,
)
from orchestrator.progress import duration
from orchestrator.teachers_to_fit import Networks


def show_plan(console: Console, plan: Plan) -> None:
    """A plan for people: corpora, folds, sweep, evaluation, resources."""
    variant = f" (variant {plan.variant})" if plan.variant else ""
    _title(console, f"{plan.experiment}{variant}: nothing is run")
    for corpus in plan.corpora:
        _show_corpus(console, corpus)
    if plan.unlabelled is not None:
        _show_unlabelled(console, plan.unlabelled)
    _show_student(console, plan.student)
    for recogniser in plan.recognisers:
        _show_recogniser(console, recogniser)
    resources = plan.resources
    if plan.search is not None:
        _show_search(console, plan.search, resources)
    _show_evaluation(console, plan.evaluation, resources)
    _title(console, "Resources")
    _say(console, _fold_run(resources))
    _say(console, _memory(resources))
    for line in resources.memory_told:
        _say(console, line, style="red")
    if resources.unmeasured:
        _say(console, f"no times: {resources.unmeasured}")
    else:
        _say(
            console,
            "times are of students alone, from a measured update with cross-entropy by the recipe "
            "as written; teachers, recognisers, encoders, features, validation, and what "
            "meta-learning, unlabelled speech and listening to a source add are not counted",
        )


def _title(console: Console, text: str) -> None:
    console.print(text, style="bold", markup=False, highlight=False)


def _say(console: Console, text: str, *, style: str | None = None) -> None:
    console.print(f"  {text}", style=style, markup=False, highlight=False)


def _show_corpus(console: Console, corpus: CorpusPlan) -> None:
    _title(console, f"Corpus {corpus.name}")
    emotions = ", ".join(f"{name} {count}" for name, count in corpus.emotions.items())
    _say(
        console,
        f"{corpus.utterances} utterances of {corpus.mean_seconds:.1f} s on average, "
        f"{corpus.speakers} speakers; {emotions}",
    )
    _show_stored(console, corpus.stored)


def _show_unlabelled(console: Console, speech: UnlabelledPlan) -> None:
    _title(console, "Unlabelled speech")
    _say(
        console,
        ", ".join(f"{name}: {count} utterances" for name, count in speech.utterances.items()),
    )
    _show_stored(console, speech.stored)


def _show_student(console: Console, student: StudentPlan) -> None:
    _title(console, "Student")
    text = f"{student.kind}, {student.parameters:,} parameters"
    if student.receptive_seconds is not None:
        text += (
            f"; a step of its convolutions hears {student.receptive_frames} frames "
            f"({student.receptive_seconds:.2f} s)"
        )
    _say(console, text)


def _show_recogniser(console: Console, recogniser: RecogniserPlan) -> None:
    _title(console, f"Speech recogniser on {recogniser.corpus}")
    train, validation = recogniser.utterances
    _say(
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
        _say(console, f"{what}: {_there(there)} of {shards} shards are in the store")


def _there(count: int | None) -> str:
    return "an unknown number (the store is remote)" if count is None else str(count)


def _show_search(console: Console, search: SearchPlan, resources: ResourcesPlan) -> None:
    _title(console, "Sweep")
    left = max(0, search.trials - search.ended)
    folds = sum(one.folds for one in search.folds)
    seeds = search.folds[0].seeds
    _say(
        console,
        f"{search.trials} trials ({search.sampler}, by {search.metric} on validation) x "
        f"{folds} folds x {_seeds(seeds)} = {search.fold_runs} fold runs",
    )
    if search.ended:
        _say(console, f"{search.ended} trials have ended, so {left} are left")
    _show_folds(console, search.folds)
    _show_space(console, search)
    _show_networks(console, search.networks)
    if search.student_seconds is not None:
        seconds = search.student_seconds * left / search.trials
        _say(console, _time(seconds, resources, most=left))


def _show_space(console: Console, search: SearchPlan) -> None:
    _say(console, f"space {search.space}:")
    for one in search.parameters:
        drawn = "" if one.share == 1.0 else f" (conditional: in {100 * one.share:.0f} % of draws)"
        _say(console, f"  {one.name}: {one.range}{drawn}")
    if search.impossible:
        _say(
            console,
            f"{100 * search.impossible:.0f} % of random draws make no valid recipe, and such a "
            f"trial fails; the first: {search.reason}",
            style="red",
        )


def _show_evaluation(
    console: Console, evaluation: EvaluationPlan, resources: ResourcesPlan
) -> None:
    _title(console, "Evaluation")
    systems = len(evaluation.fold_runs)
    runs = sum(evaluation.fold_runs.values())
    if not runs:
        _say(console, "the recipe has none of the systems asked for", style="red")
        return
    folds = sum(one.folds for one in evaluation.folds)
    _say(
        console,
        f"{systems} systems ({', '.join(evaluation.fold_runs)}) x {folds} folds x "
        f"{_seeds(evaluation.folds[0].seeds)} = {runs} fold runs",
    )
    if evaluation.selection != "fixed":
        _say(
            console,
            f"selection is {evaluation.selection}: the best trial's recipe may need other teachers "
            "and another time than the recipe as written, which is counted here",
        )
    _show_folds(console, evaluation.folds)
    _show_networks(console, evaluation.networks)
    if evaluation.student_seconds is not None:
        _say(console, _time(evaluation.student_seconds, resources, most=runs))


def _show_folds(console: Console, folds: Iterable[FoldsPlan]) -> None:
    for one in folds:
        _say(console, f"protocol: {one.protocol}")
        sizes = ", ".join(
            f"{role} {few if few == many else f'{few} to {many}'}"
            for role, (few, many) in one.sizes.items()
            if many
        )
        counted = f"{one.folds} fold{'' if one.folds == 1 else 's'}"
        _say(console, f"{counted} of {one.corpus}, utterances in each: {sizes}")


def _show_networks(console: Console, networks: Networks) -> None:
    most = "at most " if networks.varied else ""
    if networks.teachers:
        beside = (
            f" and {networks.inner_teachers} of inner speaker folds"
            if networks.inner_teachers
            else ""
        )
        stored = "" if networks.present is None else f"; {networks.present} are in the store"
        varied = ", since the space changes the teacher" if networks.varied else ""
        _say(console, f"teachers: {most}{networks.teachers}{beside}{varied}{stored}")
    else:
        _say(console, "teachers: none")
    if networks.inner_students:
        _say(
            console,
            f"students of inner speaker folds, for cross-validated difficulty: at most "
            f"{networks.inner_students}",
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
        return f"{asks}, which this machine does not have; a cluster is needed"
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


def _time(seconds: float, resources: ResourcesPlan, *, most: int) -> str:
    text = f"students alone: at least about {duration(seconds)} one after another"
    at_once = min(resources.at_once or 1, most)
    return text if at_once <= 1 else f"{text}, {duration(seconds / at_once)} with {at_once} at once"


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"
