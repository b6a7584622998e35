"""Where a command's numbers come from, as its runs tell it: files, versions, corpora."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import yaml

import orchestrator
from orchestrator.evaluation.provenance import sources_digest
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import resolved
from orchestrator.preparation import Prepared, corpora_of, fingerprints_of
from orchestrator.tracking.address import redacted
from orchestrator.tracking.journal import Journal

_LIBRARIES = (
    "torch",
    "torchaudio",
    "transformers",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "ray",
    "optuna",
    "mlflow",
)


def origin_tags(
    prepared: Iterable[Prepared], *, protocols: Iterable[str], seeds: Sequence[int]
) -> dict[str, str]:
    """Tags that the runs of a command share: law 7's protocol string and provenance."""
    fingerprints = fingerprints_of(prepared)
    return {
        "understudy.protocol": "; ".join(protocols),
        "understudy.corpus": "; ".join(f"{k} {v}" for k, v in fingerprints.items()),
        "understudy.seeds": ", ".join(map(str, seeds)),
        "understudy.version": orchestrator.__version__,
        "understudy.sources": sources_digest(),
    }


def tell_origin(journal: Journal, experiment: Experiment, prepared: Sequence[Prepared]) -> None:
    """The experiment file as it was run, the environment, and the corpora, for a top run."""
    journal.artifact("experiment.yaml", experiment_file(experiment))
    journal.artifact("environment.json", environment())
    for name, corpus in corpora_of(prepared).items():
        table = corpus.table
        journal.dataset(
            name=name,
            digest=corpus.fingerprint[:32],
            source=name,
            profile=json.dumps(
                {
                    "utterances": len(table),
                    "speakers": int(table["speaker"].nunique()),
                    "emotions": dict(sorted(Counter(filter(None, table["emotion"])).items())),
                }
            ),
            context="corpus",
        )


def experiment_file(experiment: Experiment) -> bytes:
    """The experiment with every default written out, as YAML that can be run again.

    Credentials of URIs are left out; the variant that was applied, and the trial that the recipe is
    of, are said in comments, since a file has no such keys.
    """
    whole = resolved(experiment)
    said = {name: whole.pop(name) for name in ("variant", "selected")}
    comments = "".join(f"# {name}: {json.dumps(it)}\n" for name, it in said.items() if it)
    text = comments + yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
    return redacted(text).encode()


def environment() -> bytes:
    """Code, libraries and machine of this process, as JSON."""
    found: Mapping[str, object] = {
        "understudy": {"version": orchestrator.__version__, "sources": sources_digest()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    return (json.dumps(found, indent=1) + "\n").encode()
