"""The sources of attention of an experiment: recognisers to fit, pretrained encoders to run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.canonical import JSON, digest
from orchestrator.corpora import Corpus
from orchestrator.corpora.strings import joined_strings
from orchestrator.corpora.transcribed import load_transcribed, native_rate
from orchestrator.corpus_inputs import Build, device_of, source_recipes
from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.experiment import Resources
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.sources import Recogniser, RecogniserSource
from orchestrator.features import feature_shards, pack_handle
from orchestrator.source_encoder import source_name
from orchestrator.store import Store
from orchestrator.tracking.tree import RunTree
from orchestrator.training.files import VALIDATION
from orchestrator.training.recogniser import RecogniserTask, Transcribed, recogniser_artifact
from orchestrator.training.task import Silent


@dataclass(frozen=True)
class PreparedRecogniser:
    """A recogniser to fit, and the speech that it hears."""

    heard: Corpus
    """The transcribed corpus, or strings of its utterances."""
    task: RecogniserTask


@dataclass(frozen=True)
class PreparedSources:
    """The recognisers that an experiment's recipes learn from, shared by all corpora and folds."""

    transcribed: Corpus
    recognisers: Mapping[str, PreparedRecogniser]
    """By ``source_name``."""

    def keys(self, store: Store) -> dict[str, str]:
        """Where each recogniser is, or will be, in the store."""
        return {name: one.task.key(store) for name, one in self.recognisers.items()}

    def describe(self) -> str:
        """What the protocol string adds."""
        return f" | recogniser: {self.transcribed.name} ({len(self.transcribed.table)} utterances)"

    def quality(self, store: Store) -> list[str]:
        """How many errors each fitted recogniser makes, as far as speakers were kept apart.

        Raises:
            StoreError: one has not been fitted.
        """
        told = []
        for one in self.recognisers.values():
            task, units = one.task, one.task.section.units
            fitted = store.get("recogniser", task.key(store))
            labels, *errors = np.load(fitted.path / VALIDATION).sum(0).tolist()
            who = ", ".join(sorted(set(task.validation.speakers)))
            said = (
                f"{100 * sum(errors) / labels:.1f} % of {labels} {units} wrong on {who}, who chose "
                "the epoch"
                if labels
                else "not measured, since nobody was kept apart; evaluate a recogniser's own file"
            )
            told.append(f"{task.corpus}: {said}")
        return told

    def stages(
        self, experiment: Experiment, store: Store, *, tree: RunTree | None
    ) -> Iterator[tuple[str, Sequence[Build]]]:
        """What makes the recognisers: the name and the jobs of each stage, in order."""
        for name, one in self.recognisers.items():
            yield (
                f"features of {one.heard.name}",
                feature_shards(one.heard, experiment.features, store=store),
            )
            yield (
                f"speech recogniser on {one.heard.name}",
                (FitRecogniser(one.task, store, tree, name),),
            )


@dataclass(frozen=True)
class FitRecogniser:
    """Fits a recogniser unless the store has it; picklable, callable anywhere."""

    task: RecogniserTask
    store: Store
    tree: RunTree | None
    name: str

    @property
    def threads(self) -> int:
        """Of the fit."""
        return self.task.threads

    def __call__(self) -> bool:
        """Fit it, telling its course to the journal of its own run; whether the store had it."""
        if self.tree is None:
            return recogniser_artifact(self.task, self.store, reporter=Silent()).reused
        journal = self.tree.journal("source", self.name)
        journal.start(
            name=f"recogniser {self.task.corpus}",
            parent=self.tree.key(),
            params={"recogniser": self.task.section.model_dump(mode="json")},
            tags={"understudy.kind": "source"},
        )
        try:
            reused = recogniser_artifact(self.task, self.store, reporter=journal).reused
        except Exception as error:
            journal.end("FAILED", reason=f"{type(error).__name__}: {error}")
            raise
        journal.end("FINISHED")
        return reused


