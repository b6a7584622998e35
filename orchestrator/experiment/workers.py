"""What several workers of one fit cannot do together."""

from __future__ import annotations

from orchestrator.experiment.recipe import Recipe, UnlabelledMixed


def refuse_workers(recipe: Recipe, *, student: int, teacher: int) -> None:
    """Raise where the workers of a fit cannot share it: each is to have a part of every batch.

    Args:
        recipe: what they train.
        student: workers of a student's fit.
        teacher: workers of a teacher's.

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
    unlabelled = recipe.unlabelled
    if isinstance(unlabelled, UnlabelledMixed) and unlabelled.batch_size < student:
        raise ValueError(
            f"recipe.unlabelled.batch_size {unlabelled.batch_size} is less than the {student} "
            "workers that share each batch; raise it or ask for fewer workers"
        )
