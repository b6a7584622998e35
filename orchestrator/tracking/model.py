"""The student that a run chose, as a model in MLflow and a version of a registered one.

A ``model`` event names the registered model, an alias, and the files of the student's folder, kept
in the store as other files of a run are. Whatever was cut short is taken up where it was: models
and versions are known again by a tag with the fingerprint of their files.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.bundle.files import FACTS, WEIGHTS
from orchestrator.errors import StoreError
from orchestrator.tracking.connection import is_final
from orchestrator.tracking.files import (
    RefusedFileError,
    UnsentFileError,
    fingerprint,
    place,
)
from orchestrator.tracking.model_folder import write_model_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

    from orchestrator.tracking.segment import Event, SegmentStore

DIGEST_TAG = "understudy.digest"
"""Of a model and of a version: the fingerprint of the student's files."""
ALIAS_TAG = "understudy.alias."
"""Of a version, followed by an alias: when (ms since 1970) a run last said that it has it."""
_DESCRIPTION = (
    "Students chosen by Understudy. In: the bytes of an audio file. Out: its emotion, and a "
    "probability for each."
)
_LONGEST_TAG = 5000

_Sent = TypeVar("_Sent", "LoggedModel", "ModelVersion")


def send_model(
    client: MlflowClient,
    *,
    experiment_id: str,
    run_id: str,
    event: Event,
    store: SegmentStore,
) -> None:
    """Give a run in MLflow its model, register it, point the alias; again, it changes nothing.

    An equal student makes no second version, whichever run tells of it. An alias goes to whoever
    was last said to have it; one that somebody moved by hand stays until a run says something new.

    Args:
        client: of the tracking store and its registry.
        experiment_id: MLflow's id of the experiment that the run is in.
        run_id: MLflow's id of the run.
        event: a model event, with the name of its segment.
        store: where the files lie.

    Raises:
        RefusedFileError: If that can never be done.
        UnsentFileError: If MLflow cannot take it now.
        StoreError: If the store cannot be read now.
    """
    name, digest = event["name"], _digest(event)
    tags = {tag: str(value)[:_LONGEST_TAG] for tag, value in event.get("tags", {}).items()}
    tags[DIGEST_TAG] = digest
    try:
        model = _logged(client, experiment_id, run_id, name, tags)
        if str(model.status) != "READY":
            _fill(client, model, run_id, _files(event, store))
        version = _registered(client, name, model, tags, lambda: _files(event, store))
        if event.get("alias"):
            _point(client, version, event["alias"], event["time"])
    except (RefusedFileError, StoreError):
        raise
    except Exception as error:  # each kind of place for models has errors of its own
        if is_final(error):
            raise RefusedFileError(f"MLflow will not have the model {name!r}: {error}") from error
        raise UnsentFileError(
            f"MLflow cannot keep the model {name!r} now ({error}); it stays in the store, and is "
            "sent when MLflow can"
        ) from error


def _digest(event: Event) -> str:
    """The same for equal files, whatever they are named by."""
    return fingerprint(json.dumps(event["files"], sort_keys=True).encode())


def _files(event: Event, store: SegmentStore) -> dict[str, bytes]:
    """The student's files, as the run wrote them."""
    files = {}
    for name, sha256 in event["files"].items():
        where = place({**event, "name": name, "sha256": sha256})
        if not store.exists(where):
            raise RefusedFileError(f"the model's {name!r} is missing: the store has no {where}")
        files[name] = store.read_bytes(where)
        if fingerprint(files[name]) != sha256:
            raise RefusedFileError(
                f"the model's {name!r} is damaged: {where} is not what the run wrote"
            )
    if missing := {WEIGHTS, FACTS} - files.keys():
        raise RefusedFileError(f"the model is no student: it has no {', '.join(sorted(missing))}")
    return files


