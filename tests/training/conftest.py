"""Features of the tiny corpus, made once, and stores that have nothing but them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

import models.pretrained
from orchestrator.preparation import prepare
from orchestrator.store import Store
from tests.training.attending import AttendingHome
from tests.training.tiny import PRETRAINED, Encoder, Home, experiment, recipe_of


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The tiny corpus with its features, and what the fake encoder makes of it."""
    home = Home.build(tmp_path_factory.mktemp("features"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        pretend(monkeypatch)
        prepare(experiment(recipe=recipe_of(PRETRAINED)), Store(home.source))
    return home


@pytest.fixture
def new_store(home: Home, tmp_path: Path) -> Callable[[], Store]:
    """A function that makes another store with what ``home`` has and nothing else."""
    number = count()
    return lambda: home.store(tmp_path / f"store{next(number)}")


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    """A store with what ``home`` has and nothing else."""
    return new_store()


@pytest.fixture(scope="session")
def attending(tmp_path_factory: pytest.TempPathFactory) -> AttendingHome:
    """A labelled corpus with its features, and what students attend to as it does."""
    return AttendingHome.build(tmp_path_factory.mktemp("attending"))


@pytest.fixture
def fake_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any folder is a speech encoder of two layers and three features."""
    pretend(monkeypatch)


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.pretrained, "load_encoder", lambda root, *, device: Encoder())
    monkeypatch.setattr(models.pretrained, "weights_hash", lambda root: "hash")
