"""Submitting an experiment to a running Ray cluster, through Ray Jobs.

Every node must have Understudy's environment installed (``make setup`` there, or ``ray up
cluster.yaml``) and Ray started from it, activated: the job brings the code and the experiment file,
not the libraries. The job runs ``python -m orchestrator.cli`` on the cluster's head and joins the
cluster there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orchestrator
from models.hub import NAME
from orchestrator.corpus_inputs import source_recipes
from orchestrator.errors import ClusterError, ExperimentError, InputError, nearest
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.loading import load_experiment, variables_of
from orchestrator.job_package import SUBMITTED, pack

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

COMMANDS = ("evaluate", "sweep")
"""What can be run on a cluster."""
ANSWER_SECONDS = 10.0
"""How long a cluster may take to accept a connection."""
READY_SECONDS = 30.0
"""How long a cluster that answers may take until it accepts jobs."""
LOST_SECONDS = 120.0
"""How long a cluster that was reached may be silent while a job is waited for."""
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Submission:
    """A job on a cluster."""

    job_id: str
    status: str
    """Ray's word for it: PENDING when it was not waited for, else SUCCEEDED, FAILED or STOPPED."""
    exit_code: int
    """0 when it succeeded or was not waited for, else the command's own, else 1."""


def submit(
    file: str | Path,
    *,
    address: str,
    overrides: Sequence[str] = (),
    variant: str | None = None,
    command: str = "evaluate",
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    wait: bool = False,
    show: Callable[[str], None] = print,
) -> Submission:
    """Run ``understudy COMMAND FILE`` on a cluster.

    The experiment is validated here first, as the cluster will see it. The environment variables
    that its ``${VAR}`` name travel with the job, and so do those of ``env``, which win; Ray shows
    them on its dashboard to whoever may see that.

    Args:
        file: the experiment file, inside a checkout or not.
        address: the head's dashboard, ``http://HEAD:8265``.
        overrides: ``key=value``, as for the command.
        variant: as for the command.
        command: one of ``COMMANDS``.
        arguments: further arguments of the command, such as ``--best-of demo``.
        env: environment variables of the job, such as ``EMODB_ROOT`` as the nodes see it.
        wait: follow the job's output until it ends.
        show: takes each line of output; default: print.

    Raises:
        ExperimentError: the experiment is wrong, or names a place that only this machine has.
        InputError: ``address`` or ``command`` is none.
        ClusterError: the cluster does not answer, wants a token, or refuses or loses the job.
    """
    if command not in COMMANDS:
        raise InputError(
            f"the command {command!r} runs on no cluster; {nearest(command, COMMANDS)}"
        )
    source = Path(file).expanduser()
    given = {**os.environ, **(env or {})}
    experiment = load_experiment(source, overrides=overrides, variant=variant, environment=given)
    _refuse_local_places(experiment, source)
    named = variables_of(source, overrides=overrides, variant=variant)
    variables = {name: given[name] for name in named if name in given}
    client = _connect(address)
    with tempfile.TemporaryDirectory(prefix="understudy-job-") as folder:
        digest = pack(source, Path(folder))
        job_id = _accepted(
            client,
            address,
            entrypoint=entrypoint(
                command, source.name, overrides=overrides, variant=variant, arguments=arguments
            ),
            runtime_env={
                "working_dir": folder,
                "env_vars": {"PYTHONUNBUFFERED": "1", **variables, **(env or {})},
            },
            metadata={
                "understudy.command": command,
                "understudy.experiment": experiment.name,
                "understudy.package": digest,
                "understudy.version": orchestrator.__version__,
            },
        )
    show(f"job {job_id} submitted to {address}")
    if not wait:
        return Submission(job_id=job_id, status="PENDING", exit_code=0)
    try:
        return _follow(client, job_id, address=address, show=show)
    except KeyboardInterrupt:
        show(f"job {job_id} goes on; stop it with: ray job stop --address {address} {job_id}")
        raise


def entrypoint(
    command: str,
    file_name: str,
    *,
    overrides: Sequence[str] = (),
    variant: str | None = None,
    arguments: Sequence[str] = (),
) -> str:
    """The shell command that the job runs in the folder of its package.

    >>> entrypoint("sweep", "my.yaml", overrides=["search.seeds=[0, 1]"])
    "python -m orchestrator.cli sweep submitted/my.yaml 'search.seeds=[0, 1]'"
    """
    chosen = ["--variant", variant] if variant else []
    place = str(PurePosixPath(SUBMITTED) / file_name)
    return shlex.join(
        ["python", "-m", "orchestrator.cli", command, place, *overrides, *chosen, *arguments]
    )


