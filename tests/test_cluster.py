"""The way to a cluster: cluster.yaml, the package of a job, and the job itself."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestrator import cluster
from orchestrator.errors import ClusterError, ExperimentError, InputError
from orchestrator.job_package import pack

CHECKOUT = Path(__file__).resolve().parent.parent
TEXT = """\
name: tiny
corpora:
  - {kind: emodb, root: "${TINY_ROOT}"}
protocol: {kind: leave-one-speaker-out}
recipe: {student: {kind: conv-transformer}}
store: /shared/store
tracking: {uri: "sqlite:////shared/understudy.db"}
variants:
  far: {store: "s3://bucket/${TINY_BUCKET}"}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment file outside of the checkout, in a folder of other things."""
    monkeypatch.setenv("TINY_ROOT", "/shared/tiny")
    monkeypatch.delenv("TINY_BUCKET", raising=False)
    (tmp_path / "secret.txt").write_text("not to travel")
    file = tmp_path / "tiny.yaml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def cluster_file() -> dict[str, object]:
    """What cluster.yaml holds."""
    loaded = yaml.safe_load((CHECKOUT / "cluster.yaml").read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_the_cluster_file_follows_the_schema_that_ray_ships(
    cluster_file: dict[str, object],
) -> None:
    import ray.autoscaler

    schema = Path(ray.autoscaler.__file__).parent / "ray-schema.json"
    jsonschema.validate(cluster_file, json.loads(schema.read_text("utf-8")))


def test_the_cluster_file_passes_the_launcher_and_starts_every_worker(
    cluster_file: dict[str, object],
) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster_file)
    validate_config(prepared)
    (node_type,) = prepared["available_node_types"].values()

    assert node_type["min_workers"] == node_type["max_workers"] == 2
    assert len(prepared["provider"]["worker_ips"]) == 2


def test_the_cluster_file_ships_what_an_installation_needs(
    cluster_file: dict[str, object],
) -> None:
    mounts = cluster_file["file_mounts"]
    assert isinstance(mounts, dict)

    assert {"pyproject.toml", "constraints.txt", "Makefile", "README.md"} <= set(mounts.values())
    assert all((CHECKOUT / local).exists() for local in mounts.values())


def test_a_package_holds_code_and_the_experiment_and_nothing_else(
    file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "package"
    pack(file, folder)
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert {"orchestrator/cluster.py", "models/__init__.py", "submitted/tiny.yaml"} <= held
    assert {path.partition("/")[0] for path in held} <= {
        "orchestrator",
        "models",
        "search_spaces",
        "experiments",
        "submitted",
    }
    assert {Path(path).suffix for path in held} <= {".py", ".yaml", ".json"}
    assert [path for path in held if path.startswith("submitted/")] == ["submitted/tiny.yaml"]


def test_the_same_package_has_the_same_hash_and_another_file_another(
    file: Path, tmp_path: Path
) -> None:
    first, again = pack(file, tmp_path / "a"), pack(file, tmp_path / "b")
    file.write_text(TEXT + "# changed\n")

    assert first == again != pack(file, tmp_path / "c")


def test_the_entrypoint_quotes_for_the_shell() -> None:
    line = cluster.entrypoint(
        "evaluate",
        "my file.yaml",
        overrides=["evaluate.seeds=[0, 1]"],
        variant="paper",
        arguments=["--best-of", "demo"],
    )

    assert line == (
        "python -m orchestrator.cli evaluate 'submitted/my file.yaml' "
        "'evaluate.seeds=[0, 1]' --variant paper --best-of demo"
    )


def test_a_cluster_that_does_not_answer_is_named(file: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"

    with pytest.raises(ClusterError, match=address):
        cluster.submit(file, address=address)


@pytest.mark.parametrize(
    "address", ["auto", "HEAD:8265", "ray://HEAD:10001", "http://", "http://h:x"]
)
def test_an_address_of_no_dashboard_is_refused(file: Path, address: str) -> None:
    with pytest.raises(InputError, match="http://HEAD:8265"):
        cluster.submit(file, address=address)


def test_an_unknown_command_is_refused(file: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'sweep'"):
        cluster.submit(file, address="http://127.0.0.1:1", command="sweeep")


@pytest.fixture
def stranger() -> Iterator[str]:
    """The URL of a web server that is no Ray dashboard."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_is_no_cluster_is_named(file: Path, stranger: str) -> None:
    with pytest.raises(ClusterError, match="does not answer as a Ray cluster would"):
        cluster.submit(file, address=stranger)


