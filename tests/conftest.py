"""What all tests share: real data where it lies, a small Ray cluster, no network."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports torch, ray or transformers: one thread a process (sums depend on the
# number), no token for the local cluster, and nothing is ever fetched.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)
# what killed processes leave is not for the next run of the tests to find
_spool = tempfile.TemporaryDirectory(prefix="understudy-tests-", ignore_cleanup_errors=True)
os.environ["UNDERSTUDY_SPOOL"] = _spool.name

REAL_DATA = {
    "emodb_root": (
        "EMODB_ROOT",
        "wav",
        "the Berlin Database of Emotional Speech (http://emodb.bilderbar.info, CC0), unpacked",
    ),
    "fsdd_root": (
        "FSDD_ROOT",
        "recordings",
        "the Free Spoken Digit Dataset "
        "(https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0), cloned",
    ),
    "whisper_root": (
        "WHISPER_BASE_ROOT",
        "config.json",
        "a folder with Whisper base's config.json, model.safetensors and preprocessor_config.json "
        "(https://huggingface.co/openai/whisper-base, MIT)",
    ),
}
"""From fixture to the variable that names the data, what lies in it, and where to get it."""

_real_data_skipped: list[str] = []


def _root(fixture: str) -> Path:
    variable, landmark, source = REAL_DATA[fixture]
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"needs {source}; then export {variable}=FOLDER")
    root = Path(value)
    if not (root / landmark).exists():
        pytest.fail(f"{variable}={value} has no {landmark}; it should be {source}")
    return root


@pytest.fixture(scope="session", autouse=True)
def told_memory() -> Iterator[None]:
    """Where commands measure the memory of a fold run, 100 MiB are said in a moment.

    Who wants it measured starts ``memory_probe.measure`` in a process of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        said = "import json; print(json.dumps({'host': 100 * 2**20, 'libraries': 50 * 2**20}))"
        patch.setattr("orchestrator.capacity.memory_probe.COMMAND", ("-S", "-E", "-c", said))
        yield


@pytest.fixture(scope="session")
def emodb_root() -> Path:
    """The folder of EmoDB, with ``wav/`` inside."""
    return _root("emodb_root")


@pytest.fixture(scope="session")
def fsdd_root() -> Path:
    """The folder of the Free Spoken Digit Dataset, with ``recordings/`` inside."""
    return _root("fsdd_root")


@pytest.fixture(scope="session")
def whisper_root() -> Path:
    """The folder of the Whisper-base encoder."""
    return _root("whisper_root")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray of two CPUs, shared by the whole session.

    The dashboard runs because Train inside Tune asks its State API whether trials are alive.
    """
    import ray

    # The workers' working directory stays the tests', so that relative paths mean the same there.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=True, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def without_pictures() -> Iterator[None]:
    """From here to the module's end sweeps and evaluations draw nothing and register no model.

    That takes seconds, for what most tests do not look at.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.sweep.sweep.show_best", lambda *_, **__: None)
        patch.setattr("orchestrator.evaluation.evaluate.show_systems", lambda *_, **__: None)
        yield


@pytest.fixture(scope="session")
def tracking_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, to be copied: making one takes seconds."""
    from orchestrator.tracking.writer import Writer

    database = tmp_path_factory.mktemp("tracking") / "runs.db"
    Writer(f"sqlite:///{database}", "nothing").initialise()
    return database


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for real data, so that nobody has to remember to."""
    for item in items:
        if REAL_DATA.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real_data)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember which tests of real data did not run."""
    if report.skipped and "real_data" in report.keywords:
        _real_data_skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where real data has to be there (in CI), a test skipped for want of it is a failure."""
    if os.environ.get("UNDERSTUDY_REQUIRE_REAL_DATA") == "1" and _real_data_skipped:
        print(f"\n{len(_real_data_skipped)} tests of real data were skipped:")
        print("\n".join(_real_data_skipped))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