def read_sources(
    experiment: Experiment,
    labelled: Sequence[Corpus],
    store: Store,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedSources | None:
    """Load the transcribed corpus and see what is to be fitted on it; None where nothing is.

    Args:
        labelled: the corpora that folds are made of, with which it shares nobody.

    Raises:
        CorpusError: the corpus is missing or damaged, or not apart from the labelled ones.
        ExperimentError: an ablation makes no valid recipe, the corpus's speakers are too few, or
            its audio has no such frequencies as the features.
    """
    wanted = {
        source_name(recipe.source): (where, recipe.source)
        for where, recipe in source_recipes(experiment).items()
        if isinstance(recipe.source, RecogniserSource)
    }
    if not wanted:
        return None
    # whose file says so where a recipe wants a recogniser and there is none
    (section,) = experiment.transcribed
    corpus = load_transcribed(section, memory=store.folder, progress=progress, labelled=labelled)
    refuse_frequencies(corpus, experiment.features)
    recognisers = {}
    for name, (where, source) in wanted.items():
        heard = heard_corpus(corpus, source)
        train, validation = split_speakers(
            set(corpus.table["speaker"]),
            count=source.validation_speakers,
            draw=["recogniser", source.seed],
            what=f"{where}recipe.source.validation_speakers",
        )
        recognisers[name] = PreparedRecogniser(
            heard,
            recogniser_task(
                heard,
                source,
                features=experiment.features,
                resources=experiment.resources,
                store=store,
                train=train,
                validation=validation,
                seed=source.seed,
                device=device_of(experiment),
            ),
        )
    return PreparedSources(corpus, recognisers)


def recogniser_task(
    heard: Corpus,
    section: Recogniser,
    *,
    features: LogMelFeatures,
    resources: Resources,
    store: Store,
    train: Sequence[str],
    validation: Sequence[str],
    seed: int,
    device: str,
) -> RecogniserTask:
    """The fit of a recogniser to all that the ``train`` speakers say in ``heard``."""
    return RecogniserTask(
        corpus=heard.name,
        section=section,
        features=features,
        frames=pack_handle(heard, features, store=store),
        train=Transcribed.of(heard.table, train),
        validation=Transcribed.of(heard.table, validation),
        seed=seed,
        threads=resources.trial.cpus,
        device=device,
        gpus=resources.trial.gpus,
        deterministic=resources.deterministic,
        checkpoint_minutes=resources.checkpoint_minutes,
        checkpoint_epochs=resources.checkpoint_epochs,
    )


def heard_corpus(corpus: Corpus, section: Recogniser) -> Corpus:
    """What the recogniser hears of a transcribed corpus: strings of its utterances, or itself."""
    return corpus if section.strings is None else joined_strings(corpus, section.strings)


def split_speakers(
    speakers: Collection[str], *, count: int, draw: JSON, what: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Speakers to train on, and ``count`` who choose the epoch, by a hash of ``draw`` and names.

    Args:
        what: the key that says how many, for messages.

    Raises:
        ExperimentError: nobody would be left to train on.
    """
    if count >= len(speakers):
        raise ExperimentError(
            f"{what} is {count}, but there are {len(speakers)} speakers, so nobody is left to "
            "train on; lower it"
        )
    ranked = sorted(speakers, key=lambda name: digest([draw, name]))
    return tuple(sorted(ranked[count:])), tuple(sorted(ranked[:count]))


def refuse_frequencies(corpus: Corpus, features: LogMelFeatures) -> None:
    """Raise where the features look for frequencies that the corpus was not recorded with.

    Raises:
        ExperimentError: names both and the mend.
    """
    rate = native_rate(corpus)
    top = features.sample_rate / 2 if features.highest_hz is None else features.highest_hz
    if top > rate / 2:
        default = ", half of sample_rate," if features.highest_hz is None else ""
        raise ExperimentError(
            f"features.highest_hz is {top:g}{default} but corpus {corpus.name!r} was recorded at "
            f"{rate} Hz, so it has nothing above {rate // 2} Hz and a recogniser would learn empty "
            f"bins; set features.highest_hz: {rate // 2}, which is for students too"
        )