@pytest.mark.parametrize(
    "override",
    [
        "store=./understudy-store",
        "tracking.uri=sqlite:///understudy.db",
        "search={space: distillation, storage: 'sqlite:///study.db'}",
        "search={space: distillation, storage: 'journal:study.log'}",
        "corpora.0.root=emodb",
        "recipe.teacher={kind: pretrained, root: whisper}",
    ],
)
def test_a_place_that_the_nodes_would_not_see_is_refused(file: Path, override: str) -> None:
    key = override.partition("=")[0]

    with pytest.raises(ExperimentError, match=rf"{key}[.a-z]* is '.*every node sees"):
        cluster.submit(file, address="http://127.0.0.1:1", overrides=[override])


def test_a_missing_variable_is_told_before_anything_is_sent(file: Path) -> None:
    with pytest.raises(ExperimentError, match="TINY_BUCKET"):
        cluster.submit(file, address="http://127.0.0.1:1", variant="far")


PROBE = """
import os, sys, orchestrator, ray
ray.init(address="auto", log_to_driver=False)
@ray.remote(num_cpus=1)
def remotely():
    import orchestrator
    return os.environ["TINY_ROOT"], orchestrator.__file__
print("folder:", sorted(os.listdir(".")), sys.argv[1:])
print("driver:", os.environ["TINY_ROOT"], os.environ["EXTRA"])
root, code = ray.get(remotely.remote())
print("worker:", root, "working_dir_files" in code)
sys.exit(int(os.environ.get("EXIT", "0")))
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The dashboard URL of a head started as on a cluster, on ports that nobody else uses."""
    folder = tempfile.mkdtemp(prefix="ray-")  # short, for Ray's sockets lie in it
    tools = Path(sys.executable).parent
    dashboard = free_port()
    started = subprocess.Popen(
        [
            *(str(tools / "ray"), "start", "--head", "--block", "--num-cpus=2"),
            *(f"--temp-dir={folder}", f"--port={free_port()}", f"--dashboard-port={dashboard}"),
            f"--dashboard-agent-listen-port={free_port()}",
            f"--ray-client-server-port={free_port()}",
        ],
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", dashboard), timeout=1).close()
                break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{dashboard}"
    finally:
        started.terminate()
        started.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job looks around instead of training."""

    def entrypoint(command: str, name: str, **_: object) -> str:
        return shlex.join(["python", "-c", PROBE, command, name])

    monkeypatch.setattr(cluster, "entrypoint", entrypoint)


@pytest.mark.slow
@pytest.mark.usefixtures("probe")
def test_a_job_finds_its_code_file_and_variables_on_driver_and_worker(
    file: Path, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    lines: list[str] = []
    done = cluster.submit(file, address=head, env={"EXTRA": "more"}, wait=True, show=lines.append)
    text = "\n".join(lines)

    assert (done.status, done.exit_code) == ("SUCCEEDED", 0)
    assert done.job_id in lines[0]
    assert "'orchestrator'" in text
    assert "'submitted'] ['evaluate', 'tiny.yaml']" in text
    assert "driver: /shared/tiny more" in text
    assert "worker: /shared/tiny True" in text


@pytest.mark.slow
@pytest.mark.usefixtures("probe")
def test_a_failed_job_gives_its_own_exit_code(file: Path, head: str) -> None:
    lines: list[str] = []
    done = cluster.submit(
        file,
        address=head,
        env={"EXTRA": "", "EXIT": "2", "TINY_ROOT": "/other"},
        wait=True,
        show=lines.append,
    )

    assert (done.status, done.exit_code) == ("FAILED", 2)
    assert "driver: /other" in "\n".join(lines)
    assert "exit code 2" in lines[-1]
