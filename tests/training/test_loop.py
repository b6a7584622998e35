"""The training loop, step by step and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import Training
from orchestrator.training.data import Batch, PooledData
from orchestrator.training.loop import Fitted, fit, learning_rate, predict_logits
from orchestrator.training.ranks import Ranks
from orchestrator.training.stage import Losses, Stage


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Mapping[str, float]]] = []

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.rows.append((step, values))


class Scalar(nn.Module):
    """One weight, which is also the first logit; remembers its value at every training update."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.seen: list[float] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Scalar:
        twin = Scalar()
        twin.load_state_dict(self.state_dict())
        return twin

    def forward(self, pooled: Tensor) -> SimpleNamespace:
        if self.training:
            self.seen.append(float(self.weight.detach()))
        logits = torch.stack([self.weight.expand(len(pooled)), torch.zeros(len(pooled))], dim=1)
        return SimpleNamespace(logits=logits)


class Scripted(nn.Module):
    """In its n-th epoch it says the n-th of given logits about everyone."""

    epoch: Tensor

    def __init__(self, script: Sequence[Sequence[Sequence[float]]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.script = torch.tensor(script)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    def forward(self, pooled: Tensor) -> SimpleNamespace:
        if self.training:
            return SimpleNamespace(logits=self.weight.expand(len(pooled), 2))
        said = self.script[int(self.epoch)]
        self.epoch += 1
        return SimpleNamespace(logits=said)


def constant(value: Callable[[Tensor], Tensor], name: str = "cross_entropy") -> Losses:
    """Losses of given rows, with a gradient of zero."""

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        return {name: value(batch.rows) + 0.0 * output.logits.sum()}

    return losses


NOTHING = constant(lambda rows: torch.zeros(len(rows)))


def run(
    network: nn.Module,
    *,
    settings: Training,
    losses: Losses = NOTHING,
    stages: Sequence[Stage] | None = None,
    rows: int = 4,
    labels: Sequence[int] = (0, 1),
    reporter: Told | None = None,
    beside: nn.Module | None = None,
) -> Fitted:
    return fit(
        network,
        data=PooledData(np.zeros((rows, 1, 1))),
        ids=[f"u{row}" for row in range(rows)],
        validation=PooledData(np.zeros((len(labels), 1, 1))),
        validation_labels=labels,
        stages=stages or [Stage("student", settings.epochs, losses)],
        settings=settings,
        seed=0,
        ranks=Ranks(),
        reporter=reporter or Told(),
        beside=beside,
    )


# Learning rate


@pytest.mark.parametrize(
    ("warmup", "rates"),
    [
        # two updates up by thirds, then a cosine over eight: 1, cos^2(pi / 16 k) ...
        (0.2, {0: 1 / 3, 1: 2 / 3, 2: 1.0, 4: (1 + math.sqrt(0.5)) / 2, 6: 0.5, 9: 0.0380602}),
        (0.0, {0: 1.0, 5: 0.5, 9: 0.0244717}),
        # a share of an update: 0.5 updates reach 1 / 1.5
        (0.05, {0: 2 / 3, 1: (1 + math.cos(math.pi * 0.5 / 9.5)) / 2}),
    ],
)
def test_the_rate_rises_and_falls_by_hand(warmup: float, rates: dict[int, float]) -> None:
    settings = Training(lr=1.0, warmup_share=warmup)
    for step, rate in rates.items():
        assert learning_rate(step, updates=10, settings=settings) == pytest.approx(rate, abs=1e-6)


def test_a_single_update_has_a_rate() -> None:
    for warmup in (0.0, 0.1, 0.9):
        settings = Training(lr=0.5, warmup_share=warmup)
        assert 0 < learning_rate(0, updates=1, settings=settings) <= 0.5


def test_every_stage_rises_and_falls_once() -> None:
    told = Told()
    settings = Training(epochs=2, batch_size=2, lr=1.0, warmup_share=0.0)
    stages = [Stage("matching", 3, NOTHING, chooses=False), Stage("student", 2, NOTHING)]
    run(Scalar(), settings=settings, stages=stages, reporter=told)

    # two updates an epoch; the last of epoch k of n is update 2 k - 1 of 2 n
    expected = [(1 + math.cos(math.pi * (2 * k - 1) / 6)) / 2 for k in (1, 2, 3)]
    expected += [(1 + math.cos(math.pi * (2 * k - 1) / 4)) / 2 for k in (1, 2)]
    assert [step for step, _ in told.rows] == [1, 2, 3, 4, 5]
    assert [row["learning_rate"] for _, row in told.rows] == pytest.approx(expected)


# Losses


def test_the_training_loss_is_the_mean_over_utterances() -> None:
    told = Told()
    losses = constant(lambda rows: rows.float() ** 2, name="feature_map")
    run(Scalar(), settings=Training(epochs=1, batch_size=3), losses=losses, rows=4, reporter=told)

    # 0, 1, 4, 9, though the batches are of three and one
    assert told.rows[0][1]["train/feature_map"] == pytest.approx(14 / 4)


def test_terms_add_up_and_the_batch_is_averaged() -> None:
    """One AdamW step without decay is lr against the sign of the gradient, whatever its size."""
    gradients: list[float] = []

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        first = output.logits[:, 0]
        first.sum().register_hook(lambda _: None)
        return {"one": 3.0 * first, "other": -1.0 * first}

    network = Scalar()
    network.weight.register_hook(lambda gradient: gradients.append(float(gradient)))
    settings = Training(epochs=1, batch_size=3, lr=0.1, warmup_share=0.0, gradient_clip=None)
    run(network, settings=settings, losses=losses, rows=4)

    assert gradients == pytest.approx([2.0, 2.0])
    assert network.seen == pytest.approx([2.0, 1.9])


def test_only_matrices_are_decayed() -> None:
    """With no gradient but zero, what moves is moved by weight decay: 1 - lr x decay a step."""
    network, beside = Scalar(), nn.Linear(2, 2)
    before = beside.weight.detach().clone(), beside.bias.detach().clone()

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        nothing = 0.0 * (output.logits.sum() + beside.weight.sum() + beside.bias.sum())
        return {"cross_entropy": nothing.expand(len(batch.rows))}

    settings = Training(epochs=1, batch_size=2, lr=0.5, weight_decay=0.1, warmup_share=0.0)
    run(network, settings=settings, losses=losses, beside=beside)

    # two updates at rates 0.5 and 0.25
    torch.testing.assert_close(beside.weight.detach(), before[0] * 0.95 * 0.975)
    assert torch.equal(beside.bias.detach(), before[1])
    assert float(network.weight.detach()) == 2.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_update_objective_and_utterances(value: float) -> None:
    losses = constant(lambda rows: torch.where(rows == 2, value, 1.0), name="distillation")
    with pytest.raises(TrainingError) as raised:
        run(Scalar(), settings=Training(epochs=2, batch_size=4), losses=losses)
    said = str(raised.value)

    assert f"distillation became {value} at update 0 of stage 'student' (epoch 1)" in said
    named = said.partition("utterances of the batch: ")[2].partition(".")[0]
    assert sorted(named.split(", ")) == ["u0", "u1", "u2", "u3"]
    assert "recipe.training.lr" in said


def test_a_later_failure_says_which_epoch_and_which_part_of_the_data() -> None:
    seen: list[Tensor] = []

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        seen.append(batch.rows)
        bad = math.nan if len(seen) == 6 else 0.0
        return {"cross_entropy": output.logits.sum(1) * 0.0 + bad}

    stages = [Stage("matching", 2, losses, chooses=False), Stage("student", 2, losses)]
    with pytest.raises(TrainingError) as raised:
        run(Scalar(), settings=Training(epochs=2, batch_size=2), stages=stages)

    # four updates of matching, then the second of the first epoch of the student
    assert "at update 1 of stage 'student' (epoch 3)" in str(raised.value)
    heard = ", ".join(f"u{row}" for row in seen[5].tolist())
    assert f"utterances of the batch: {heard}." in str(raised.value)


def test_validation_that_is_not_finite_is_a_failure_too() -> None:
    """The very last update may break the weights: no loss comes after it."""
    with pytest.raises(TrainingError, match=r"validation.*nan.*epoch 1"):
        run(Scripted([[[math.nan, 0.0]] * 2]), settings=Training(epochs=1))


# The running average


def test_the_running_average_by_hand() -> None:
    network = Scalar()

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        return {"cross_entropy": output.logits[:, 0]}

    settings = Training(epochs=10, batch_size=2, lr=0.1, average_decay=0.6, epoch_choice="last")
    fitted = run(network, settings=settings, losses=losses)
    weights = [*network.seen, float(network.weight.detach())]
    assert len(weights) == 21
    average = weights[0]
    for update, weight in enumerate(weights[1:]):
        # 1/10, 2/11, 3/12 ... until 0.6, which (1 + u) / (10 + u) passes at u = 12.5
        decay = min(0.6, (1 + update) / (10 + update))
        average = decay * average + (1 - decay) * weight

    assert float(fitted.state["weight"]) == pytest.approx(average, rel=1e-5)
    # what is kept is what was scored
    np.testing.assert_allclose(fitted.validation_logits[:, 0], average, rtol=1e-5)
    assert weights[-1] != pytest.approx(average, rel=1e-3)


def test_without_decay_the_weights_themselves_are_kept() -> None:
    network = Scalar()

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        return {"cross_entropy": output.logits[:, 0]}

    fitted = run(network, settings=Training(epochs=2, epoch_choice="last"), losses=losses)

    assert float(fitted.state["weight"]) == float(network.weight.detach())


# The choice of the epoch


def with_cross_entropies(*values: float) -> list[list[list[float]]]:
    """Logits about two utterances, of classes 0 and 1, whose mean cross-entropy is each value."""
    script = []
    for value in values:
        # log(1 + exp(-x)) = value
        x = -math.log(math.expm1(value))
        script.append([[x, 0.0], [0.0, x]])
    return script


HISTORY = (1.0, 0.4, 0.9, 0.6, 0.62, 0.61, 0.9)


@pytest.mark.parametrize(
    ("smoothing", "chosen"),
    [
        # 1.0, 0.4, ...
        (1, 2),
        # 1.0, 0.7, 0.65, 0.75, 0.61, 0.615, 0.755
        (2, 5),
        # 1.0, 0.7, 0.767, 0.633, 0.707, 0.61, 0.71
        (3, 6),
        # means of all so far: 1.0, 0.7, 0.767, 0.725, 0.704, 0.688, 0.719
        (100, 6),
    ],
)
def test_the_epoch_is_chosen_on_smoothed_validation_cross_entropy(
    smoothing: int, chosen: int
) -> None:
    script = with_cross_entropies(*HISTORY)
    told = Told()
    fitted = run(
        Scripted(script),
        settings=Training(epochs=7, smoothing_epochs=smoothing),
        reporter=told,
    )

    assert fitted.epoch == chosen
    # the buffer counts the epochs scored, so these are the weights of that very epoch
    assert int(fitted.state["epoch"]) == chosen
    np.testing.assert_allclose(fitted.validation_logits, script[chosen - 1], rtol=1e-6)
    found = [row["validation/cross_entropy"] for row in fitted.history]
    assert found == pytest.approx(HISTORY, rel=1e-5)
    assert [step for step, _ in told.rows] == [1, 2, 3, 4, 5, 6, 7]


def test_the_last_epoch_is_kept_if_the_recipe_says_so() -> None:
    settings = Training(epochs=7, epoch_choice="last")
    fitted = run(Scripted(with_cross_entropies(*HISTORY)), settings=settings)

    assert (fitted.epoch, int(fitted.state["epoch"])) == (7, 7)


def test_the_epoch_is_chosen_on_macro_recall_and_ties_go_to_the_earlier() -> None:
    right, wrong = [9.0, 0.0], [0.0, 9.0]
    # three of class 0 and one of class 1: recalls (1 + 0) / 2, (1 + 1) / 2, (0 + 1) / 2, both again
    script = [[right] * 4, [right] * 3 + [wrong], [wrong] * 4, [right] * 3 + [wrong]]
    settings = Training(epochs=4, epoch_choice="validation-macro-recall", smoothing_epochs=1)
    fitted = run(Scripted(script), settings=settings, labels=(0, 0, 0, 1))

    assert [row["validation/macro_recall"] for row in fitted.history] == [0.5, 1.0, 0.5, 1.0]
    assert [row["validation/accuracy"] for row in fitted.history] == [0.75, 1.0, 0.25, 1.0]
    assert fitted.epoch == 2


@pytest.mark.parametrize("choice", ["validation-cross-entropy", "last"])
def test_an_epoch_of_matching_is_never_kept_nor_smoothed_over(choice: Any) -> None:
    """Its head is untrained: epochs 1 and 2 look best here, and must not be heard of again."""
    script = with_cross_entropies(0.1, 0.1, 0.9, 0.8, 0.95)
    stages = [Stage("matching", 2, NOTHING, chooses=False), Stage("student", 3, NOTHING)]
    settings = Training(epochs=3, smoothing_epochs=2, epoch_choice=choice)
    fitted = run(Scripted(script), settings=settings, stages=stages)

    # 0.9, 0.85, 0.875; with epoch 2 among them the first would be 0.5
    assert fitted.epoch == (4 if choice != "last" else 5)
    assert len(fitted.history) == 5


def test_what_trains_beside_is_trained_and_not_kept() -> None:
    beside = nn.Linear(1, 1)
    before = beside.weight.detach().clone()

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        return {
            "feature_map": (output.logits[:, :1] + beside(torch.ones(len(batch.rows), 1)))[:, 0]
        }

    fitted = run(Scalar(), settings=Training(epochs=1), losses=losses, beside=beside)

    assert not torch.equal(beside.weight.detach(), before)
    assert list(fitted.state) == ["weight"]


# Scoring


class Echo(nn.Module):
    """Logits are the input; in training mode it refuses."""

    def forward(self, pooled: Tensor) -> SimpleNamespace:
        assert not self.training

        return SimpleNamespace(logits=pooled[:, 0])


def test_logits_come_back_in_the_order_of_the_data() -> None:
    data = PooledData(np.random.default_rng(0).normal(size=(150, 1, 3)))
    # as if of other lengths, so that scoring visits them in another order, in three batches
    data.lengths = torch.arange(150).flip(0)

    assert torch.equal(predict_logits(Echo(), data), data.pooled[:, 0])


def test_there_is_nothing_to_score_without_utterances() -> None:
    with pytest.raises(TrainingError, match="nothing to score"):
        predict_logits(Echo(), PooledData(np.zeros((0, 1, 3))))
