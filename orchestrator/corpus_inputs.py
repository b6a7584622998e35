"""What networks are given of a corpus: features, and what the recipe's encoder needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from orchestrator.corpora import Corpus
from orchestrator.corpora.joint import prefix
from orchestrator.encoder_outputs import EncoderHandle, encoder_handle, encoder_shards
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import ablation_recipes
from orchestrator.experiment.recipe import PretrainedSource, PretrainedTeacher, Recipe
from orchestrator.experiment.recogniser import RecogniserExperiment
from orchestrator.features import PackHandle, feature_shards, pack_handle
from orchestrator.source_encoder import source_name, states_wanted
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
    attended: Mapping[str, EncoderHandle] = field(default_factory=dict)
    """By ``source_name``, what the self-attention layers of a pretrained source hear."""

    @classmethod
    def of(cls, corpus: Corpus, experiment: Experiment, store: Store) -> Self:
        """The inputs of ``corpus``, once the shards of :func:`stages` have been made.

        Raises:
            PretrainedError: the teacher's folder is no speech encoder.
        """
        made = cls(
            pack_handle(corpus, experiment.features, store=store),
            attended={
                name: encoder_handle(corpus, states, store=store, device=device_of(experiment))
                for name, states in pretrained_sources(experiment).items()
            },
        )
        teacher = experiment.recipe.teacher
        if not isinstance(teacher, PretrainedTeacher):
            return made
        if teacher.hears_waveforms:
            rate = encoder_sample_rate(teacher.root, teacher.revision)
            handle = waveform_handle(corpus, sample_rate=rate, store=store)
            return replace(made, waveforms=handle)
        device = device_of(experiment)
        encoder = encoder_handle(corpus, teacher, store=store, device=device)
        return replace(made, encoder=encoder)

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
            attended={
                name: EncoderHandle.joined([one.attended[name] for one in each], prefixes=before)
                for name in each[0].attended
            },
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
    device = device_of(experiment)
    for states in pretrained_sources(experiment).values():
        yield (
            f"attention source on {corpus.name}",
            encoder_shards(corpus, states, store=store, device=device),
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
        yield (
            f"encoder outputs of {corpus.name}",
            encoder_shards(corpus, teacher, store=store, device=device),
        )


def source_recipes(experiment: Experiment) -> dict[str, Recipe]:
    """The recipes that listen to a source, by where the file has them; "" is the recipe itself.

    With a search the recipe's own counts too, since trials may give the objective a weight.
    """
    recipes = {"": experiment.recipe} | {
        f"evaluate.ablations.{name}: ": one for name, one in ablation_recipes(experiment).items()
    }
    return {
        where: recipe
        for where, recipe in recipes.items()
        if recipe.source is not None
        and (recipe.needs_source or (not where and experiment.search is not None))
    }


def pretrained_sources(experiment: Experiment) -> dict[str, PretrainedTeacher]:
    """By ``source_name``, what of each pretrained source runs once over every corpus.

    Raises:
        PretrainedError: a source's root is no speech encoder, or has no such layers.
    """
    return {
        source_name(recipe.source): states_wanted(recipe.source)
        for recipe in source_recipes(experiment).values()
        if isinstance(recipe.source, PretrainedSource)
    }


def device_of(experiment: Experiment | RecogniserExperiment) -> str:
    """The device that fold runs of this experiment compute on."""
    return "cuda" if experiment.resources.trial.gpus else "cpu"
