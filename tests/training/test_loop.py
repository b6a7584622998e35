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
from orchestrator.training.judges import EmotionJudge, predict_logits
from orchestrator.training.loop import Fitted, fit
from orchestrator.training.ranks import Ranks
from orchestrator.training.schedules import learning_rate
from orchestrator.training.stage import Companion, Extra, Losses, Speech, Stage
from orchestrator.training.weights import kept_state


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
        judge=EmotionJudge(PooledData(np.zeros((len(labels), 1, 1))), labels, settings=settings),
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


def test_other_schedules_by_hand() -> None:
    for schedule, rates in (
        ("linear", {0: 1 / 3, 1: 2 / 3, 2: 1.0, 6: 0.5, 9: 0.125}),
        ("constant", {0: 1 / 3, 1: 2 / 3, 2: 1.0, 6: 1.0, 9: 1.0}),
    ):
        settings = Training.model_validate(
            {"lr": 1.0, "warmup_share": 0.2, "lr_schedule": schedule}
        )
        for step, rate in rates.items():
            assert learning_rate(step, updates=10, settings=settings) == pytest.approx(rate)


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


def test_what_the_network_calls_frozen_is_trained_with_and_not_kept() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(1, 2).requires_grad_(False)
            self.head = nn.Linear(2, 2)

        def frozen_prefixes(self) -> tuple[str, ...]:
            return ("encoder.",)

        def forward(self, pooled: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.head(self.encoder(pooled[:, 0])))

    network = Frozen()
    fitted = run(network, settings=Training(epochs=1))

    assert sorted(fitted.state) == ["head.bias", "head.weight"]
    assert sorted(kept_state(network)) == ["head.bias", "head.weight"]
    assert sorted(kept_state(nn.Linear(1, 1))) == ["bias", "weight"]


# Stages


def first_logit(name: str, factor: float = 1.0) -> Losses:
    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        return {name: factor * output.logits[:, 0] * (1.0 + batch.rows)}

    return losses


def speech(rows: int, name: str = "x") -> Speech:
    return Speech(PooledData(np.zeros((rows, 1, 1))), [f"{name}{row}" for row in range(rows)])


PLAIN = {"lr": 0.1, "warmup_share": 0.0, "gradient_clip": None, "weight_decay": 0.0}


def test_the_speech_beside_adds_its_mean_times_its_weight() -> None:
    """The first logit is the weight, so the gradient is the factor it stands with."""
    gradients: list[float] = []
    network, told = Scalar(), Told()
    network.weight.register_hook(lambda gradient: gradients.append(float(gradient)))
    # one update an epoch: rows 0 to 3 of the batch, and all three utterances beside it
    extra = Extra(speech(3), first_logit("distillation", 4.0), size=3, weight=0.5)
    stage = Stage("student", 1, first_logit("cross_entropy"), extra=extra)
    run(network, settings=Training(batch_size=4, **PLAIN), stages=[stage], reporter=told)

    # (1 + 2 + 3 + 4) / 4, and 0.5 x 4 x (1 + 2 + 3) / 3
    assert gradients == pytest.approx([2.5 + 4.0])
    # the weight was 2
    assert told.rows[0][1]["train/cross_entropy"] == pytest.approx(2 * 2.5)
    assert told.rows[0][1]["train/unlabelled_distillation"] == pytest.approx(2 * 4.0)


def test_every_update_hears_its_size_beside_it_and_the_means_are_of_the_epoch() -> None:
    heard: list[list[int]] = []
    told = Told()

    def beside(output: Any, batch: Batch) -> dict[str, Tensor]:
        heard.append(batch.rows.tolist())
        return {"feature_map": batch.rows.float() + 0.0 * output.logits.sum()}

    stage = Stage("student", 1, NOTHING, extra=Extra(speech(6), beside, size=2, weight=0.5))
    settings = Training(epochs=1, batch_size=2)
    run(Scalar(), settings=settings, stages=[stage], rows=5, reporter=told)

    assert [len(rows) for rows in heard] == [2, 2, 2]
    assert sorted(sum(heard, start=[])) == [0, 1, 2, 3, 4, 5]
    assert told.rows[0][1]["train/unlabelled_feature_map"] == pytest.approx(0.5 * 2.5)


def test_a_loss_of_the_speech_beside_that_is_not_finite_names_its_utterances() -> None:
    losses = constant(lambda rows: torch.full((len(rows),), math.nan), name="distillation")
    stage = Stage("student", 1, NOTHING, extra=Extra(speech(2), losses, size=2, weight=1.0))
    with pytest.raises(TrainingError) as raised:
        run(Scalar(), settings=Training(epochs=1), stages=[stage])

    assert "unlabelled_distillation became nan" in str(raised.value)
    named = str(raised.value).partition("utterances of the batch: ")[2].partition(".")[0]
    assert sorted(named.split(", ")) == ["x0", "x1"]


@pytest.mark.parametrize("utterances", [1, 7, 40])
def test_a_stage_on_other_speech_has_as_many_updates(utterances: int) -> None:
    heard: list[int] = []
    told = Told()

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        heard.append(int(batch.rows.max()))
        return {"distillation": output.logits[:, 0]}

    stages = [
        Stage("unlabelled", 2, losses, chooses=False, speech=speech(utterances)),
        Stage("student", 1, NOTHING),
    ]
    settings = Training(epochs=1, batch_size=2)
    run(Scalar(), settings=settings, stages=stages, rows=5, reporter=told)

    # five training utterances in twos make three updates
    assert len(heard) == 2 * 3
    assert max(heard) < utterances
    assert "train/distillation" in told.rows[0][1]
    assert "train/distillation" not in told.rows[2][1]


