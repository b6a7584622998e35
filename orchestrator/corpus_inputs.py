"""What networks are given of a corpus: features, and what the recipe's encoder needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from orchestrator.corpora import Corpus
from orchestrator.corpora.joint import prefix
from orchestrator.encoder_outputs import EncoderHandle, encoder_handle, encoder_shards
from orchestrator.experiment import Experiment
from orchestrator.experiment.recipe import PretrainedTeacher
from orchestrator.features import PackHandle, feature_shards, pack_handle
from orchestrator.store import Store
from orchestrator.teacher_encoder import encoder_sample_rate
from orchestrator.waveforms import waveform_handle, waveform_shards

Build = Callable[[], bool]
"""Makes one shard unless the store has it; says whether it was reused."""


@dataclass(frozen=True)
class Inputs:
    """Where the inputs of a corpus, or of several that are read as one, will be."""

    frames: PackHandle
    encoder: EncoderHandle | None = None
    """Outputs of the pretrained teacher's encoder, as far as it is frozen."""
    waveforms: PackHandle | None = None
    """Waveforms at the encoder's rate, for a teacher all of whose layers may change."""

    @classmethod
    def of(cls, corpus: Corpus, experiment: Experiment, store: Store) -> Self:
        """The inputs of ``corpus``, once the shards of :func:`stages` have been made.

        Raises:
            PretrainedError: the teacher's folder is no speech encoder.
        """
        frames = pack_handle(corpus, experiment.features, store=store)
        teacher = experiment.recipe.teacher
        if not isinstance(teacher, PretrainedTeacher):
            return cls(frames)
        if teacher.hears_waveforms:
            rate = encoder_sample_rate(teacher.root, teacher.revision)
            return cls(frames, waveforms=waveform_handle(corpus, sample_rate=rate, store=store))
        device = device_of(experiment)
        return cls(frames, encoder=encoder_handle(corpus, teacher, store=store, device=device))

    @classmethod
    def joined(cls, corpora: Sequence[Corpus], experiment: Experiment, store: Store) -> Self:
        """The inputs of several corpora as one, the corpus's name in front of each id.

        Raises:
            PretrainedError: the teacher's folder is no speech encoder.
        """
        each = [cls.of(corpus, experiment, store) for corpus in corpora]
        before = [prefix(corpus) for corpus in corpora]
        encoders = [one.encoder for one in each if one.encoder is not None]
        waveforms = [one.waveforms for one in each if one.waveforms is not None]
        return cls(
            frames=PackHandle.joined([one.frames for one in each], prefixes=before),
            encoder=EncoderHandle.joined(encoders, prefixes=before) if encoders else None,
            waveforms=PackHandle.joined(waveforms, prefixes=before) if waveforms else None,
        )


def stages(
    corpus: Corpus, experiment: Experiment, store: Store
) -> Iterator[tuple[str, Sequence[Build]]]:
    """What makes the inputs of ``corpus``: the name and shards of each stage, in order.

    Raises:
        PretrainedError: the teacher's folder is no speech encoder.
    """
    yield (
        f"features of {corpus.name}",
        feature_shards(corpus, experiment.features, store=store),
    )
    teacher = experiment.recipe.teacher
    if not isinstance(teacher, PretrainedTeacher):
        return
    if teacher.hears_waveforms:
        rate = encoder_sample_rate(teacher.root, teacher.revision)
        yield (
            f"waveforms of {corpus.name}",
            waveform_shards(corpus, sample_rate=rate, store=store),
        )
    else:
        device = device_of(experiment)
        yield (
            f"encoder outputs of {corpus.name}",
            encoder_shards(corpus, teacher, store=store, device=device),
        )


def device_of(experiment: Experiment) -> str:
    """The device that fold runs of this experiment compute on."""
    return "cuda" if experiment.resources.trial.gpus else "cpu"
