"""What the system says of memory, on machines that say it differently."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from orchestrator.capacity import machine_memory
from orchestrator.capacity.machine_memory import machine_bytes, peak_private_bytes, room_bytes

STATUS = """\
Name:\tpython
VmHWM:\t    9000 kB
VmRSS:\t    5000 kB
RssAnon:\t    3000 kB
RssFile:\t    1500 kB
RssShmem:\t     500 kB
"""


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 1000 pages of 100 bytes."""
    sizes = {"SC_PAGE_SIZE": 100, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr("os.sysconf", lambda name: sizes[name])


@pytest.mark.parametrize(
    ("limit", "found"),
    [(None, 100_000), ("max\n", 100_000), ("40000\n", 40_000), ("9223372036854771712\n", 100_000)],
)
@pytest.mark.usefixtures("pages")
def test_a_container_has_what_its_limit_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, found: int
) -> None:
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr(machine_memory, "LIMITS", (tmp_path / "none", file))

    assert machine_bytes() == found
    assert room_bytes() == 0.9 * found


def test_the_peak_is_without_what_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "status"
    file.write_text(STATUS)
    monkeypatch.setattr(machine_memory, "STATUS", file)

    assert peak_private_bytes() == 1024 * (9000 - 1500 - 500)


def test_the_peak_is_no_less_than_what_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "status"
    file.write_text(STATUS.replace("9000", "5000").replace("3000", "4800"))
    monkeypatch.setattr(machine_memory, "STATUS", file)

    assert peak_private_bytes() == 1024 * 4800


def test_a_system_without_such_a_file_tells_all_that_was_resident(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_memory, "STATUS", tmp_path / "none")

    assert peak_private_bytes() > 20 * 2**20


def test_what_a_process_holds_counts_and_stays_counted(tmp_path: Path) -> None:
    before = peak_private_bytes()
    # more than any test of this process has had, lest an earlier peak hide it
    size = before + 64 * 2**20
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    del held

    assert peak_private_bytes() >= size


def test_a_mapped_file_is_not_counted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    size = 64 * 2**20
    file.write_bytes(b"x" * size)
    before = peak_private_bytes()
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert sum(pages[::4096]) > 0
        assert peak_private_bytes() < before + size / 2
