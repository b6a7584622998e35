"""Where a fit under way leaves its state, to go on from bit by bit after a crash."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from orchestrator.canonical import JSON
from orchestrator.errors import StoreError
from orchestrator.store import CHECKPOINTS, FIT, Store
from orchestrator.store.publication import holder
from orchestrator.training.ranks import ALONE, Ranks

log = logging.getLogger(__name__)

_STATE = re.compile(r"(?P<epoch>\d{6,})-(?P<digest>[0-9a-f]{32})\.safetensors")
_PROGRESS = "progress"


@dataclass
class Progress:
    """How far a fit is, and what it has seen of validation."""

    stage: int = 0
    """The stage under way, or about to begin."""
    stage_epochs: int = 0
    """Epochs done in it."""
    epoch: int = 0
    """Epochs done over all stages."""
    updates: int = 0
    """Updates done over all stages."""
    best: float = math.inf
    """The best smoothed validation score, less being better."""
    trail: list[float] = field(default_factory=list)
    """Validation scores of the epochs that may be chosen."""
    history: list[dict[str, float]] = field(default_factory=list)
    kept_epoch: int = 0
    workers: list[list[int]] = field(default_factory=list)
    """From which epoch on, counted from 1, how many workers trained: ``[[1, 2], [7, 1]]``."""

    micro: int | None = None
    """Utterances that go through the network at once, where memory ran out for more."""
    notes: list[str] = field(default_factory=list)
    """What whoever reads the result should know of how it came about."""

    def go_on_with(self, workers: int) -> None:
        """Note how many workers train from the next epoch on, if that is news."""
        if not self.workers or self.workers[-1][1] != workers:
            self.workers.append([self.epoch + 1, workers])

    def facts(self) -> dict[str, JSON]:
        """What a result has to say of how it came about: ``workers``, if their number changed, and
        ``notes``, if there are any.
        """
        found: dict[str, JSON] = {}
        notes = list(self.notes)
        if len(self.workers) > 1:
            found["workers"] = [list(pair) for pair in self.workers]
            told = ", ".join(f"from epoch {epoch} on {count}" for epoch, count in self.workers)
            notes.append(f"trained by changing numbers of workers: {told}")
        if notes:
            found["notes"] = [*notes]
        return found


@dataclass(frozen=True)
class Saved:
    """Everything that the next epoch depends on."""

    parts: dict[str, dict[str, Tensor]]
    """Tensors by part (network, optimiser, ...) and name."""
    progress: Progress


class Checkpoint:
    """The last two states of a fit, in the store: files whose names say epoch and content.

    They lie under the key of what the fit makes without the number of its workers, and that number.
    A fit that has no state of its own goes on from what one with another number of workers left,
    unless that is under way on this machine.

    Args:
        store: has them, so that another node can go on.
        stage: of the artifact that the fit makes.
        inputs: its store inputs.
        minutes: at least so long after the last one; 0: after every epoch.
        epochs: after so many epochs, too, however little time that took.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        store: Store,
        stage: str,
        inputs: Mapping[str, JSON],
        *,
        minutes: float,
        epochs: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.seconds = 60.0 * minutes
        self.epochs = epochs
        self.clock = clock
        shared = {name: value for name, value in inputs.items() if name != "workers"}
        self._stage = stage
        self._shared = f"{CHECKPOINTS}/{stage}/{store.key(stage, shared)}-"
        self.folder = f"{self._shared}{inputs.get('workers', 1)}"
        self._fit = json.dumps({"stage": stage, "key": store.key(stage, inputs)}).encode()
        self._last, self._last_epoch = clock(), 0
        self._claimed = self._failing = False

    def due(self, epoch: int) -> bool:
        """Whether it is time for another, ``epoch`` epochs being done."""
        if self.epochs is not None and epoch - self._last_epoch >= self.epochs:
            return True
        return self.clock() - self._last >= self.seconds

    def write(self, saved: Saved) -> bool:
        """Add a state and throw away those before the last; whoever is killed leaves them whole.

        Returns:
            Whether the store has it. If not, training can go on: a warning says what is wrong, the
            earlier states stay, and it is tried again when the next one is due.
        """
        epoch = saved.progress.epoch
        data = _packed(saved)
        name = f"{epoch:06d}-{_digest(data)}.safetensors"
        try:
            self._claim()
            self.store.files.write(f"{self.folder}/{name}", data)
        except OSError as error:
            if not self._failing:
                log.warning(
                    "store %r takes no checkpoint after epoch %d (%s); training goes on, and a "
                    "crash would cost what was done since the last one: free some space or make "
                    "it writable",
                    self.store.shown,
                    epoch,
                    error,
                )
            self._failing = True
            return False
        finally:
            self._last, self._last_epoch = self.clock(), epoch
        self._failing = False
        with contextlib.suppress(OSError):
            self._thin(name)
        return True

    def read(self, ranks: Ranks = ALONE) -> Saved | None:
        """The newest state that is whole, or None where there is none; minutes count from now.

        Of several workers the first one reads and tells the others, who need not see the store.

        Raises:
            StoreError: the store cannot be read.
        """
        data = _from_first(ranks, self._newest() if ranks.rank == 0 else b"")
        self._last = self.clock()
        if not data:
            return None
        saved = _unpacked(data)
        self._last_epoch = saved.progress.epoch
        return saved

    def remove(self) -> None:
        """Throw the fit's own states away: what they were for is done."""
        with contextlib.suppress(OSError):
            # whoever was killed in the middle of writing left a file of another name
            self.store.files.remove_folder(self.folder)

    def _states(self, folder: str) -> list[str]:
        """Names of the states in a folder, the newest first."""
        names = (name.rpartition("/")[2] for name in self.store.files.list(folder))
        return sorted(filter(_STATE.fullmatch, names), key=_epoch, reverse=True)

    def _newest(self) -> bytes:
        """The newest state that is whole, as it lies; empty where there is none."""
        try:
            for folder in (self.folder, *self._others()):
                for name in self._states(folder):
                    if data := self._whole(f"{folder}/{name}"):
                        return data
        except OSError as error:
            raise StoreError(
                f"store {self.store.shown!r}: the checkpoints in {self.folder} cannot be read "
                f"({error}); check its address and rights, or remove that folder to begin anew"
            ) from error
        return b""

    def _others(self) -> list[str]:
        """Folders of fits with other numbers of workers, none of which is under way here."""
        names = self.store.files.list(f"{CHECKPOINTS}/{self._stage}")
        folders = {name.rpartition("/")[0] for name in names if name.startswith(self._shared)}
        found = []
        for folder in sorted(folders - {self.folder}):
            # one of which nobody says what it is for is let alone
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                key = str(json.loads(self.store.files.read(f"{folder}/{FIT}"))["key"])
                if holder(self.store.lock(key)) is None:
                    found.append(folder)
        return found

    def _whole(self, name: str) -> bytes:
        """A state that can be gone on from; empty, and a warning, if it is none."""
        try:
            data = self.store.files.read(name)
            if _digest(data) != name.rpartition("/")[2].partition("-")[2].partition(".")[0]:
                raise ValueError("not the bytes that were written")
            _unpacked(data)
        except (SafetensorError, FileNotFoundError, KeyError, TypeError, ValueError) as error:
            log.warning(
                "checkpoint %s is damaged or of another version (%s); the one before it is used, "
                "or training begins anew",
                name,
                error,
            )
            return b""
        return data

    def _claim(self) -> None:
        """Say, once, what the states are for."""
        if self._claimed:
            return
        self.store.files.write(f"{self.folder}/{FIT}", self._fit)
        self._claimed = True

    def _thin(self, written: str) -> None:
        """Keep the state just written and the newest before it."""
        # those of later epochs were passed over as damaged, or left by another version of the code
        others = [name for name in self._states(self.folder) if name != written]
        before = [name for name in others if _epoch(name) <= _epoch(written)]
        for name in set(others) - set(before[:1]):
            self.store.files.remove(f"{self.folder}/{name}")


