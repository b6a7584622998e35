"""One update: in parts, in half precision, and when memory or numbers run out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.distillation.contrastive import supervised_contrastive
from models.distillation.objectives import distillation
from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import CurriculumTemperature, Training
from orchestrator.training.data import Batch, PooledData
from orchestrator.training.judges import EmotionJudge
from orchestrator.training.loop import Fitted, fit
from orchestrator.training.memory import MemoryRanOutError
from orchestrator.training.ranks import ALONE, Ranks
from orchestrator.training.stage import Companion, Extra, Losses, Speech, Stage
from orchestrator.training.student_loss import TemperatureCurriculum
from orchestrator.training.task import Silent

ROWS = 11
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1])


class Small(nn.Module):
    """A hidden layer with dropout; remembers how many utterances it heard at once, and how."""

    def __init__(self, *, dropout: float = 0.0, room: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.encoder = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)
        self.dropout = dropout
        self.room = room
        self.heard: list[int] = []
        self.computed: list[tuple[torch.dtype, bool]] = []
        self.fault: BaseException = torch.OutOfMemoryError("CUDA out of memory")

    def __deepcopy__(self, memo: dict[int, Any]) -> Small:
        twin = Small(dropout=self.dropout)
        twin.load_state_dict(self.state_dict())
        return twin

    def forward(self, pooled: Tensor) -> SimpleNamespace:
        if self.training:
            self.heard.append(len(pooled))
            if self.room is not None and len(pooled) > self.room:
                raise self.fault
        hidden = nn.functional.dropout(
            self.encoder(pooled[:, 0]).tanh(), self.dropout, self.training
        )
        logits = self.head(hidden)
        self.computed.append((logits.dtype, self.training))
        return SimpleNamespace(logits=logits, pooled=hidden)


def labelled(output: Any, batch: Batch) -> dict[str, Tensor]:
    told = nn.functional.cross_entropy(output.logits, LABELS[batch.rows], reduction="none")
    return {"cross_entropy": told}


def contrasted(output: Any, batch: Batch) -> dict[str, Tensor]:
    whole = batch.whole
    contrast = supervised_contrastive(whole.of(output.pooled), LABELS[whole.rows], temperature=0.5)
    return labelled(output, batch) | {"supervised_contrastive": whole.part(contrast)}


def speech(rows: int = ROWS, seed: int = 0) -> PooledData:
    return PooledData(np.random.default_rng(seed).normal(size=(rows, 1, 4)))


def run(
    network: nn.Module,
    losses: Losses = labelled,
    *,
    compares: bool = False,
    extra: Extra | None = None,
    companions: tuple[Companion, ...] = (),
    reporter: Any = None,
    ranks: Ranks = ALONE,
    **options: Any,
) -> Fitted:
    settings = Training.model_validate(
        {"epochs": 3, "batch_size": 8, "lr": 0.05, "epoch_choice": "last"} | options
    )
    stage = Stage(
        "student",
        settings.epochs,
        losses,
        compares=compares,
        extra=extra,
        companions=companions,
    )
    return fit(
        network,
        data=speech(),
        ids=[f"u{row}" for row in range(ROWS)],
        judge=EmotionJudge(speech(6, seed=1), [0, 1, 2, 0, 1, 2], settings=settings),
        stages=[stage],
        settings=settings,
        seed=0,
        ranks=ranks,
        reporter=reporter or Silent(),
    )


def close(one: Mapping[str, Tensor], other: Mapping[str, Tensor], *, atol: float = 1e-6) -> bool:
    return all(torch.allclose(one[name], other[name], atol=atol, rtol=0.0) for name in one)


# In parts


@pytest.mark.parametrize("micro", [1, 3, 7, 8])
def test_micro_batches_take_the_steps_of_the_batch(micro: int) -> None:
    network = Small()
    other = Extra(Speech(speech(5, seed=2), [f"x{row}" for row in range(5)]), unlabelled, 4, 0.5)
    whole = run(Small(), extra=other)
    parts = run(network, extra=other, micro_batch=micro)

    assert max(network.heard) == micro
    assert close(parts.state, whole.state)
    for mine, theirs in zip(parts.history, whole.history, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)


def unlabelled(output: Any, batch: Batch) -> dict[str, Tensor]:
    return {"distillation": output.logits.square().mean(1)}


@pytest.mark.parametrize("micro", [1, 3, 5])
def test_utterances_are_compared_across_micro_batches(micro: int) -> None:
    whole = run(Small(), contrasted, compares=True)
    parts = run(Small(), contrasted, compares=True, micro_batch=micro)
    apart = run(Small(), contrasted, micro_batch=micro)

    assert close(parts.state, whole.state, atol=2e-6)
    # it matters: had each part been compared with itself alone, other weights had come out
    assert not close(apart.state, whole.state, atol=1e-4)


def test_what_is_heard_twice_is_dropped_out_alike() -> None:
    heard: list[Tensor] = []

    def remembered(output: Any, batch: Batch) -> dict[str, Tensor]:
        heard.append(output.pooled.detach().clone())
        return contrasted(output, batch)

    run(Small(dropout=0.5), remembered, compares=True, micro_batch=4, epochs=1)

    # 8 utterances as 4 and 4, or 3 as one part that is heard once
    twice = [part for part in heard if len(part) == 4]
    assert len(twice) == 4
    assert torch.equal(twice[0], twice[2])
    assert torch.equal(twice[1], twice[3])
    assert not torch.equal(twice[0], twice[1])


# Memory


FAULTS: list[Callable[[], BaseException]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    lambda: MemoryError(),
    lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 64 bytes"),
    lambda: RuntimeError("CUDA error: out of memory"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_out_of_memory_once_goes_on_with_smaller_parts_and_says_so(
    fault: Callable[[], BaseException],
) -> None:
    network = Small(room=5)
    network.fault = fault()
    fitted = run(network)

    assert close(fitted.state, run(Small()).state)
    assert network.heard.count(8) == 1
    [note] = fitted.facts["notes"]  # type: ignore[misc]
    assert "out of memory with 8 utterances at once" in note
    assert "recipe.training.micro_batch: 4" in note


def test_an_update_begun_anew_asks_those_beside_it_once() -> None:
    class Counts(Companion):
        def __init__(self) -> None:
            self.before = self.after = 0

        def before_update(self, *args: Any, **kwargs: Any) -> None:
            self.before += 1

        def after_backward(self) -> None:
            self.after += 1

    counts = Counts()
    run(Small(room=5), companions=(counts,))

    # two batches an epoch
    assert (counts.before, counts.after) == (6, 6)


@pytest.mark.parametrize("spoilt", [0, 1])
def test_what_a_backward_pass_left_beside_the_network_counts_no_longer(spoilt: int) -> None:
    """Memory ran out in the backward pass, behind the temperature's own gradient."""
    teacher = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(1))
    section = CurriculumTemperature.model_validate({"kind": "curriculum", "epochs": 1})

    def fitted(faults: list[int], **options: Any) -> tuple[Fitted, dict[str, Tensor]]:
        hotter = TemperatureCurriculum(section, classes=3, device="cpu")
        asked = {"backward": 0}

        def fails(gradient: Tensor) -> None:
            asked["backward"] += 1
            if asked["backward"] in faults:
                raise torch.OutOfMemoryError("CUDA out of memory")

        def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
            output.logits.register_hook(fails)
            said = teacher[batch.rows]
            temperature = hotter(output.logits, said)
            hotter.saw(temperature, len(batch.rows))
            return {"distillation": distillation(output.logits, said, temperature=temperature)}

        done = run(Small(), losses, companions=(hotter,), gradient_clip=None, **options)
        return done, hotter.state()

    options: dict[str, Any] = {} if spoilt == 0 else {"micro_batch": 4}
    whole, temperature = fitted([], **options)
    # the first backward pass of an update, or its second micro-batch's
    again, other = fitted([3 + spoilt], **options)

    assert "notes" in again.facts
    assert close(again.state, whole.state)
    assert close(other, temperature)
    assert again.history[1] == pytest.approx(whole.history[1], abs=1e-5)