def _refuse_local_places(experiment: Experiment, file: Path) -> None:
    """Relative paths would mean the job's own folder, different on each node and gone after it."""
    places = {"store": experiment.store, "tracking.uri": experiment.tracking.uri}
    if experiment.search is not None and experiment.search.storage is not None:
        places["search.storage"] = experiment.search.storage
    for index, corpus in enumerate(experiment.corpora):
        for key in ("root", "file"):
            places[f"corpora.{index}.{key}"] = getattr(corpus, key, None) or "/"
    encoders: dict[str, object] = {"recipe.teacher.root": experiment.recipe.teacher}
    encoders |= {
        f"{where}recipe.source.root": recipe.source
        for where, recipe in source_recipes(experiment).items()
    }
    for key, section in encoders.items():
        encoder = getattr(section, "root", "/")
        if not NAME.fullmatch(encoder) or Path(encoder).is_dir():
            # else a name on the hub, the same on every node
            places[key] = encoder
    for key, place in places.items():
        path = place.removeprefix("sqlite:///").removeprefix("journal:")
        if "://" not in path and not PurePosixPath(path).is_absolute():
            database = key in ("tracking.uri", "search.storage")
            form = "sqlite:////shared/understudy.db" if database else "/shared/folder"
            raise ExperimentError(
                f"{file}: {key} is {place!r}, a relative path, which on a cluster would be lost "
                f"with the job; give a place that every node sees, such as {key}={form} or a URI"
            )


def _connect(address: str) -> JobSubmissionClient:
    url = urlsplit(address)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        port = 0
    if url.scheme not in {"http", "https"} or not url.hostname or not port:
        raise InputError(
            f"the address {address!r} is none of a Ray dashboard; it looks like http://HEAD:8265"
        )
    try:
        socket.create_connection((url.hostname, port), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}); check that it runs (`ray status` on "
            "its head) and that its dashboard can be reached from here: it listens on the head's "
            "loopback unless started otherwise, and `ray dashboard cluster.yaml` makes a tunnel"
        ) from None
    from ray.job_submission import JobSubmissionClient

    for chatty in ("modules.dashboard_sdk", "modules.job.sdk"):
        logging.getLogger(f"ray.dashboard.{chatty}").setLevel(logging.WARNING)
    logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)
    with _said(address, "does not answer as a Ray cluster would"), _own_address():
        return JobSubmissionClient(address)


@contextmanager
def _own_address() -> Iterator[None]:
    """Ray prefers these variables to the address it is given."""
    hidden = {
        name: os.environ.pop(name)
        for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
        if name in os.environ
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def _said(address: str, what: str) -> Iterator[None]:
    """Any fault of the job client as one ClusterError."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError:
        raise ClusterError(
            f"the cluster at {address} wants another token: export RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN_PATH=FILE with the cluster's (~/.ray/auth_token on its head)"
        ) from None
    except (requests.RequestException, OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:500]
        raise ClusterError(f"the cluster at {address} {what}: {reason}") from None


def _accepted(client: JobSubmissionClient, address: str, **job: Any) -> str:
    """Submit a job, waiting for a cluster that has only just started; gives the job's id."""
    tried_since = time.monotonic()
    while True:
        try:
            with _said(address, "refused the job"):
                return client.submit_job(**job)
        except ClusterError as error:
            late = time.monotonic() - tried_since > READY_SECONDS
            if "No available agent" not in str(error):
                raise
            if late:
                raise ClusterError(
                    f"{error} Ray's dashboard agent does not run on the head; where several nodes "
                    "share a machine, give each its own `ray start --dashboard-agent-listen-port`"
                ) from None
        time.sleep(POLL_SECONDS)


def _follow(
    client: JobSubmissionClient, job_id: str, *, address: str, show: Callable[[str], None]
) -> Submission:
    """Show the job's output as it comes and wait for its end."""
    import aiohttp

    try:
        asyncio.run(_tail(client, job_id, show))
    except (aiohttp.ClientError, OSError, RuntimeError) as error:
        show(f"the output of job {job_id} broke off ({error}); still waiting for its end")
    details = _ended(client, job_id, address)
    status = str(details.status.value)
    if status == "SUCCEEDED":
        show(f"job {job_id} succeeded")
        return Submission(job_id=job_id, status=status, exit_code=0)
    exit_code = getattr(details, "driver_exit_code", None) or 1
    show(f"job {job_id} {status.lower()} (exit code {exit_code}): {_reason(details.message or '')}")
    return Submission(job_id=job_id, status=status, exit_code=exit_code if exit_code > 0 else 1)


async def _tail(client: JobSubmissionClient, job_id: str, show: Callable[[str], None]) -> None:
    async for text in client.tail_job_logs(job_id):
        for line in text.splitlines():
            show(line)


def _ended(client: JobSubmissionClient, job_id: str, address: str) -> Any:
    """The job's details once it has ended, through interruptions of the network."""
    heard = time.monotonic()
    while True:
        try:
            with _said(address, f"lost job {job_id}"):
                details = client.get_job_info(job_id)
            heard = time.monotonic()
            if details.status.is_terminal():
                return details
        except ClusterError:
            if time.monotonic() - heard > LOST_SECONDS:
                raise
        time.sleep(POLL_SECONDS)


def _reason(message: str) -> str:
    """The last line of Ray's message, with a mend where the environment is missing on the head."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    last = lines[-1] if lines else "Ray gives no reason"
    if "No module named" in message or "python: not found" in message:
        return (
            f"{last}; the nodes lack Understudy's environment: install it on each (`make setup`) "
            "and start Ray from it, activated"
        )
    return last
