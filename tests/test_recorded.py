"""What is written down when a command breaks off."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.recorded import ended_by_errors
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal, read_segment


class Closing:
    """Tracking that only remembers being closed."""

    closed = False

    def close(self, timeout: float) -> int:
        self.closed = True
        return 0


def broken_off(folder: Path, error: BaseException | None) -> tuple[list[tuple[str, str]], bool]:
    """Status and reason of the ends of the top run, and whether tracking was closed."""
    store = Store(folder)
    top, tracking = Journal(store, prefix="journal", key="top"), Closing()
    top.start("sweep")
    try:
        with ended_by_errors(top, tracking):  # type: ignore[arg-type]
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error  # noqa: PT017 - whichever it is
    events = [
        event for name in store.list("journal") for event in read_segment(store.read_bytes(name))
    ]
    ends = [(event["status"], event["reason"]) for event in events if event["event"] == "end"]
    return ends, tracking.closed


def test_a_body_that_ends_well_is_left_alone(tmp_path: Path) -> None:
    assert broken_off(tmp_path, None) == ([], False)


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("no disk"), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_an_error_ends_the_run_and_goes_on(
    tmp_path: Path, error: BaseException, status: str
) -> None:
    ends, closed = broken_off(tmp_path, error)

    assert ends == [(status, f"{type(error).__name__}: {error}")]
    assert closed
