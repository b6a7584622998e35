"""Commands that use a store, and who would have it alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.errors import StoreError
from orchestrator.store.use import pruning, running, using
from tests.store.stores import near

REPOSITORY = Path(__file__).parents[2]
CHILD = """
import sys, time
from orchestrator.store import Store
from orchestrator.store.use import using

with using(Store(sys.argv[1], used_by="small"), command="the evaluation 'small'"):
    print("in", flush=True)
    time.sleep(60)
"""


def child(store: Path) -> subprocess.Popen[str]:
    """A process that uses a store, once it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(store)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def test_several_commands_use_a_store_at_once_and_are_named(tmp_path: Path) -> None:
    store = near(tmp_path)
    me = f"(process {os.getpid()} on {os.uname().nodename})"

    with using(store, command="one"), using(store, command="two"):
        assert running(store) == (f"one {me}", f"two {me}")
    assert running(store) == ()


def test_a_command_that_must_be_alone_is_refused_a_second_time(tmp_path: Path) -> None:
    store = near(tmp_path)
    with (
        using(store, command="the sweep 'x'", alone_as="sweep-x"),
        using(store, command="the sweep 'y'", alone_as="sweep-y"),
        pytest.raises(StoreError, match="the sweep 'x' is already running on this store"),
        using(store, command="the sweep 'x'", alone_as="sweep-x"),
    ):
        pass


def test_who_would_prune_is_told_who_runs_until_that_is_dead(tmp_path: Path) -> None:
    store = near(tmp_path)
    process = child(store.folder)
    try:
        said = rf"in use: the evaluation 'small' \(process {process.pid} on .*Prune when it has end"
        with pytest.raises(StoreError, match=said), pruning(store):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    with pruning(store):
        assert running(store) == ()


def test_a_command_waits_for_who_prunes(tmp_path: Path) -> None:
    store, entered = near(tmp_path), threading.Event()

    def use() -> None:
        with using(store, command="late"):
            entered.set()

    thread = threading.Thread(target=use)
    with pruning(store):
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    thread.join()


def test_a_file_where_the_store_should_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")

    for use in (using(near(tmp_path), command="x"), pruning(near(tmp_path))):
        with pytest.raises(StoreError, match="cannot be written"), use:
            pass