def _logged(
    client: MlflowClient, experiment_id: str, run_id: str, name: str, tags: Mapping[str, str]
) -> LoggedModel:
    """The run's model of this student, found or made, without files yet where it was made."""

    def found() -> list[LoggedModel]:
        same = f"source_run_id = '{run_id}' AND tags.`{DIGEST_TAG}` = '{tags[DIGEST_TAG]}'"
        models = client.search_logged_models([experiment_id], same)
        return sorted(models, key=lambda one: (one.creation_timestamp, one.model_id))

    def make() -> object:
        # a model of a run takes fewer characters in its name than a registered one
        plain = re.sub(r"[/:.%\"']", "-", name)
        return client.create_logged_model(
            experiment_id, name=plain, source_run_id=run_id, tags=dict(tags), model_type="student"
        )

    return _one(found, make, lambda model: client.delete_logged_model(model.model_id))


def _fill(
    client: MlflowClient, model: LoggedModel, run_id: str, files: Mapping[str, bytes]
) -> None:
    """Send a model's files and make it an output of its run; only then is it ready."""
    from mlflow.entities import LoggedModelOutput

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        try:
            write_model_folder(folder, files, model=model)
        except (KeyError, TypeError, ValueError) as error:
            raise RefusedFileError(
                f"the model is no student: {type(error).__name__} ({error})"
            ) from error
        client.log_model_artifacts(model.model_id, str(folder))
    outputs = client.get_run(run_id).outputs
    known = [] if outputs is None else outputs.model_outputs
    if model.model_id not in {output.model_id for output in known}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")


def _registered(
    client: MlflowClient,
    name: str,
    model: LoggedModel,
    tags: Mapping[str, str],
    files: Callable[[], Mapping[str, bytes]],
) -> ModelVersion:
    """The version of the registered model that is this student, found or made."""
    _ensure_registered(client, name)

    def found() -> list[ModelVersion]:
        versions = client.search_model_versions(f"name = '{name}'")
        same = [one for one in versions if one.tags.get(DIGEST_TAG) == tags[DIGEST_TAG]]
        return sorted(same, key=lambda one: int(one.version))

    def make() -> object:
        # by its address: "models:/..." would be looked up where MLflow's defaults point
        return client.create_model_version(
            name,
            model.artifact_location,
            run_id=model.source_run_id,
            tags=dict(tags),
            description=json.loads(files()[FACTS])["protocol"],
            await_creation_for=0,
            model_id=model.model_id,
        )

    version = _one(found, make, lambda one: client.delete_model_version(name, one.version))
    _tell_of(client, model, version)
    return version


def _ensure_registered(client: MlflowClient, name: str) -> None:
    """Make the registered model unless it is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=_DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _tell_of(client: MlflowClient, model: LoggedModel, version: ModelVersion) -> None:
    """Let the model's page name its version, as MLflow's own way of registering does."""
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    if MLFLOW_MODEL_VERSIONS not in model.tags:
        told = json.dumps([{"name": version.name, "version": str(version.version)}])
        client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: told})


def _one(
    found: Callable[[], list[_Sent]],
    make: Callable[[], object],
    delete: Callable[[_Sent], None],
) -> _Sent:
    """What is found, oldest first, made if there is none; of several the first stays."""
    known = found()
    if not known:
        make()
        # looked for again: where an answer is lost, MLflow's client asks for the same twice
        known = found()
    for later in known[1:]:
        delete(later)
    return known[0]


def _point(client: MlflowClient, version: ModelVersion, alias: str, time: int) -> None:
    """Give a version the alias, unless this or something later has been said before."""
    tag = f"{ALIAS_TAG}{alias}"
    if _time(version, tag) >= time:
        return
    holder = client.get_registered_model(version.name).aliases.get(alias)
    if holder is not None and str(holder) != str(version.version):
        other = client.get_model_version(version.name, str(holder))
        if _time(other, tag) > time:
            return
    client.set_registered_model_alias(version.name, alias, str(version.version))
    # last, so that what a crash cut short is done again
    client.set_model_version_tag(version.name, str(version.version), tag, str(time))


def _time(version: ModelVersion, tag: str) -> int:
    """The time in a tag; -1 where there is none, or somebody wrote something else there."""
    text = str(version.tags.get(tag, ""))
    return int(text) if text.isdecimal() else -1