def test_memory_that_runs_out_beside_the_network_says_what_to_lower() -> None:
    class Hungry(Companion):
        def before_update(self, *args: Any, **kwargs: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainingError, match="meta-update before update 0 .* recipe.training.batch"):
        run(Small(), companions=(Hungry(),))


def test_an_update_begun_anew_draws_as_if_nothing_had_been() -> None:
    """What was dropped out before memory ran out does not move the generator."""
    once = Small(dropout=0.5, room=5)
    fitted = run(once, epochs=1, updates_per_epoch=1)
    torch.manual_seed(3)
    planned = run(Small(dropout=0.5), epochs=1, updates_per_epoch=1, micro_batch=4)

    assert close(fitted.state, planned.state, atol=0.0)


def test_out_of_memory_again_is_an_error_that_says_what_to_lower() -> None:
    with pytest.raises(TrainingError, match=r"again, with [24] utterances at once") as said:
        run(Small(room=1))

    assert "recipe.training.batch_size" in str(said.value)
    assert "recipe.training.micro_batch" in str(said.value)


def test_out_of_memory_with_one_utterance_is_an_error_at_once() -> None:
    with pytest.raises(TrainingError, match="with 1 utterances at once; lower"):
        run(Small(room=0), micro_batch=1)


@pytest.mark.parametrize(("options", "at_once"), [({}, 6), ({"micro_batch": 3}, 3)])
def test_a_worker_among_others_says_how_many_were_too_many(
    options: dict[str, Any], at_once: int
) -> None:
    """Of a batch of eleven the first of two workers has six; both begin again together."""
    network = Small(room=1)
    with pytest.raises(MemoryRanOutError, match=rf"^out of memory .* {at_once} utterances") as said:
        run(network, ranks=Ranks(0, 2), batch_size=11, **options)

    assert said.value.at_once == at_once
    assert network.heard == [at_once]


