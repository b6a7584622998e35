"""One update of a network: the terms of a batch, their gradients, a step of the optimiser."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.errors import TrainingError
from orchestrator.experiment.training import Fitting
from orchestrator.training.data import Batch
from orchestrator.training.finite import ON_A_GPU, Place, Watch
from orchestrator.training.means import EXTRA, Means
from orchestrator.training.memory import MemoryRanOutError, free_cached, out_of_memory
from orchestrator.training.optimiser import clip_gradients, new_optimiser, set_rate
from orchestrator.training.precision import Precision
from orchestrator.training.ranks import Ranks
from orchestrator.training.stage import Companion, Losses, Speech, Stage
from orchestrator.training.state import rng_states, set_rng_states
from orchestrator.training.weights import update_average
from orchestrator.training.whole_batch import Gathered, Recording, Whole


@dataclass(frozen=True)
class _Draw:
    """A global batch, with the losses on it."""

    speech: Speech
    losses: Losses
    rows: Tensor
    epoch: int
    compares: bool
    extra: bool = False
    weight: float = 1.0

    @cached_property
    def whole(self) -> Batch:
        """All of it; who asks for it twice waits once."""
        return self.speech.data.batch(self.rows, epoch=self.epoch)

    def batch(self, places: Tensor) -> Batch:
        """The utterances at some places of it."""
        if len(places) == len(self.rows):
            return self.whole
        return self.speech.data.batch(self.rows[places], epoch=self.epoch)


class Updates:
    """Takes the steps of a fit.

    Losses are means over the global batch and gradients are summed over workers and micro-batches,
    so that any number of either takes the same steps, up to the rounding of sums.

    Args:
        network: is trained.
        beside: is trained with it.
        settings: of the fit.
        ranks: workers that share each batch.
        key: of the settings in the experiment file, for messages.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        beside: nn.Module | None,
        settings: Fitting,
        ranks: Ranks,
        key: str,
    ) -> None:
        self.network = network
        self.beside = beside
        self.settings = settings
        self.ranks = ranks
        self.key = key
        both = [*network.parameters(), *(beside.parameters() if beside else ())]
        self.parameters = [parameter for parameter in both if parameter.requires_grad]
        device = str(next(network.parameters()).device)
        self.precision = Precision(settings.precision, device=device)
        self.optimiser = new_optimiser(network, beside, settings)
        averaged = settings.average_decay > 0
        self.average = copy.deepcopy(network).requires_grad_(False) if averaged else None
        self.micro = ranks.at_once or settings.micro_batch
        """Utterances that go through the network at once; None: all of a worker's part."""
        self.notes: list[str] = []
        if ranks.at_once:
            self.notes.append(
                f"out of memory on {ranks.world} workers, which began again with {ranks.at_once} "
                f"utterances at once, of the same batch; set {key}.micro_batch: {ranks.at_once} to "
                "begin so"
            )
        self._forward: Any = _compiled(network, key) if settings.compile else network
        alone_on_a_gpu = ranks.world == 1 and self.precision.kind != "cpu"
        self._watch = Watch(key, every=ON_A_GPU if alone_on_a_gpu else 1)

    def begin(self) -> None:
        """A stage begins: what the optimiser has gathered counts no longer."""
        self.optimiser = new_optimiser(self.network, self.beside, self.settings)

    def step(
        self,
        stage: Stage,
        rows: Tensor,
        beside: Tensor | None,
        *,
        train: Speech,
        place: Place,
        rate: float,
        done: int,
        means: Means,
    ) -> None:
        """Learn from a global batch.

        Args:
            stage: whose losses.
            rows: of the batch, ``(batch,)``.
            beside: of the speech that is heard beside it, if there is any.
            train: the fold's training utterances, which are heard unless the stage has others.
            place: where training is.
            rate: of the optimiser.
            done: updates before this one, over all stages.
            means: are told the terms.

        Raises:
            TrainingError: a term or the gradient is not finite, or memory ran out twice.
        """
        set_rate(self.optimiser, rate)
        heard = _drawn(stage, rows, beside, train=train, epoch=place.epoch)
        first = heard[0]
        if not self.network.training:
            self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        self._ask(stage.companions, first, place)
        sums = self._learned(heard, place, stage.companions)
        wrong = self._watch.wrong(place.update)
        if self.ranks.sum_gradients(self.parameters, bad=bool(wrong)):
            raise TrainingError(self.ranks.first_error(wrong))
        # only now, since they may talk to those of other workers
        for companion in stage.companions:
            companion.after_backward()
        self.precision.unscale(self.optimiser)
        if self.settings.gradient_clip is not None:
            norm = clip_gradients(self.parameters, self.settings.gradient_clip)
            if self.precision.scaler is None:
                ids = partial(_named, first.speech.ids, rows)
                self._watch.see({"the norm of the gradient": norm}, place=place, ids=ids)
        if wrong := self._watch.wrong(place.update):
            # after the sum every worker sees the same
            raise TrainingError(wrong)
        self.precision.step(self.optimiser)
        if self.average is not None:
            update_average(self.average, self.network, self.settings.average_decay, updates=done)
        means.labelled += len(rows)
        means.extra += 0 if beside is None else len(beside)
        means.add(sums)

    def _ask(self, companions: Sequence[Companion], first: _Draw, place: Place) -> None:
        """What runs beside the network goes first."""
        try:
            for companion in companions:
                companion.before_update(
                    self.network, lambda: first.whole, update=place.update, epoch=place.epoch
                )
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            largest = math.ceil(len(first.rows) / self.ranks.world)
            raise TrainingError(
                f"out of memory in the meta-update before update {place.update} of stage "
                f"{place.stage!r} (epoch {place.epoch}), which hears {largest} utterances at once "
                f"whatever micro_batch says; lower {self.key}.batch_size, or set recipe.meta."
                "gradient: finite-difference or recipe.meta.kind: none"
            ) from error

    def refuse_what_was_not_looked_at(self) -> None:
        """Look at all terms since the last time.

        Raises:
            TrainingError: one is not finite.
        """
        if wrong := self._watch.wrong():
            raise TrainingError(wrong)

    def _learned(
        self, heard: list[_Draw], place: Place, companions: Sequence[Companion]
    ) -> dict[str, Tensor]:
        """Gradients of all terms, and the terms' sums over this worker's part."""
        draws = rng_states()
        largest = max(math.ceil(len(one.rows) / self.ranks.world) for one in heard)
        largest = min(self.micro or largest, largest)
        try:
            return self._gradients(heard, place)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            # several workers begin again together, see orchestrator.training.launch
            if self.notes or largest == 1 or self.ranks.world > 1:
                raise MemoryRanOutError(
                    f"out of memory at update {place.update} of stage {place.stage!r} (epoch "
                    f"{place.epoch}), {'again, ' if self.notes else ''}with {largest} utterances "
                    f"at once; lower {self.key}.batch_size or {self.key}.augment.crop_seconds, or "
                    f"set {self.key}.micro_batch or {self.key}.precision: bf16",
                    largest,
                ) from error
        # only here has the error let go of what had been computed
        self.optimiser.zero_grad(set_to_none=True)
        free_cached()
        self.micro = math.ceil(largest / 2)
        self.notes.append(
            f"out of memory with {largest} utterances at once at update {place.update} of stage "
            f"{place.stage!r} (epoch {place.epoch}); from there on {self.micro} at once, of the "
            f"same batch; set {self.key}.micro_batch: {self.micro} to begin so"
        )
        set_rng_states(draws)
        for companion in companions:
            companion.begin_again(place.update)
        return self._learned(heard, place, companions)

    def _gradients(self, heard: list[_Draw], place: Place) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        together: list[Tensor] = []
        seen: list[tuple[dict[str, Tensor], _Draw, Tensor]] = []
        for one in heard:
            for places, whole in self._parts(one):
                sums = self._terms(one, places, whole)
                seen.append(({name: v.detach() for name, v in sums.items()}, one, places))
                loss = _total(sums) / len(one.rows)
                if self.micro is None:
                    together.append(loss)
                else:
                    self._backward(loss)
        if together:
            self._backward(sum(together[1:], start=together[0]))
        # only now, since what memory ran out for is computed again
        for sums, one, places in seen:
            # names, not the batch: a watch that looks seldom would keep it in memory
            ids = partial(_named, one.speech.ids, one.rows[places])
            self._watch.see(sums, place=place, ids=ids)
            for name, value in sums.items():
                found[name] = found[name] + value if name in found else value
        return found

    def _backward(self, loss: Tensor) -> None:
        if loss.requires_grad:
            self.precision.backward(loss)

    def _terms(self, one: _Draw, places: Tensor, whole: Whole | None) -> dict[str, Tensor]:
        """Sums of the terms over some utterances of a batch."""
        batch = one.batch(places)
        terms = self._said(one, batch if whole is None else replace(batch, part_of=whole))
        if not one.extra:
            return {name: value.sum() for name, value in terms.items()}
        return {f"{EXTRA}{name}": one.weight * v.sum() for name, v in terms.items()}

    def _said(self, one: _Draw, batch: Batch) -> Mapping[str, Tensor]:
        with self.precision.autocast():
            return one.losses(self._forward(*batch.inputs), batch)

    def _parts(self, one: _Draw) -> Iterator[tuple[Tensor, Whole | None]]:
        """The worker's utterances of a batch, by their places in it, so many at once."""
        ranks = self.ranks
        mine = ranks.share(torch.arange(len(one.rows)))
        micro = self.micro or len(one.rows)
        # all workers hear in parts if the one with most does
        if math.ceil(len(one.rows) / ranks.world) > micro and one.compares:
            yield from self._compared(one, mine, micro=micro)
        elif not len(mine):
            if one.compares:
                self._join(one, Gathered(one.rows, mine, ranks=ranks))
        else:
            for places in torch.split(mine, micro):
                alone = ranks.world == 1
                yield places, None if alone else Gathered(one.rows, places, ranks=ranks)

    def _compared(self, one: _Draw, mine: Tensor, *, micro: int) -> Iterator[tuple[Tensor, Whole]]:
        """The same where the losses of a part need the others': all are heard twice."""
        recording = Recording(one.rows, ranks=self.ranks)
        draws = rng_states()
        parts = torch.split(mine, micro) if len(mine) else ()
        with torch.no_grad():
            for places in parts:
                self._terms(one, places, recording.heard(places))
        if not parts:
            self._join(one, recording.heard(mine))
        recording.finish()
        set_rng_states(draws)
        for places in parts:
            yield places, recording.again(places)

    @torch.no_grad()
    def _join(self, one: _Draw, whole: Whole) -> None:
        """Take part in what the workers tell each other, without an utterance of one's own."""
        stand_in = one.batch(torch.zeros(1, dtype=torch.long))
        self._said(one, replace(stand_in, part_of=whole))


def _named(ids: Sequence[str], rows: Tensor) -> list[str]:
    return [ids[row] for row in rows.tolist()]


def _drawn(
    stage: Stage, rows: Tensor, beside: Tensor | None, *, train: Speech, epoch: int
) -> list[_Draw]:
    heard = [_Draw(stage.speech or train, stage.losses, rows, epoch, stage.compares)]
    extra = stage.extra
    if extra is not None and beside is not None:
        more = _Draw(extra.speech, extra.losses, beside, epoch, extra.compares)
        heard.append(replace(more, extra=True, weight=extra.weight))
    return heard


def _total(sums: Mapping[str, Tensor]) -> Tensor:
    return sum(sums.values(), start=torch.zeros(()))


def _compiled(network: nn.Module, key: str) -> Any:
    """The network's forward pass as torch compiles it, for any number of utterances and frames."""
    compiled = torch.compile(network, dynamic=True)

    def forward(*inputs: Tensor) -> Any:
        try:
            return compiled(*inputs)
        except Exception as error:
            if not type(error).__module__.startswith("torch._"):
                raise
            said = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise TrainingError(
                f"{key}.compile: torch.compile cannot compile the network on this machine "
                f"({' '.join(said[:2])}); set it to false"
            ) from error

    return forward
