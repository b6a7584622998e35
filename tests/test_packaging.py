"""What is installed is what stands here, and nothing of the machine it was written on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import orchestrator

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("orchestrator", "models", "search_spaces", "experiments")
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]


def written_files() -> list[Path]:
    """The checkout's own files: those git tracks or would, without large and binary ones."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [CHECKOUT / name for name in listed.stdout.decode().split("\0") if name]
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()[:8192]]


def test_the_version_is_told_once() -> None:
    assert PROJECT["version"] == orchestrator.__version__


def test_the_constraints_are_names_and_versions_only() -> None:
    lines = (CHECKOUT / "constraints.txt").read_text("utf-8").splitlines()

    assert [
        line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9._]+", line)
    ] == []


def test_every_dependency_is_among_the_constraints() -> None:
    def plain(requirement: str) -> str:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name

        return re.sub(r"[-_.]+", "-", name[0]).lower()

    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    tested = (CHECKOUT / "constraints.txt").read_text("utf-8").splitlines()[1:]

    assert {plain(it) for it in wanted} - {plain(it) for it in tested} == set()


def test_no_path_of_this_machine_stands_in_the_project() -> None:
    places = {str(CHECKOUT.parent) + "/", str(Path.home()) + "/"} - {"//", "/tmp/"}

    assert [
        f"{file.relative_to(CHECKOUT)}: {place}"
        for file in written_files()
        for place in places
        if place.encode() in file.read_bytes()
    ] == []


def test_a_wheel_holds_the_packages_and_the_experiments(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in PACKAGES:
        shutil.copytree(
            CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / file, source)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("understudy-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    installed = {
        file.relative_to(tmp_path / "installed").as_posix()
        for name in PACKAGES
        for file in (tmp_path / "installed" / name).rglob("*.*")
    }
    expected = {
        file.relative_to(source).as_posix()
        for name in PACKAGES
        for file in (source / name).rglob("*.*")
        if file.suffix in (".py", ".yaml")
    }

    assert installed == expected

    listed = subprocess.run(
        [
            sys.executable,
            "-c",
            "from orchestrator.experiment import shipped; "
            "print(shipped.experiments_folder(), *shipped.list_experiments())",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()

    assert Path(listed[0]) == (tmp_path / "installed" / "experiments").resolve()
    assert listed[1:] == sorted(file.stem for file in (CHECKOUT / "experiments").glob("*.yaml"))
