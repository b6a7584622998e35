"""A section's every option reaches the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.conv_transformer import ConvTransformer as ConvTransformerNet
from models.inverted_transformer import InvertedTransformer as InvertedTransformerNet
from models.vertical_vit import VerticalVit as VerticalVitNet
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.recipe import (
    Augment,
    ConvTransformer,
    InvertedTransformer,
    Recipe,
    Training,
    VerticalVit,
    VerticalVitTeacher,
)
from orchestrator.training.augment import heard, stretched_lengths
from orchestrator.training.networks import build_network

FEATURES = LogMelFeatures(bins=8, deltas=1)
VIT: dict[str, Any] = {"dim": 12, "depth": 1, "heads": 2, "head_dim": 4, "mlp_dim": 6}
CONV: dict[str, Any] = {"channels": (2, 3), "dim": 8, "depth": 1, "heads": 2, "mlp_dim": 6}
INVERTED: dict[str, Any] = {
    "window_seconds": 0.2,
    "dim": 8,
    "depth": 1,
    "heads": 2,
    "mlp_dim": 6,
}


def shapes(section: VerticalVit | ConvTransformer | InvertedTransformer) -> dict[str, torch.Size]:
    network = build_network(section, features=FEATURES, classes=5)
    return {name: value.shape for name, value in network.state_dict().items()}


def test_each_kind_makes_its_network() -> None:
    vit = VerticalVit(kind="vertical-vit", **VIT)
    conv = ConvTransformer(kind="conv-transformer", **CONV)
    inverted = InvertedTransformer(kind="inverted-transformer", **INVERTED)
    for section, kind in (
        (vit, VerticalVitNet),
        (conv, ConvTransformerNet),
        (inverted, InvertedTransformerNet),
    ):
        network = build_network(section, features=FEATURES, classes=5)
        output = network(torch.randn(2, 30, 16), torch.tensor([30, 7]))

        assert isinstance(network, kind)
        assert output.logits.shape == (2, 5)
        assert output.pooled.shape == (2, section.dim)
    assert isinstance(
        build_network(VerticalVitTeacher(kind="vertical-vit", **VIT), features=FEATURES, classes=5),
        VerticalVitNet,
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("dim", 16),
        ("depth", 2),
        ("heads", 3),
        ("head_dim", 6),
        ("mlp_dim", 7),
        ("patch_frames", 2),
        ("patch_bins", 4),
        ("conv_stem", True),
        ("coordinates", True),
    ],
)
def test_every_option_of_a_vit_changes_its_weights(option: str, value: Any) -> None:
    plain = VerticalVit(kind="vertical-vit", **VIT)

    assert shapes(plain.model_copy(update={option: value})) != shapes(plain)


@pytest.mark.parametrize(
    ("option", "value"),
    [("channels", (2, 4)), ("dim", 12), ("depth", 2), ("heads", 4), ("mlp_dim", 7)],
)
def test_every_option_of_a_conv_transformer_changes_its_weights(option: str, value: Any) -> None:
    plain = ConvTransformer(kind="conv-transformer", **CONV)

    assert shapes(plain.model_copy(update={option: value})) != shapes(plain)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("window_seconds", 0.1),
        ("dim", 12),
        ("depth", 2),
        ("heads", 4),
        ("mlp_dim", 7),
        ("instance_norm", False),
    ],
)
def test_every_option_of_an_inverted_transformer_changes_its_weights(
    option: str, value: Any
) -> None:
    plain = InvertedTransformer(kind="inverted-transformer", **INVERTED)

    assert shapes(plain.model_copy(update={option: value})) != shapes(plain)


@pytest.mark.parametrize(
    ("window_seconds", "hop_seconds", "frames"),
    [(3.0, 0.01, 300), (1.5, 0.02, 75), (0.1, 0.03, 3), (0.004, 0.01, 1)],
)
def test_a_window_in_seconds_becomes_frames(
    window_seconds: float, hop_seconds: float, frames: int
) -> None:
    section = InvertedTransformer(
        kind="inverted-transformer", **INVERTED | {"window_seconds": window_seconds}
    )
    features = FEATURES.model_copy(update={"hop_seconds": hop_seconds})
    network = build_network(section, features=features, classes=5)

    assert isinstance(network, InvertedTransformerNet)
    assert network.window == frames


def test_what_is_cropped_to_a_window_fills_one_window() -> None:
    section = InvertedTransformer(kind="inverted-transformer", **INVERTED)
    recipe = Recipe(student=section, training=Training(augment=Augment(time_stretch=0.3)))
    augment = recipe.student_augment
    draws, lengths = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]), torch.tensor([500, 500])
    window = heard(augment, draws, lengths, hop_seconds=FEATURES.hop_seconds)
    spoken = stretched_lengths(augment, draws, lengths, window)
    network = build_network(section, features=FEATURES, classes=5)

    assert network(torch.randn(2, 20, 16), spoken).token_lengths.tolist() == [1, 1]


@pytest.mark.parametrize(
    "section",
    [
        VerticalVit(kind="vertical-vit", **VIT, dropout=0.25),
        ConvTransformer(kind="conv-transformer", **CONV, dropout=0.25),
        InvertedTransformer(kind="inverted-transformer", **INVERTED, dropout=0.25),
    ],
)
def test_dropout_reaches_the_network(
    section: VerticalVit | ConvTransformer | InvertedTransformer,
) -> None:
    network = build_network(section, features=FEATURES, classes=5)
    rates = {part.p for part in network.modules() if isinstance(part, torch.nn.Dropout)}

    assert rates == {0.25}
