"""The unlabelled corpora of an experiment, read as one, for the fold runs that want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from orchestrator.corpora import Corpus
from orchestrator.corpora.joint import prefix
from orchestrator.corpus_inputs import Inputs
from orchestrator.experiment import Experiment
from orchestrator.store import Store
from orchestrator.training.task import Unlabelled, UnlabelledSpeech


@dataclass(frozen=True)
class PreparedSpeech:
    """The unlabelled corpora of an experiment as one, for every fold of every labelled corpus."""

    corpora: tuple[Corpus, ...]
    speech: UnlabelledSpeech
    used_by: Literal["recipe", "ablations", ""]
    """Who is known to want it; "" if that is up to the trials of a sweep."""

    @classmethod
    def of(cls, corpora: Sequence[Corpus], experiment: Experiment, store: Store) -> Self:
        """The ``corpora`` as one, with the corpus's name in front of each id.

        Raises:
            PretrainedError: the teacher's folder is no speech encoder.
        """
        inputs = Inputs.joined(corpora, experiment, store)
        heard = sorted(
            (prefix(corpus) + id_, content)
            for corpus in corpora
            for id_, content in zip(corpus.table["id"], corpus.table["content"], strict=True)
        )
        used_by: Literal["recipe", "ablations", ""] = ""
        if experiment.recipe.unlabelled.kind != "none":
            used_by = "recipe"
        elif experiment.ablations_hear_unlabelled:
            used_by = "ablations"
        return cls(
            corpora=tuple(corpora),
            speech=UnlabelledSpeech(
                utterances=Unlabelled(
                    ids=tuple(id_ for id_, _ in heard),
                    contents=tuple(content for _, content in heard),
                ),
                frames=inputs.frames,
                encoder=inputs.encoder,
                waveforms=inputs.waveforms,
                attended=inputs.attended,
            ),
            used_by=used_by,
        )

    def describe(self) -> str:
        """What the protocol string adds; "" if nobody is known to want the speech."""
        named = ", ".join(f"{one.name} ({len(one.table)} utterances)" for one in self.corpora)
        where = {"recipe": "", "ablations": ", in ablations"}
        return f" | unlabelled{where[self.used_by]}: {named}" if self.used_by else ""
