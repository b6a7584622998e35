"""What the tests of bundles share."""

from __future__ import annotations

import pytest

from tests.bundle.small_student import SYNTHETIC, Trained, train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The student of one fold of the synthetic corpus."""
    return train(SYNTHETIC, tmp_path_factory.mktemp("store"))
