"""How much memory this machine has, and how much of it a process holds for itself."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

SHARE = 0.9
"""Of a machine's memory that fold runs may have: the rest is for Ray, MLflow and the system."""

LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where a container says what it may use."""

STATUS = Path("/proc/self/status")


def room_bytes() -> int:
    """What fold runs may have of this machine, or of the container that this process is in."""
    return int(SHARE * machine_bytes())


def machine_bytes() -> int:
    """Memory of this machine, or less if its container has a limit."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in LIMITS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            # there is none, or it says "max"
            continue
    return min(found)


def peak_private_bytes() -> int:
    """The most that this process has held for itself so far.

    Mapped files (libraries, packed features) do not count: processes share them, and the system
    takes them back when it needs to. Where the system does not tell them apart, they do.
    """
    try:
        status = STATUS.read_text()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most
    # what is mapped only grows, so at the peak it was hardly less than now
    return (
        max(
            _kilobytes(status, "VmHWM")
            - _kilobytes(status, "RssFile")
            - _kilobytes(status, "RssShmem"),
            _kilobytes(status, "RssAnon"),
        )
        * 1024
    )


def _kilobytes(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) if found else 0
