"""From a section of the recipe to a network."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.conv_transformer import ConvTransformer as ConvTransformerNet
from models.inverted_transformer import InvertedTransformer as InvertedTransformerNet
from models.satn import Satn as SatnNet
from models.satn import SatnEncoder
from models.speech_recogniser import SpeechRecogniser
from models.vertical_vit import VerticalVit as VerticalVitNet
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.networks import SatnNetwork, StudentNet
from orchestrator.experiment.recipe import InvertedTransformer, Satn, VerticalVit


def build_network(
    section: StudentNet,
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
    if isinstance(section, Satn):
        seconds = section.segment_seconds
        return SatnNet(
            bins=features.bins,
            channels=features.channels,
            classes=classes,
            segment=None if seconds is None else max(1, round(seconds / features.hop_seconds)),
            segment_pooling=section.segment_pooling,
            **_sizes(section),
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


def build_recogniser(
    section: SatnNetwork, *, features: LogMelFeatures, symbols: int
) -> SpeechRecogniser:
    """A speech recogniser with fresh weights from torch's generator."""
    encoder = SatnEncoder(bins=features.bins, channels=features.channels, **_sizes(section))
    return SpeechRecogniser(encoder, symbols=symbols, dropout=section.dropout)


def _sizes(section: SatnNetwork) -> dict[str, Any]:
    return {name: getattr(section, name) for name in SatnNetwork.model_fields}
