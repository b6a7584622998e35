"""Where studies lie: files, logs and a database server, and what is refused."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, RDBStorage

from orchestrator.errors import ExperimentError, StoreError, UnderstudyError
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.store import Store
from orchestrator.sweep import storage
from orchestrator.sweep.storage import (
    file_system,
    open_storage,
    shown_address,
    study_address,
    study_names,
)
from tests import small

SECRET = "postgresql://me:s3cr/t@nowhere.invalid/studies"


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return small.load(tmp_path)


def at(experiment: Experiment, address: str) -> Experiment:
    return override_recipe(experiment, {"search.storage": address})


def address_of(experiment: Experiment, asked: str) -> str:
    return study_address(at(experiment, asked), Store(experiment.store))


def close(opened: BaseStorage) -> None:
    """As at the end of a process."""
    assert isinstance(opened, RDBStorage)
    opened.scoped_session.remove()
    opened.engine.dispose()


@pytest.fixture(params=["sqlite", "journal"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a study in a file that is yet to be made, in a folder that is, too."""
    file = tmp_path / "some {folder}" / "study"
    return f"sqlite:///{file}" if request.param == "sqlite" else f"journal:{file}"


def test_without_a_word_a_study_lies_in_a_local_store_and_beside_the_user_of_a_remote_one(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bucket:
        uri = "s3://bucket/store"

    monkeypatch.chdir(tmp_path)
    here = study_address(experiment, Store(experiment.store))

    assert here == f"sqlite:///{tmp_path}/store/studies/small.study.db"
    there = study_address(experiment, Bucket())  # type: ignore[arg-type]
    assert there == f"sqlite:///{tmp_path}/small.study.db"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("sqlite:///study.db", "sqlite:///{here}/study.db"),
        ("sqlite:////data/study.db", "sqlite:////data/study.db"),
        ("journal:logs/study.log", "journal:{here}/logs/study.log"),
        ("journal:///data/study.log", "journal:/data/study.log"),
        ("postgresql://me:a@b@host/db", "postgresql+psycopg://me:a@b@host/db"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg://host/db"),
    ],
)
def test_an_address_is_the_same_from_every_folder(
    experiment: Experiment, asked: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert address_of(experiment, asked) == found.format(here=tmp_path)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("study.db", "no address of a study; use one like sqlite:///FILE"),
        ("sqlit:///study.db", "did you mean 'sqlite'"),
        ("postgres://me:s3cret@host/db", r"\*\*\*@host/db.*did you mean 'postgresql'"),
        ("postgresql:host", "did you mean 'postgresql'"),
        ("mysql://me:s3cret@host/db", r"\*\*\*@host/db.*a study cannot lie there"),
        ("sqlite://study.db", "names no file; use sqlite:///FILE"),
        ("sqlite:///:memory:", "names no file"),
        ("journal:", "names no file; use journal:FILE"),
        ("journal://study.log", "names no file; use journal:FILE"),
    ],
)
def test_what_is_no_address_is_refused_without_its_password(
    experiment: Experiment, asked: str, said: str
) -> None:
    with pytest.raises(ExperimentError, match=said) as caught:
        address_of(experiment, asked)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite:////data/study.db", "sqlite:////data/study.db"),
        ("journal:/data/study.log", "/data/study.log"),
        ("postgresql+psycopg://me:a/b@c@host/db", "postgresql+psycopg://***@host/db"),
        (
            "postgresql+psycopg://host/db?user=me&password=a/b&sslmode=require",
            "postgresql+psycopg://host/db?user=***&password=***&sslmode=require",
        ),
    ],
)
def test_an_address_is_shown_without_credentials(address: str, shown: str) -> None:
    assert shown_address(address) == shown


def test_a_study_is_written_and_found_again(address: str) -> None:
    assert study_names(address) == ()

    study = optuna.create_study(study_name="one", storage=open_storage(address))
    study.tell(study.ask(), 0.5)
    optuna.create_study(study_name="two", storage=open_storage(address))

    assert study_names(address) == ("one", "two")
    again = optuna.load_study(study_name="one", storage=open_storage(address, write=False))
    assert [trial.value for trial in again.trials] == [0.5]


