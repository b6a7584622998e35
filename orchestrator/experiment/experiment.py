"""The whole experiment file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from orchestrator.errors import nearest
from orchestrator.experiment.corpus import CorpusSection
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.protocol import CrossCorpus, ProtocolSection
from orchestrator.experiment.recipe import Recipe
from orchestrator.experiment.section import Section

Metric = Literal["macro_recall", "accuracy", "weighted_f1", "macro_f1"]
System = Literal["teacher", "student-alone", "distilled"]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Search(Section):
    """The ``search`` section: what is proposed and how it is scored, on validation only."""

    space: str
    """A function of ``search_spaces``, by file name."""
    trials: Annotated[int, Field(ge=1)] = 40
    metric: Metric = "macro_recall"
    protocol: ProtocolSection | None = None
    """Folds of the search, usually cheaper than the evaluation's; default: the same."""
    seeds: Seeds = (0,)
    """Training seeds of each fold, averaged inside the fold."""
    sampler: Literal["tpe", "random"] = "tpe"
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the sampler."""


class Selected(Section):
    """Which trial a recipe was taken from; set by ``--best-of``, not by hand."""

    sweep: str
    trial: int
    protocol: ProtocolSection
    """Of the sweep, as it was."""
    seeds: Seeds
    fingerprints: dict[str, str]
    """Of the sweep's corpora, by name."""


class Evaluate(Section):
    """The ``evaluate`` section: the sealed measurement."""

    seeds: Seeds = (0, 1, 2)
    selection: Literal["fixed", "same-corpus"] = "fixed"
    """How the recipe came about: as written, or as the best trial of this experiment's sweep."""
    systems: Annotated[tuple[System, ...], Field(min_length=1)] = (
        "teacher",
        "student-alone",
        "distilled",
    )
    """``student-alone`` is the same student and update budget with cross-entropy only."""
    folds: tuple[str, ...] = ()
    """Names of the folds to evaluate (``speaker=03``), for a quick look; default: all."""


class TrialResources(Section):
    """What one fold run holds while it runs."""

    cpus: Annotated[int, Field(ge=1)] = 1
    """Threads of a fold run; one of its inputs, since sums depend on it."""
    gpus: Annotated[float, Field(ge=0.0)] = 0.0


class Resources(Section):
    """The ``resources`` section."""

    trial: TrialResources = TrialResources()
    concurrent: Annotated[int, Field(ge=1)] | None = None
    """Fold runs at once; default: as many as the cluster holds."""
    teacher_workers: Annotated[int, Field(ge=1)] = 1
    """More than one trains the fold's teacher under Ray Train."""
    student_workers: Annotated[int, Field(ge=1)] = 1


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
        self._crossing(set(titles))
        if self.evaluate.selection == "same-corpus" and self.search is None:
            raise ValueError(
                "evaluate.selection is 'same-corpus' but there is no search section; "
                "add one or use selection: fixed"
            )
        workers = max(self.resources.student_workers, self.resources.teacher_workers)
        if self.recipe.training.batch_size < workers:
            raise ValueError(
                f"recipe.training.batch_size {self.recipe.training.batch_size} is less than the "
                f"{workers} workers that share each batch; raise it or ask for fewer workers"
            )
        if workers > 1 and self.resources.trial.gpus:
            raise ValueError(
                f"resources: {workers} workers with GPUs are not supported yet, since nobody has "
                "been able to test them; use one worker a fold run, or workers without GPUs"
            )
        for name, network in (("student", self.recipe.student), ("teacher", self.recipe.teacher)):
            patch = getattr(network, "patch_bins", None)
            if patch is not None and self.features.bins % patch:
                raise ValueError(
                    f"recipe.{name}.patch_bins {patch} does not divide features.bins "
                    f"{self.features.bins}"
                )
        return self

    def _crossing(self, titles: set[str]) -> None:
        """Raise where ``cross-corpus`` cannot be, or the search would see what is tested."""
        if self.common_labels and len(titles) < 2:
            raise ValueError("common_labels is true but there is one corpus only; add another")
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
                raise ValueError(f"{key} is cross-corpus but there is one corpus only; add another")
            for name in (*protocol.train, *protocol.test):
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
