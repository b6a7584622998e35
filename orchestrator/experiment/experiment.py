"""The whole experiment file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from orchestrator.errors import nearest
from orchestrator.experiment.corpus import CorpusSection
from orchestrator.experiment.evaluate import Evaluate, Selected, refuse_selection
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.protocol import CrossCorpus, ProtocolSection, SpeakerRoles
from orchestrator.experiment.recipe import Recipe, RecogniserSource
from orchestrator.experiment.search import Search
from orchestrator.experiment.section import Section
from orchestrator.experiment.workers import refuse_workers


class TrialResources(Section):
    """What one fold run holds while it runs."""

    cpus: Annotated[int, Field(ge=1)] = 1
    """Threads of a fold run; one of its inputs, since sums depend on it."""
    gpus: Annotated[float, Field(ge=0.0)] = 0.0
    """Of each worker: a part of one, or some whole ones."""
    memory_gib: Annotated[float, Field(ge=0.0)] | None = None
    """Memory that a fold run is taken to need, in GiB; default: it is measured. 0: it does not
    count."""

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float) -> float:
        if gpus > 1.0 and not gpus.is_integer():
            raise ValueError(
                f"{gpus:g} is neither a part of one GPU nor a number of whole ones, and Ray gives "
                f"nothing else; say {math.floor(gpus)} or {math.ceil(gpus)}"
            )
        return gpus


class Resources(Section):
    """The ``resources`` section."""

    trial: TrialResources = TrialResources()
    concurrent: Annotated[int, Field(ge=1)] | None = None
    """Fold runs at once; default: as many as the cluster holds."""
    teacher_workers: Annotated[int, Field(ge=1)] = 1
    """More than one trains the fold's teacher under Ray Train."""
    student_workers: Annotated[int, Field(ge=1)] = 1
    checkpoint_minutes: Annotated[float, Field(ge=0.0)] = 5.0
    """Least time between two checkpoints of a fit under way, in minutes; 0: after every epoch.
    Changes no number."""
    checkpoint_epochs: Annotated[int, Field(ge=1)] | None = None
    """A checkpoint after so many epochs, too, however little time that took."""
    deterministic: bool = True
    """Bitwise the same numbers each time; false lets a GPU use faster kernels that are not."""
    device_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Of a fold run's part of a GPU's memory, what its data may fill; larger data stay on the host
    and go over batch by batch. Changes no number."""


class Tracking(Section):
    """The ``tracking`` section."""

    uri: str = "sqlite:///understudy.db"
    """MLflow tracking URI."""


class Experiment(Section):
    """An experiment file, validated. Defaults live here and nowhere else."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    corpora: Annotated[tuple[CorpusSection, ...], Field(min_length=1)]
    common_labels: bool = False
    """Learn only the emotions that all corpora have; ``cross-corpus`` does so anyway."""
    protocol: ProtocolSection
    features: LogMelFeatures = LogMelFeatures()
    recipe: Recipe
    search: Search | None = None
    evaluate: Evaluate = Evaluate()
    resources: Resources = Resources()
    store: str = "./understudy-store"
    tracking: Tracking = Tracking()
    variants: dict[str, dict[str, Any]] = {}
    """Named sets of overrides (``paper: {recipe.student.dim: 256}``), applied by ``--variant``."""
    variant: str | None = None
    """The variant that was applied; set by ``--variant``, not by hand."""
    selected: Selected | None = None
    """The trial that ``--best-of`` took the recipe from; set by it, not by hand."""

    @model_validator(mode="after")
    def _possible(self) -> Experiment:
        for key, section in (("search", self.search), ("evaluate", self.evaluate)):
            if section is not None and len(set(section.seeds)) < len(section.seeds):
                raise ValueError(f"{key}.seeds {list(section.seeds)}: each seed may stand once")
        titles = [corpus.title for corpus in self.corpora]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"corpora: two are called {title!r}; give each its own name")
        if not self.labelled:
            raise ValueError(
                "corpora: none is labelled, so there is nothing to measure; add one with "
                "labels, or set role: labelled"
            )
        self._unlabelled_speech_is_there()
        self._transcripts_are_there()
        self._held_is_there()
        self._crossing({corpus.title for corpus in self.labelled})
        refuse_selection(
            self.evaluate,
            self.search,
            protocol=self.protocol,
            shared=any(corpus.protocol is None for corpus in self.labelled),
        )
        refuse_workers(
            self.recipe,
            student=self.resources.student_workers,
            teacher=self.resources.teacher_workers,
        )
        for name, network in (("student", self.recipe.student), ("teacher", self.recipe.teacher)):
            patch = getattr(network, "patch_bins", None)
            if patch is not None and self.features.bins % patch:
                raise ValueError(
                    f"recipe.{name}.patch_bins {patch} does not divide features.bins "
                    f"{self.features.bins}"
                )
        return self

    @property
    def labelled(self) -> tuple[CorpusSection, ...]:
        """The corpora that folds are made of."""
        return tuple(corpus for corpus in self.corpora if corpus.role == "labelled")

    @property
    def unlabelled(self) -> tuple[CorpusSection, ...]:
        """The corpora whose speech may be heard without labels."""
        return tuple(corpus for corpus in self.corpora if corpus.role == "unlabelled")

    @property
    def transcribed(self) -> tuple[CorpusSection, ...]:
        """The corpus that a speech recogniser learns from, if there is one."""
        return tuple(corpus for corpus in self.corpora if corpus.role == "transcribed")

    @property
    def hears_unlabelled(self) -> bool:
        """Whether unlabelled speech is needed: by the recipe or an ablation, or maybe a trial."""
        return bool(self.unlabelled) and (
            self.search is not None
            or self.recipe.unlabelled.kind != "none"
            or self.ablations_hear_unlabelled
        )

    @property
    def ablations_hear_unlabelled(self) -> bool:
        """Whether an ablation says how unlabelled speech is used."""
        return any(
            key == "recipe.unlabelled" or key.startswith("recipe.unlabelled.")
            for changes in self.evaluate.ablations.values()
            for key in changes
        )

    def _unlabelled_speech_is_there(self) -> None:
        kind = self.recipe.unlabelled.kind
        if kind != "none" and not self.unlabelled:
            raise ValueError(
                f"recipe.unlabelled.kind is {kind!r} but no corpus has role: unlabelled; add one "
                "to corpora, such as {kind: folder, root: FOLDER}, or set recipe.unlabelled.kind: "
                "none"
            )

    def _transcripts_are_there(self) -> None:
        titles = [corpus.title for corpus in self.transcribed]
        if len(titles) > 1:
            raise ValueError(
                f"corpora: {titles[0]!r} and {titles[1]!r} are transcribed, but a recogniser "
                "learns from one corpus; leave one out"
            )
        source = self.recipe.source
        wanted = self.recipe.needs_source or self.search is not None
        if isinstance(source, RecogniserSource) and wanted and not titles:
            raise ValueError(
                "recipe.source.kind is 'recogniser' but no corpus has role: transcribed; add one "
                "to corpora, such as {kind: fsdd, root: FOLDER}"
            )

    def _protocols(self) -> Iterator[tuple[str, ProtocolSection]]:
        """Every protocol that folds are dealt by, after its key."""
        of_all = False
        for place, corpus in enumerate(self.corpora):
            if corpus.protocol is not None:
                yield f"corpora.{place}.protocol", corpus.protocol
            of_all |= corpus.role == "labelled" and corpus.protocol is None
        if of_all:
            yield "protocol", self.protocol
            if self.search is not None and self.search.protocol is not None:
                yield "search.protocol", self.search.protocol

    def _held_is_there(self) -> None:
        """Raise where the recipe uses held speakers and some folds have none."""
        if not self.recipe.needs_held:
            return
        meta = self.recipe.meta
        wants = f"kind is {meta.kind!r}" if meta.kind != "none" else "train_on_held is true"
        for key, protocol in self._protocols():
            name = "held_speakers" if isinstance(protocol, SpeakerRoles) else "held_share"
            if not getattr(protocol, name):
                raise ValueError(
                    f"recipe.meta.{wants} but {key}.{name} is 0, so no training speakers are kept "
                    f"apart for it; set {key}.{name}, or recipe.meta: {{kind: none}}"
                )

    def _crossing(self, titles: set[str]) -> None:
        """Raise where ``cross-corpus`` cannot be, or the search would see what is tested."""
        if self.common_labels and len(titles) < 2:
            raise ValueError(
                "common_labels is true but there is one corpus only that has labels; add another"
            )
        protocols = {"protocol": self.protocol}
        if self.search is not None and self.search.protocol is not None:
            protocols["search.protocol"] = self.search.protocol
            if _crossed(self.search.protocol) != _crossed(self.protocol):
                raise ValueError(
                    "search.protocol and protocol must train and test on the same corpora: a "
                    "search over the tested corpus would see its labels; leave search.protocol out"
                )
        for key, protocol in protocols.items():
            if not isinstance(protocol, CrossCorpus):
                continue
            if len(titles) < 2:
                raise ValueError(
                    f"{key} is cross-corpus but there is one corpus only that has labels; add "
                    "another"
                )
            for place, corpus in enumerate(self.corpora):
                if corpus.protocol is not None:
                    raise ValueError(
                        f"{key} is cross-corpus, whose folds are of several corpora, but "
                        f"corpora.{place}.protocol says how {corpus.title!r} alone becomes folds; "
                        "remove it"
                    )
            roles = {corpus.title: corpus.role for corpus in self.corpora}
            for name in (*protocol.train, *protocol.test):
                if roles.get(name, "labelled") != "labelled":
                    raise ValueError(
                        f"{key}: corpus {name!r} is {roles[name]}, so it is neither trained on as "
                        "labelled nor tested; take its name out"
                    )
                if name not in titles:
                    raise ValueError(f"{key}: there is no corpus {name!r}; {nearest(name, titles)}")
            idle = titles - {*protocol.train, *protocol.test}
            if protocol.train and protocol.test and idle:
                raise ValueError(
                    f"{key}: corpus {min(idle)!r} is neither in train nor in test; name it in one "
                    "of them, or leave it out of corpora"
                )
            if protocol.train and titles <= set(protocol.train):
                raise ValueError(f"{key}.train names every corpus, so none is left to test")
            if protocol.test and titles <= set(protocol.test):
                raise ValueError(f"{key}.test names every corpus, so none is left to train on")


def _crossed(protocol: ProtocolSection) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Which corpora train and which are tested, where that is the protocol."""
    return (protocol.train, protocol.test) if isinstance(protocol, CrossCorpus) else None