def test_looking_makes_nothing(address: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))

    assert study_names(address) == ()

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("running", [True, False])
def test_who_may_not_write_to_the_folder_reads_the_study_all_the_same(
    running: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"sqlite:///{tmp_path}/study.db"
    ours = open_storage(address)
    study = optuna.create_study(study_name="one", storage=ours)
    study.tell(study.ask(), 0.5)
    if not running:
        close(ours)
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and may(path, mode))
    connect, modes = storage._connected, set()

    def connected(file: Path, mode: str) -> sqlite3.Connection:
        modes.add(mode)
        return connect(file, mode)

    monkeypatch.setattr(storage, "_connected", connected)

    assert study_names(address) == ("one",)
    read = optuna.load_study(study_name="one", storage=open_storage(address, write=False))
    assert [trial.value for trial in read.trials] == [0.5]
    with pytest.raises(optuna.exceptions.StorageInternalError):
        read.set_user_attr("a", 1)
    # with nobody writing there is no memory to share, which could not be made
    assert modes == {"ro" if running else "ro&immutable=1"}


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
@pytest.mark.parametrize("text", [b"some text", b'{"op": 1}\n', b"two\nlines\n"])
def test_a_file_that_is_no_study_is_refused_and_left_as_it_is(
    tmp_path: Path, kind: str, text: bytes
) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(text)

    for use in (study_names, open_storage):
        with pytest.raises(ExperimentError, match=r"notes.txt is a file, but no .* name another"):
            use(f"{kind}{file}")  # type: ignore[operator]
    assert file.read_bytes() == text


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="is a folder; name a file in it"):
        open_storage(f"sqlite:///{tmp_path}")


def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        # as MLflow's has it: Optuna would take the version for one of its own
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("CREATE TABLE experiments (name TEXT)")
        database.commit()
    before = file.read_bytes()

    for use in (study_names, open_storage):
        with pytest.raises(ExperimentError, match=r"something else \(its tables: experiments\)"):
            use(f"sqlite:///{file}")  # type: ignore[operator]
    assert file.read_bytes() == before


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"cannot be (read|written).*name another place"):
        open_storage(f"{kind}{tmp_path}/file/study")


def test_a_damaged_database_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    ours = open_storage(f"sqlite:///{file}")
    close(ours)
    file.write_bytes(file.read_bytes()[:100] + b"x" * 20_000)

    with pytest.raises(StoreError, match=r"study.db cannot be read"):
        study_names(f"sqlite:///{file}")


def test_a_damaged_log_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "study.log"
    optuna.create_study(storage=open_storage(f"journal:{file}"))
    file.write_bytes(file.read_bytes() + b"nonsense\n{}\n")

    with pytest.raises(StoreError, match=r"study.log cannot be"):
        open_storage(f"journal:{file}")


def test_on_a_local_disk_a_database_has_a_log_of_its_own_and_elsewhere_it_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def modes() -> tuple[str, int]:
        opened = open_storage(f"sqlite:///{tmp_path}/study.db")
        assert isinstance(opened, RDBStorage)
        with opened.engine.connect() as connection:
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous")
            ]
        close(opened)
        return found[0], found[1]

    monkeypatch.setattr(storage, "_is_local", lambda file: True)
    assert modes() == ("wal", 1)  # 1: flushed when the log is taken over
    monkeypatch.setattr(storage, "_is_local", lambda file: False)
    assert modes() == ("delete", 2)  # 2: at every commit


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
server:/our\\040data /our\\040data lustre rw 0 0
/dev/vdb /home/me/scratch xfs rw 0 0
/dev/vdc /twice ext4 rw 0 0
server:/twice /twice cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/study.db", "ext4"),
        ("/homely/study.db", "ext4"),
        ("/home/me/study.db", "nfs4"),
        ("/our data/study.db", "lustre"),
        ("/home/me/scratch/study.db", "xfs"),
        ("/twice/study.db", "cifs"),
    ],
)
def test_the_file_system_is_that_of_the_deepest_and_latest_mount(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_a_file_system_that_is_not_told_is_not_local() -> None:
    assert file_system(Path("/study.db"), "") not in storage.LOCAL


def test_another_may_read_while_a_study_is_written(address: str) -> None:
    study = optuna.create_study(study_name="one", storage=open_storage(address))
    reader = optuna.load_study(study_name="one", storage=open_storage(address, write=False))

    for number in range(3):
        study.tell(study.ask(), float(number))
        assert [trial.value for trial in reader.trials] == [float(n) for n in range(number + 1)]


WRITER = """
import sys, optuna
from orchestrator.sweep.storage import open_storage
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(study_name="one", storage=open_storage(sys.argv[1]))
while True:
    trial = study.ask()
    trial.set_user_attr("folds", {"a": 0.5})
    study.tell(trial, 0.5)
    print(trial.number, flush=True)
"""
NOT_LOCAL = "import orchestrator.sweep.storage as s; s._is_local = lambda file: False\n"


@pytest.mark.parametrize("kind", ["sqlite", "sqlite elsewhere", "journal"])
def test_what_was_told_outlives_a_writer_that_is_killed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LOCK_SECONDS", 3)
    address = f"{'journal:' if kind == 'journal' else 'sqlite:///'}{tmp_path}/study"
    text = NOT_LOCAL + WRITER if kind == "sqlite elsewhere" else WRITER
    with subprocess.Popen(
        [sys.executable, "-c", text, address], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
        told = [4, *map(int, writer.stdout.read().split())][-1]

    reader = optuna.load_study(study_name="one", storage=open_storage(address, write=False))
    assert sum(trial.value == 0.5 for trial in reader.trials) >= told + 1
    study = optuna.load_study(study_name="one", storage=open_storage(address))
    study.tell(study.ask(), 1.0)
    assert reader.trials[-1].value == 1.0


def test_a_line_of_a_log_that_was_not_finished_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "study.log"
    address = f"journal:{file}"
    study = optuna.create_study(study_name="one", storage=open_storage(address))
    study.tell(study.ask(), 0.5)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code":4,"wor')

    # who only reads leaves it
    assert study_names(address) == ("one",)
    assert file.read_bytes() != whole
    again = optuna.load_study(study_name="one", storage=open_storage(address))
    assert file.read_bytes() == whole
    again.tell(again.ask(), 0.6)
    assert [trial.value for trial in study.trials] == [0.5, 0.6]


def test_a_log_or_database_that_was_hardly_begun_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "study.log").write_bytes(b'{"op_')
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name TEXT)")

    for address in (f"journal:{tmp_path}/study.log", f"sqlite:///{tmp_path}/study.db"):
        assert study_names(address) == ()
        optuna.create_study(study_name="one", storage=open_storage(address))
        assert study_names(address) == ("one",)