def test_who_begins_again_hears_fewer_at_once_and_says_so() -> None:
    network = Small()
    fitted = run(network, ranks=Ranks(at_once=3), micro_batch=6)

    assert max(network.heard) == 3
    assert close(fitted.state, run(Small()).state)
    [note] = fitted.facts["notes"]  # type: ignore[misc]
    assert "began again with 3 utterances at once" in note


def test_other_errors_are_not_taken_for_it() -> None:
    network = Small(room=2)
    network.fault = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(network)


# What is not finite


@pytest.mark.parametrize("micro", [None, 3])
def test_the_objective_that_went_first_is_named_with_step_and_utterances(
    micro: int | None,
) -> None:
    at = {"update": 0}

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        at["update"] += 1
        terms = labelled(output, batch)
        spoilt = torch.where(batch.rows == 4, torch.inf, 0.0)
        return terms | {"distillation": terms["cross_entropy"] + spoilt, "feature_map": spoilt}

    with pytest.raises(TrainingError) as said:
        run(Small(), losses, micro_batch=micro)

    assert str(said.value).startswith("distillation became inf at update ")
    assert "stage 'student' (epoch 1)" in str(said.value)
    named = str(said.value).partition("utterances of the batch: ")[2].partition(".")[0]
    assert "u4" in named.split(", ")
    assert len(named.split(", ")) <= (micro or 8)


def test_a_gradient_that_is_not_finite_stops_before_the_step() -> None:
    network = Small()

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        # the root of zero is zero, and its slope is not finite
        return {"feature_map": (output.logits * 0.0).sum(1).square().sqrt()}

    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(TrainingError, match="the norm of the gradient became nan at update 0"):
        run(network, losses)

    assert close(network.state_dict(), before, atol=0.0)


# Precision


@pytest.mark.parametrize(("name", "kind"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_in_half_precision_weights_and_scores_are_float32(name: str, kind: torch.dtype) -> None:
    network = Small()
    fitted = run(network, precision=name)
    exact = run(Small())

    assert {dtype for dtype, training in network.computed if training} == {kind}
    assert {dtype for dtype, training in network.computed if not training} == {torch.float32}
    assert {value.dtype for value in fitted.state.values()} == {torch.float32}
    assert close(fitted.state, exact.state, atol=0.05)
    assert not close(fitted.state, exact.state, atol=0.0)


def test_a_gradient_that_overflows_in_fp16_costs_its_step_and_no_more() -> None:
    steps: list[Tensor] = []
    network = Small()

    class Watches(Companion):
        def before_update(self, network: nn.Module, batch: Any, **kwargs: Any) -> None:
            steps.append(network.head.weight.detach().clone())

    def large(output: Any, batch: Batch) -> dict[str, Tensor]:
        # at the first scale of 65536 past the largest half, until that has been halved a few times
        return {"cross_entropy": 100.0 * labelled(output, batch)["cross_entropy"]}

    run(network, large, precision="fp16", companions=(Watches(),), epochs=8, gradient_clip=1.0)

    moved = [not torch.equal(one, other) for one, other in zip(steps, steps[1:], strict=False)]
    assert not moved[0]
    assert moved[-1]


# Patience and schedules


def test_patience_ends_training_after_so_many_epochs_without_a_better_one() -> None:
    fitted = run(
        Small(),
        epochs=40,
        lr=1.0,
        patience=3,
        smoothing_epochs=1,
        epoch_choice="validation-cross-entropy",
    )

    costs = [row["validation/cross_entropy"] for row in fitted.history]
    best = min(range(len(costs)), key=costs.__getitem__) + 1
    assert fitted.epoch == best
    assert len(costs) == best + 3 < 40


def test_patience_that_does_not_run_out_changes_nothing() -> None:
    options = {"epoch_choice": "validation-cross-entropy", "epochs": 4}
    assert close(run(Small(), **options, patience=4).state, run(Small(), **options).state, atol=0.0)


# Compiled


@pytest.mark.slow
def test_a_compiled_network_takes_the_same_steps() -> None:
    assert close(run(Small(), compile=True).state, run(Small()).state, atol=1e-5)


def test_a_network_that_cannot_be_compiled_names_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    def compiled(network: nn.Module, **options: Any) -> Callable[..., Any]:
        def forward(*inputs: Tensor) -> Any:
            raise BackendCompilerFailed(lambda: None, RuntimeError("no C++ compiler"), None)

        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(TrainingError, match=r"recipe.training.compile: .*no C\+\+ compiler"):
        run(Small(), compile=True)