def _epoch(name: str) -> int:
    return int(name.partition("-")[0])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _from_first(ranks: Ranks, data: bytes) -> bytes:
    """The first worker's bytes, on every worker."""
    if ranks.world == 1:
        return data
    # nccl knows no tensors of the CPU
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    size = torch.tensor([len(data)], device=device)
    torch.distributed.broadcast(size, src=0)
    told = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(int(size))
    told = told.to(device, torch.uint8)
    torch.distributed.broadcast(told, src=0)
    return told.cpu().numpy().tobytes()


def _packed(saved: Saved) -> bytes:
    facts = json.dumps(dataclasses.asdict(saved.progress)).encode()
    tensors = {_PROGRESS: torch.frombuffer(bytearray(facts), dtype=torch.uint8)}
    memory: set[int] = set()
    for part, own in saved.parts.items():
        for name, value in own.items():
            here = value.detach().cpu().contiguous()
            # equal memory under two names is refused by the format
            place = here.untyped_storage().data_ptr()
            tensors[f"{part}/{name}"] = here.clone() if place in memory else here
            memory.add(place)
    return save(tensors)


def _unpacked(data: bytes) -> Saved:
    tensors = load(data)
    progress = Progress(**json.loads(bytes(tensors.pop(_PROGRESS).numpy())))
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, name = key.split("/", 1)
        parts.setdefault(part, {})[name] = value
    return Saved(parts, progress)