def test_a_server_needs_a_library_that_may_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ExperimentError, match=r"pip install 'understudy\[postgres\]'") as caught:
        open_storage(SECRET.replace("postgresql", "postgresql+psycopg"))

    assert "s3cr" not in str(caught.value)


def test_what_a_driver_says_is_told_without_credentials() -> None:
    address = "postgresql+psycopg://me:a%40b@host/db"
    said = RuntimeError('FATAL: no entry for user "me" with a%40b or a@b\nmore')

    assert storage._cause(said, address) == 'FATAL: no entry for user "***" with *** or ***'


@pytest.fixture(scope="module")
def server() -> Iterator[Callable[..., str]]:
    """A PostgreSQL server with a database; called with user and password, its address."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'understudy[postgres]'")
    programs = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *os.get_exec_path()]
    found = [shutil.which("initdb", path=str(folder)) for folder in programs]
    initdb = next(filter(None, found), None)
    if initdb is None:
        pytest.skip("needs the programs of a PostgreSQL server (initdb, postgres)")
    as_another: list[str] = []
    if os.geteuid() == 0:  # which initdb refuses
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, since PostgreSQL refuses to run as root")
        as_another = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    port = 40_000 + os.getpid() % 20_000

    def address(user: str = "me", password: str = "s3cr%2Ft") -> str:
        return f"postgresql+psycopg://{user}:{password}@127.0.0.1:{port}/postgres"

    # its path is short, for a socket lies in it
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        (home / "password").write_text("s3cr/t")
        (home / "password").chmod(0o644)
        home.chmod(0o755)
        if as_another:
            os.chown(home, 65534, 65534)
        data = ["-D", str(home / "data")]
        make = ["-U", "me", "-A", "scram-sha-256", f"--pwfile={home}/password", "-N"]
        subprocess.run([*as_another, initdb, *data, *make], check=True, capture_output=True)
        options = ["-p", str(port), "-k", str(home), "-h", "127.0.0.1", "-F"]
        program = str(Path(initdb).resolve().with_name("postgres"))
        with subprocess.Popen(
            [*as_another, program, *data, *options], stderr=subprocess.DEVNULL, cwd=home
        ) as process:
            deadline = time.monotonic() + 30
            try:
                while not _answers(address()) and time.monotonic() < deadline:
                    time.sleep(0.1)
                yield address
            finally:
                process.send_signal(signal.SIGINT)


def _answers(address: str) -> bool:
    try:
        study_names(address)
    except StoreError:
        return False
    return True


def test_a_study_on_a_server_is_written_and_found_again(server: Callable[..., str]) -> None:
    address = server()
    assert study_names(address) == ()

    study = optuna.create_study(study_name="one", storage=open_storage(address))
    trial = study.ask()
    trial.set_user_attr("folds", {"a": 0.5})
    study.tell(trial, 0.5)

    assert study_names(address) == ("one",)
    again = optuna.load_study(study_name="one", storage=open_storage(address, write=False))
    assert again.trials[0].user_attrs == {"folds": {"a": 0.5}}


def test_a_server_that_refuses_or_is_not_there_is_an_error_without_credentials(
    server: Callable[..., str],
) -> None:
    for address in (
        server(password="wr%2Fong"),
        server(user="nobody"),
        "postgresql+psycopg://me:wr%2Fong@127.0.0.1:1/postgres",
    ):
        with pytest.raises(UnderstudyError, match=r"cannot be read.*check that the server") as told:
            open_storage(address)
        said = str(told.value)
        assert "***@127.0.0.1" in said
        assert not any(secret in said for secret in ("wr%2Fong", "wr/ong", "nobody", '"me"'))
