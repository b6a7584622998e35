"""What several workers of one fit cannot do together."""

from __future__ import annotations

from orchestrator.experiment.recipe import Recipe, UnlabelledMixed


def refuse_workers(recipe: Recipe, *, student: int, teacher: int, gpus: float) -> None:
    """Raise where the workers of a fit cannot share it.

    Each has a part of every batch, and what is summed over them is the network's gradients alone.

    Args:
        recipe: what they train.
        student: workers of a student's fit.
        teacher: workers of a teacher's.
        gpus: of a fold run.

    Raises:
        ValueError: names the key and the mend.
    """
    shared = [("recipe.training", recipe.training, student, "student")]
    if recipe.teacher is not None:
        own = recipe.teacher.training
        key = "recipe.training" if own is None else "recipe.teacher.training"
        shared.append((key, own or recipe.training, teacher, "teacher"))
    for key, settings, workers, network in shared:
        if settings.batch_size < workers:
            raise ValueError(
                f"{key}.batch_size {settings.batch_size} is less than the {workers} workers that "
                f"share each batch of a {network}; raise it, or lower resources.{network}_workers"
            )
    workers = max(student, teacher)
    if workers > 1 and gpus:
        raise ValueError(
            f"resources: {workers} workers with GPUs are not supported yet, since nobody has "
            "been able to test them; use one worker a fold run, or workers without GPUs"
        )
    unlabelled = recipe.unlabelled
    if isinstance(unlabelled, UnlabelledMixed) and unlabelled.batch_size < student:
        raise ValueError(
            f"recipe.unlabelled.batch_size {unlabelled.batch_size} is less than the {student} "
            "workers that share each batch; raise it or ask for fewer workers"
        )
    contrast, temperature = recipe.objectives.supervised_contrastive, recipe.temperature.kind
    similar = bool(recipe.objectives.attention_transfer) and (
        recipe.attention_transfer.match == "similarity"
    )
    for key, value, alone in (
        ("attention_transfer.match", "similarity", similar),
        ("objectives.supervised_contrastive", contrast, contrast > 0),
        ("temperature.kind", temperature, temperature == "curriculum"),
        ("meta.kind", recipe.meta.kind, recipe.meta.kind != "none"),
    ):
        if alone and student > 1:
            raise ValueError(
                f"recipe.{key} is {value!r}, which needs the whole batch in one worker, but "
                f"resources.student_workers is {student}; set it to 1"
            )
