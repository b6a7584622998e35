"""From a section of the recipe to a network."""

from __future__ import annotations

from torch import nn

from models.conv_transformer import ConvTransformer as ConvTransformerNet
from models.inverted_transformer import InvertedTransformer as InvertedTransformerNet
from models.vertical_vit import VerticalVit as VerticalVitNet
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.recipe import ConvTransformer, InvertedTransformer, VerticalVit


def build_network(
    section: VerticalVit | ConvTransformer | InvertedTransformer,
    *,
    features: LogMelFeatures,
    classes: int,
) -> nn.Module:
    """The network that ``section`` describes, with fresh weights from torch's generator."""
    if isinstance(section, VerticalVit):
        return VerticalVitNet(
            bins=features.bins,
            channels=features.channels,
            classes=classes,
            dim=section.dim,
            depth=section.depth,
            heads=section.heads,
            head_dim=section.head_dim,
            mlp_dim=section.mlp_dim,
            patch_frames=section.patch_frames,
            patch_bins=section.patch_bins,
            conv_stem=section.conv_stem,
            coordinates=section.coordinates,
            dropout=section.dropout,
        )
    if isinstance(section, InvertedTransformer):
        return InvertedTransformerNet(
            bins=features.bins,
            channels=features.channels,
            classes=classes,
            window=max(1, round(section.window_seconds / features.hop_seconds)),
            dim=section.dim,
            depth=section.depth,
            heads=section.heads,
            mlp_dim=section.mlp_dim,
            instance_norm=section.instance_norm,
            dropout=section.dropout,
        )
    return ConvTransformerNet(
        bins=features.bins,
        channels=features.channels,
        classes=classes,
        widths=section.channels,
        dim=section.dim,
        depth=section.depth,
        heads=section.heads,
        mlp_dim=section.mlp_dim,
        dropout=section.dropout,
    )