def test_a_stage_on_other_speech_names_it_where_it_fails() -> None:
    losses = constant(lambda rows: torch.full((len(rows),), math.inf))
    stage = Stage("unlabelled", 1, losses, speech=speech(1, "other"))
    with pytest.raises(TrainingError, match=r"utterances of the batch: other0, other0"):
        run(Scalar(), settings=Training(epochs=1, batch_size=2), stages=[stage])


def test_a_stage_draws_the_rows_that_are_chosen_before_each_epoch() -> None:
    network, told = Scalar(), Told()
    asked: list[float] = []
    heard: list[list[int]] = [[] for _ in range(4)]

    def choose(done: float, given: nn.Module) -> Tensor:
        assert given is network
        asked.append(done)
        return torch.arange(2 * len(asked))

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        heard[len(asked) - 1] += batch.rows.tolist()
        return {"cross_entropy": 0.0 * output.logits[:, 0]}

    stage = Stage("student", 4, losses, choose=choose)
    settings = Training(epochs=4, batch_size=3)
    run(network, settings=settings, stages=[stage], rows=8, reporter=told)

    assert asked == [0.0, 0.25, 0.5, 0.75]
    # as many draws of two, four, six and eight
    assert [sorted(rows) for rows in heard[:2]] == [sorted([0, 1] * 4), sorted([0, 1, 2, 3] * 2)]
    assert set(heard[2]) == set(range(6))
    assert len(heard[2]) == 8
    assert sorted(heard[3]) == list(range(8))
    assert [row["curriculum/share"] for _, row in told.rows] == [0.25, 0.5, 0.75, 1.0]


def test_without_a_choice_there_is_no_share() -> None:
    told = Told()
    run(Scalar(), settings=Training(epochs=1), reporter=told)

    assert "curriculum/share" not in told.rows[0][1]


class Watches(Companion):
    """Writes down what it is told, and the weight at that time."""

    def __init__(self, network: Scalar) -> None:
        self.network = network
        self.calls: list[Any] = []

    def weight(self) -> float:
        return round(float(self.network.weight.detach()), 4)

    def before_epoch(self, epoch: int) -> None:
        self.calls.append(("epoch", epoch))

    def before_update(
        self, network: nn.Module, batch: Callable[[], Batch], *, update: int, epoch: int
    ) -> None:
        assert network is self.network
        assert network.training
        assert network.weight.grad is None
        self.calls.append(("before", update, epoch, len(batch().rows), self.weight()))

    def after_backward(self) -> None:
        assert self.network.weight.grad is not None
        self.calls.append(("after", round(float(self.network.weight.grad), 4), self.weight()))

    def logged(self) -> Mapping[str, float]:
        self.calls.append("logged")
        return {"watched": float(len(self.calls))}


def test_what_runs_beside_is_asked_in_turn() -> None:
    network, told = Scalar(), Told()
    watching = Watches(network)

    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        return {"cross_entropy": output.logits[:, 0]}

    stages = [
        Stage("matching", 1, losses, chooses=False),
        Stage("student", 2, losses, companions=[watching]),
    ]
    settings = Training(epochs=2, batch_size=3, **PLAIN)
    run(network, settings=settings, stages=stages, rows=4, reporter=told)
    weights = [round(weight, 4) for weight in network.seen]

    # two updates of matching, which it does not hear of, then two an epoch; epochs of both stages
    # are counted on, updates are the stage's own
    calls = [call for call in watching.calls if call[0] != "after"]
    sizes = [call[3] for call in calls if call[0] == "before"]
    assert sorted(sizes[:2]) == sorted(sizes[2:]) == [1, 3]
    assert calls == [
        ("epoch", 0),
        ("before", 0, 2, sizes[0], weights[2]),
        ("before", 1, 2, sizes[1], weights[3]),
        "logged",
        ("epoch", 1),
        ("before", 2, 3, sizes[2], weights[4]),
        ("before", 3, 3, sizes[3], weights[5]),
        "logged",
    ]
    # each update's gradient is there, the step is not yet taken
    assert [call for call in watching.calls if call[0] == "after"] == [
        ("after", 1.0, weight) for weight in weights[2:]
    ]
    assert [place for place, call in enumerate(watching.calls) if call[0] == "after"] == [
        2,
        4,
        8,
        10,
    ]
    assert [row.get("watched") for _, row in told.rows] == [None, 6.0, 12.0]


def test_a_companion_that_does_nothing_changes_nothing() -> None:
    def weight(companions: Sequence[Companion]) -> float:
        network = Scalar()
        stage = Stage("student", 2, first_logit("cross_entropy"), companions=companions)
        run(network, settings=Training(epochs=2), stages=[stage])
        return float(network.weight.detach())

    assert Companion().state() == Companion().logged() == {}
    assert weight([Companion()]) == weight([])


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

    assert torch.equal(predict_logits(Echo(), data), data.pooled[torch.arange(150)][:, 0])


def test_there_is_nothing_to_score_without_utterances() -> None:
    with pytest.raises(TrainingError, match="nothing to score"):
        predict_logits(Echo(), PooledData(np.zeros((0, 1, 3))))
