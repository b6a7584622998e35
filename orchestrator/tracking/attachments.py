"""What a run has besides measurements, params and tags: files, datasets, models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.tracking.connection import is_final
from orchestrator.tracking.files import (
    RefusedFileError,
    UnsentFileError,
    last_files,
    place,
    send_bytes,
    send_file,
)
from orchestrator.tracking.record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

    from orchestrator.tracking.segment import Event, SegmentStore

LONG_PARAMS = "long_parameters.json"
"""The file of a run with its params that are longer than MLflow takes, whole."""


def has_attachments(run: RunRecord, events: Sequence[Event], long: Mapping[str, str]) -> bool:
    """Whether :func:`send_attachments` would have anything to send."""
    return bool(long or _new_files(run, events) or _of(events, "dataset") or _of(events, "model"))


def send_attachments(
    client: MlflowClient,
    experiment_id: str,
    run: RunRecord,
    events: Sequence[Event],
    long: Mapping[str, str],
    *,
    store: SegmentStore,
    refuse: Callable[[str, Exception], None],
) -> None:
    """Give a run in MLflow its files, datasets and models; the same again changes nothing.

    Args:
        client: MLflow's client.
        experiment_id: MLflow's id of the experiment.
        run: What MLflow holds of the run.
        events: Of the run, each with its segment's name; those of other kinds say nothing here.
        long: The whole of each param that was cut.
        store: Where the files lie.
        refuse: Told the name, and the reason, of what can never be sent.

    Raises:
        UnsentFileError: If some could not be sent now; the others have been.
        StoreError: If the store cannot be read now.
        mlflow.exceptions.MlflowException: In an outage.
    """
    _send_datasets(client, run, _of(events, "dataset"), refuse=refuse)
    unsent: UnsentFileError | None = None
    try:
        if long:
            whole = json.dumps(long, indent=1, sort_keys=True)
            send_bytes(client, run.run_id, LONG_PARAMS, whole.encode())
    except UnsentFileError as error:
        unsent = error
    for event in _new_files(run, events):
        try:
            send_file(client, run.run_id, event, store)
        except RefusedFileError as error:
            refuse(place(event), error)
        except UnsentFileError as error:
            unsent = error
        else:
            run.files[event["name"]] = event["sha256"]
    for event in _of(events, "model"):
        from orchestrator.tracking.model import send_model

        try:
            send_model(
                client, experiment_id=experiment_id, run_id=run.run_id, event=event, store=store
            )
        except RefusedFileError as error:
            refuse(f"{event['segment']} (the model {event['name']!r})", error)
        except UnsentFileError as error:
            unsent = error
    if unsent is not None:
        raise unsent


def _send_datasets(
    client: MlflowClient,
    run: RunRecord,
    events: Sequence[Event],
    *,
    refuse: Callable[[str, Exception], None],
) -> None:
    from mlflow.exceptions import MlflowException

    if not events:
        return
    try:
        client.log_inputs(run.run_id, datasets=[_dataset(event) for event in events])
    except MlflowException as error:
        if not is_final(error):
            raise
        refuse(f"{events[0]['segment']} (datasets)", error)


def _dataset(event: Event) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    context = event.get("context")
    return DatasetInput(
        Dataset(
            name=event["name"],
            digest=event["digest"],
            source_type="understudy",
            source=event["source"],
            profile=event.get("profile") or None,
        ),
        [InputTag(MLFLOW_DATASET_CONTEXT, context)] if context else [],
    )


def _new_files(run: RunRecord, events: Sequence[Event]) -> list[Event]:
    return [one for one in last_files(events) if run.files.get(one["name"]) != one["sha256"]]


def _of(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]
