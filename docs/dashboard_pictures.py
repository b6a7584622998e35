"""Make the docs' pictures of the dashboard: a shipped experiment is run, and its runs looked at.

    pip install 'understudy[docs]'      # and Chromium with its driver: Debian's are fine
    python docs/dashboard_pictures.py

It takes some ten minutes on two cores, one where ``--folder`` is a folder in which it ran before,
and writes ``docs/dashboard-*.png``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

DOCS = Path(__file__).resolve().parent
EXPERIMENT = DOCS.parent / "experiments" / "demo.yaml"
UNDERSTUDY = (sys.executable, "-m", "orchestrator.cli")

WINDOW = (1900, 1000)
PATIENCE = 60.0
"""Seconds for a page, or the server, to show what it is opened for."""
SETTLED = 2.0
"""Seconds more, for what moves to have come to rest."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)

SCORE = "validation/macro_recall"
COLUMNS = (
    *(f"metrics.`{SCORE}{what}`" for what in ("", "_std", "_n", "_low", "_high")),
    "metrics.`parameters`",
)
LETTER = 7
"""Pixels of a column's width for each letter of its name."""
SET_OUT = """
const [experiment, table] = arguments;
const place = `MLflowLocalStorage-1.1-ExperimentPage-["${experiment}"]-ReactComponentState`;
localStorage.setItem(place, table);
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
"""
"""JavaScript that has the dashboard show a table as if somebody had chosen it, and training first,
not language models.
"""
HIDE = """
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode())
    texts.currentNode.data = texts.currentNode.data.replaceAll(arguments[0], "~");
"""
"""JavaScript that leaves a folder's path out of what a page says."""
SEES_PICTURE = "return [...document.images].some(it => it.complete && it.naturalWidth > 500)"


def sees(text: str) -> str:
    """JavaScript that says whether a page shows a text."""
    return f"return document.body.innerText.includes({json.dumps(text)})"


def main() -> None:
    """Run what has not run, open the dashboard, and take a picture of four of its pages."""
    parser = argparse.ArgumentParser(description="Make the docs' pictures of the dashboard.")
    parser.add_argument("--folder", type=Path, help="where it runs (default: a temporary folder)")
    parser.add_argument("--to", type=Path, default=DOCS, help="where the pictures go")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        run_experiment(folder)
        runs = Runs(f"sqlite:///{folder / 'understudy.db'}")
        pages = {
            "trials": (f"{runs.home}/runs", sees(runs.best.info.run_name)),
            "curves": (runs.artifact(runs.best, "curves.png"), SEES_PICTURE),
            "confusion": (runs.artifact(runs.student, runs.confusion()), SEES_PICTURE),
            "model": (runs.model(), sees(runs.alias)),
        }
        with dashboard(folder) as address, chromium() as browser:
            browser.get(f"{address}/health")
            browser.execute_script(SET_OUT, runs.experiment_id, json.dumps(runs.table()))
            for name, (page, condition) in pages.items():
                look(browser, f"{address}/#{page}", condition)
                browser.execute_script(HIDE, str(folder))
                browser.save_screenshot(str(asked.to / f"dashboard-{name}.png"))


def run_experiment(folder: Path) -> None:
    """The sweep, and the evaluation of its best recipe; what has ended is not done again."""
    for name, *options in (("sweep",), ("evaluate", "--best-of", EXPERIMENT.stem)):
        subprocess.run([*UNDERSTUDY, name, str(EXPERIMENT), *options], cwd=folder, check=True)


class Runs:
    """The runs of an experiment that has ended, and on which page of the dashboard they are."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri, registry_uri=uri)
        experiment = self.client.get_experiment_by_name(EXPERIMENT.stem)
        assert experiment is not None, "its commands have ended"
        self.experiment_id = experiment.experiment_id
        self.home = f"/experiments/{self.experiment_id}"
        self.trials = self._of_kind("trial", order=f"metrics.`{SCORE}` DESC")
        self.best = self.trials[0]
        (self.student,) = (it for it in self._of_kind("system") if it.info.run_name == "distilled")
        self.alias = min(self.client.get_registered_model(EXPERIMENT.stem).aliases)

    def _of_kind(self, kind: str, *, order: str = "attributes.start_time ASC") -> Sequence[Any]:
        found: Sequence[Any] = self.client.search_runs(
            [self.experiment_id],
            filter_string=f"tags.`understudy.kind` = '{kind}'",
            order_by=[order],
        )
        return found

    def table(self) -> dict[str, object]:
        """What the table of runs shows: trials, the best first, scores beside what differs."""
        differs = sorted(
            name
            for name in self.best.data.params
            if len({trial.data.params.get(name) for trial in self.trials}) > 1
        )
        columns = [*COLUMNS, *(f"params.`{name}`" for name in differs)]
        return {
            "searchFilter": "tags.`understudy.kind` = 'trial'",
            "orderByKey": COLUMNS[0],
            "orderByAsc": False,
            "selectedColumns": columns,
            "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *columns],
            "columnWidths": {
                "attributes.`Run Name`": 100,
                "runDateAndNestInfo": 150,
                **{name: LETTER * len(name.split("`")[1]) + 30 for name in columns},
            },
        }

    def artifact(self, run: Any, path: str) -> str:
        """A file of a run."""
        return f"{self.home}/runs/{run.info.run_id}/artifactPath/{quote(path)}"

    def confusion(self) -> str:
        """The path of the student's confusion on test."""
        files = self.client.list_artifacts(self.student.info.run_id, "test")
        return next(file.path for file in files if file.path.endswith("-confusion.png"))

    def model(self) -> str:
        """The registered model."""
        return f"/models/{quote(EXPERIMENT.stem)}"


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """The dashboard's address, while it is served."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [*UNDERSTUDY, "dashboard", str(EXPERIMENT), "--port", str(port)]
    server = subprocess.Popen(command, cwd=folder)
    end = time.monotonic() + PATIENCE
    try:
        while not answers(f"{address}/health"):
            if server.poll() is not None or time.monotonic() > end:
                sys.exit("the dashboard did not start")
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def answers(address: str) -> bool:
    """Whether there is somebody."""
    try:
        with urlopen(address, timeout=5.0):
            return True
    except OSError:
        return False


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a screen, and without a memory of what it saw before."""
    from selenium import webdriver

    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        sys.exit("chromium and chromedriver are needed: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size={},{}".format(*WINDOW)):
            options.add_argument(flag)
        browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            yield browser
        finally:
            browser.quit()


def look(browser: Any, address: str, condition: str) -> None:
    """Open a page and wait until it shows what it is opened for."""
    browser.get("about:blank")  # or else another page of the same address is no new page
    browser.get(address)
    end = time.monotonic() + PATIENCE
    while not browser.execute_script(condition):
        if time.monotonic() > end:
            sys.exit(f"{address} does not show what it should within {PATIENCE:.0f} s: {condition}")
        time.sleep(0.2)
    time.sleep(SETTLED)


if __name__ == "__main__":
    main()
