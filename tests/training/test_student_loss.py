"""The terms of the student's loss by hand, and what may take the place of its values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.outputs import Output
from orchestrator.experiment.recipe import CurriculumTemperature
from orchestrator.training.augment import Window
from orchestrator.training.data import Batch
from orchestrator.training.knowledge import Knowledge, Scale
from orchestrator.training.student_loss import (
    Helpers,
    StudentLoss,
    TemperatureCurriculum,
    UnlabelledLoss,
    weight_of,
)
from orchestrator.training.task import FoldTask, Utterances
from tests.training.tiny import Home

LABELS = (0, 1, 1, 3)
STUDENT = torch.tensor([[2.0, 0, -1, 1], [0.5, 1, 0, 0], [0, 0, 3, 1], [1, -1, 0.5, 0]])
TEACHER = torch.tensor([[4.0, 1, 0, 0], [0, 2, 0, 1], [1, 5, 0, 0], [0, 0, 0, 3]])
POOLED = torch.tensor([[1.0, 0, 2], [0, 1, 1], [-1, 1, 0], [2, 0, 1]])
FEATURES = torch.tensor([[0.0, 1, 2, 0], [1, 1, 0, 0], [0, 0, 3, 1], [1, 0, 0, 1]])
ROWS = torch.tensor([2, 0, 3, 1])


def output(logits: Tensor = STUDENT) -> Output:
    """What a student says of ``ROWS``: the n-th vector is of the n-th of them."""
    one = torch.ones(len(logits), dtype=torch.long)
    return Output(logits, POOLED, POOLED[:, None], one, torch.full((len(logits), 1), 0.5))


def batch() -> Batch:
    whole = Window(start=torch.zeros(4), span=torch.ones(4))
    return Batch(ROWS, (), whole)


def knowledge(logits: Tensor = TEACHER, features: Tensor = FEATURES) -> Knowledge:
    return Knowledge(logits, features, None, Scale.of(features), None)


def tiny_task(home: Home, **recipe: Any) -> FoldTask:
    named = tuple("abcd")
    train = Utterances(ids=named, contents=named, labels=LABELS, speakers=named)
    return dataclasses.replace(home.rich_task(**recipe), train=train)


@dataclasses.dataclass
class Case:
    """A loss with everything it needs, its helpers' weights drawn from one seed."""

    task: FoldTask
    curriculum: TemperatureCurriculum | None = None

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.helpers = Helpers(self.task, student_dim=3, knowledge=knowledge())
        self.loss = StudentLoss(self.task, self.helpers, knowledge(), self.curriculum)

    def terms(self, **given: Any) -> dict[str, np.ndarray]:
        found = self.loss.terms(output(), batch(), values=given.pop("values", {}), **given)
        return {name: value.detach().numpy() for name, value in found.items()}


# An independent computation


def softmax(logits: Sequence[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in logits]
    return [power / sum(powers) for power in powers]


def divergence(student: float, teacher: float, *, said: Tensor = TEACHER) -> list[float]:
    """T_s T_t KL(teacher || student) of each of ``ROWS``."""
    found = []
    for place, row in enumerate(ROWS.tolist()):
        p = softmax(said[row].tolist(), teacher)
        q = softmax(STUDENT[place].tolist(), student)
        found.append(
            student * teacher * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        )
    return found


def cross_entropies(smoothing: float) -> list[float]:
    """Of each of ``ROWS``; the classes have 1, 2, 0 and 1 utterances, so the mean weight is one."""
    weights = {0: 1.2, 1: 0.6, 3: 1.2}
    found = []
    for place, row in enumerate(ROWS.tolist()):
        q = softmax(STUDENT[place].tolist(), 1.0)
        target = [smoothing / 4 + (1 - smoothing) * (LABELS[row] == k) for k in range(4)]
        cost = -sum(t * math.log(share) for t, share in zip(target, q, strict=True))
        found.append(weights[LABELS[row]] * cost)
    return found


def contrast(case: Case, temperature: float) -> list[float]:
    """The double loop of Khosla et al. 2020, equation 2."""
    assert case.helpers.contrast is not None
    units = case.helpers.contrast(POOLED).detach().double().numpy()
    labels = [LABELS[row] for row in ROWS.tolist()]
    found = []
    for i in range(4):
        positives = [p for p in range(4) if p != i and labels[p] == labels[i]]
        total = sum(math.exp(units[i] @ units[a] / temperature) for a in range(4) if a != i)
        costs = [-math.log(math.exp(units[i] @ units[p] / temperature) / total) for p in positives]
        found.append(sum(costs) / len(costs) if costs else 0.0)
    return found


def distances(case: Case) -> list[float]:
    """Mean absolute difference of the projected features to the teacher's."""
    assert case.helpers.projection is not None
    weight, bias = (part.detach().numpy() for part in case.helpers.projection.parameters())
    mapped = POOLED.numpy() @ weight.T + bias
    return [
        float(np.abs(mapped[place] - FEATURES[row].numpy()).mean())
        for place, row in enumerate(ROWS.tolist())
    ]


# Each term


def test_every_term_is_weighed(home: Home) -> None:
    case = Case(
        tiny_task(
            home,
            objectives={
                "cross_entropy": 0.7,
                "distillation": 0.3,
                "feature_map": 2.0,
                "supervised_contrastive": 0.2,
            },
            temperature__value=2.0,
            supervised_contrastive={"temperature": 0.5, "dim": 5},
            training__label_smoothing=0.1,
        )
    )
    expected = {
        "cross_entropy": 0.7 * np.array(cross_entropies(0.1)),
        "distillation": 0.3 * np.array(divergence(2.0, 2.0)),
        "feature_map": 2.0 * np.array(distances(case)),
        "supervised_contrastive": 0.2 * np.array(contrast(case, 0.5)),
    }
    found = case.terms()

    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    # labels 1, 0, 3, 1: two have nobody to be pulled to
    assert (found["supervised_contrastive"] == 0).tolist() == [False, True, True, False]


@pytest.mark.parametrize("only", ["distillation", "cross_entropy"])
def test_what_weighs_nothing_is_not_there(home: Home, only: str) -> None:
    case = Case(tiny_task(home, objectives={"cross_entropy": 0.0, only: 1.0, "feature_map": 0.0}))
    if only == "cross_entropy":
        case.loss.knowledge = None

    assert case.terms().keys() == {only}
    assert list(case.helpers.parameters()) == []


def test_the_first_stage_matches_feature_maps_alone(home: Home) -> None:
    case = Case(tiny_task(home, objectives__feature_map=0.25))
    found = case.loss.matching(output(), batch())

    assert found.keys() == {"feature_map"}
    np.testing.assert_allclose(
        found["feature_map"].detach(), 0.25 * np.array(distances(case)), rtol=1e-5
    )


# Values from elsewhere


def test_weights_and_temperatures_may_be_replaced(home: Home) -> None:
    case = Case(tiny_task(home, objectives__supervised_contrastive=0.2))
    before = case.terms()
    values = {
        weight_of("distillation"): 3.0,
        weight_of("feature_map"): torch.tensor(0.125),
        weight_of("supervised_contrastive"): 0.9,
        "temperature/student": torch.tensor(2.0),
        "temperature/teacher": 5.0,
    }
    found = case.terms(values=values)

    np.testing.assert_allclose(found["distillation"], 3.0 * np.array(divergence(2.0, 5.0)), 1e-5)
    np.testing.assert_allclose(found["feature_map"], 0.125 * np.array(distances(case)), 1e-5)
    np.testing.assert_allclose(
        found["supervised_contrastive"], 0.9 / 0.2 * before["supervised_contrastive"], 1e-5
    )
    np.testing.assert_array_equal(found["cross_entropy"], before["cross_entropy"])


def test_what_meta_learning_found_is_used_from_then_on(home: Home) -> None:
    case = Case(tiny_task(home))
    case.loss.learned = {weight_of("distillation"): 4.0, "temperature/teacher": 6.0}
    found = case.loss.all(output(), batch())["distillation"]

    # the student's is the recipe's
    np.testing.assert_allclose(found, 4.0 * np.array(divergence(4.0, 6.0)), rtol=1e-5)


@pytest.mark.parametrize("name", ["temperature/student", "temperature/teacher"])
def test_gradients_reach_each_temperature_by_itself(home: Home, name: str) -> None:
    case = Case(tiny_task(home, objectives={"distillation": 1.0}))
    both = {"temperature/student": 3.0, "temperature/teacher": 2.0}
    value = torch.tensor(both[name], requires_grad=True)
    case.loss.terms(output(), batch(), values={**both, name: value})[
        "distillation"
    ].sum().backward()

    def at(moved: float) -> float:
        student, teacher = {**both, name: both[name] + moved}.values()
        return sum(divergence(student, teacher))

    assert value.grad is not None
    assert float(value.grad) == pytest.approx((at(1e-4) - at(-1e-4)) / 2e-4, rel=1e-3)


def test_a_students_loss_teaches_the_teacher_only_if_its_logits_are_handed_over(
    home: Home,
) -> None:
    case = Case(tiny_task(home, objectives={"distillation": 1.0}))
    said = TEACHER[ROWS].clone().requires_grad_()
    case.loss.terms(output(), batch(), values={}, teacher_logits=said)[
        "distillation"
    ].sum().backward()
    assert said.grad is not None
    assert said.grad.abs().sum() > 0

    live = TEACHER.clone().requires_grad_()
    case.loss.live_teacher = lambda heard: live[heard.rows]
    logits = STUDENT.clone().requires_grad_()
    case.loss.all(output(logits), batch())["distillation"].sum().backward()
    assert live.grad is None
    assert logits.grad is not None


# A temperature that is trained against the student


def curriculum(**options: Any) -> TemperatureCurriculum:
    section = CurriculumTemperature(kind="curriculum", **options)
    return TemperatureCurriculum(section, classes=4, device="cpu")


def begin_update(case: Case, update: int = 0) -> None:
    assert case.curriculum is not None
    case.curriculum.before_update(torch.nn.Identity(), batch, update=update, epoch=1)


@pytest.fixture
def hotter(home: Home) -> Callable[..., Case]:
    def make(**options: Any) -> Case:
        task = tiny_task(
            home,
            objectives={"distillation": 1.0},
            temperature={"kind": "curriculum", **options},
        )
        torch.manual_seed(0)
        return Case(task, curriculum(**options))

    return make


def test_the_curriculums_temperature_is_used_and_logged(hotter: Callable[..., Case]) -> None:
    case = hotter(start=2.0, span=4.0)
    assert case.curriculum is not None
    case.curriculum.before_epoch(0)
    assert case.curriculum.logged() == {}
    begin_update(case)
    first = 2.0 + 4.0 / (1.0 + math.exp(-1.0))
    found = case.loss.all(output(), batch())["distillation"]

    np.testing.assert_allclose(found.detach(), divergence(first, first), rtol=1e-5)
    assert case.curriculum.logged() == {
        "temperature/mean": pytest.approx(first),
        "temperature/reversal": 0.0,
    }


def test_it_climbs_the_loss_that_the_student_descends(hotter: Callable[..., Case]) -> None:
    """By hand: from the second epoch on ``g`` ascends with momentum 0.9."""
    case = hotter(start=2.0, span=4.0, epochs=2, lr=0.5)
    assert case.curriculum is not None

    def loss_at(g: float) -> float:
        temperature = 2.0 + 4.0 / (1.0 + math.exp(-g))
        return sum(divergence(temperature, temperature))

    g, momentum = 1.0, 0.0
    for epoch, factor in enumerate((0.0, -0.5, -1.0, -1.0)):
        case.curriculum.before_epoch(epoch)
        case.curriculum.before_update(torch.nn.Identity(), batch, update=epoch, epoch=epoch + 1)
        case.loss.all(output(), batch())["distillation"].sum().backward()
        case.curriculum.after_backward()
        slope = (loss_at(g + 1e-4) - loss_at(g - 1e-4)) / 2e-4
        momentum = 0.9 * momentum + factor * slope
        before, g = g, g - 0.5 * momentum

        assert float(case.curriculum.module.state_dict()["g"]) == pytest.approx(g, abs=1e-4)
        # the temperature has no step of its own at first, then makes it harder
        assert (loss_at(g) > loss_at(before)) == (epoch > 0)


def test_each_utterance_may_have_its_own(hotter: Callable[..., Case]) -> None:
    case = hotter(per_instance=True)
    assert case.curriculum is not None
    begin_update(case)
    own = case.curriculum(STUDENT, TEACHER[ROWS]).tolist()
    found = case.loss.all(output(), batch())["distillation"].tolist()

    assert len(set(own)) == 4
    for place, temperature in enumerate(own):
        assert found[place] == pytest.approx(divergence(temperature, temperature)[place], rel=1e-4)
    assert case.curriculum.logged()["temperature/mean"] == pytest.approx(sum(own) / 4)


@pytest.mark.parametrize("per_instance", [False, True])
def test_it_goes_on_from_its_state(hotter: Callable[..., Case], per_instance: bool) -> None:
    def learn(case: Case, epochs: range) -> None:
        assert case.curriculum is not None
        for epoch in epochs:
            case.curriculum.before_epoch(epoch)
            case.curriculum.before_update(torch.nn.Identity(), batch, update=epoch, epoch=epoch + 1)
            case.loss.all(output(), batch())["distillation"].sum().backward()
            case.curriculum.after_backward()

    first, second = hotter(per_instance=per_instance), hotter(per_instance=per_instance)
    assert first.curriculum is not None
    assert second.curriculum is not None
    learn(first, range(3))
    saved = {name: value.clone() for name, value in first.curriculum.state().items()}
    learn(first, range(3, 5))
    second.curriculum.load(saved)
    learn(second, range(3, 5))

    one, other = first.curriculum.state(), second.curriculum.state()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], saved[name]) for name in one)


def test_a_mean_temperature_weighs_parts_by_utterances_and_updates_alike(
    hotter: Callable[..., Case],
) -> None:
    """Two updates: one heard as three utterances and one, the other as two that are at 6."""
    hot = hotter().curriculum
    assert hot is not None
    for update, parts in enumerate([[(2.0, 3), (4.0, 1)], [(6.0, 2)]]):
        hot.before_update(torch.nn.Identity(), batch, update=update, epoch=1)
        for value, utterances in parts:
            hot.saw(torch.tensor(value), utterances)

    assert hot.logged()["temperature/mean"] == ((2.0 * 3 + 4.0) / 4 + 6.0) / 2


def test_what_is_heard_twice_or_in_an_update_that_begins_anew_counts_once(
    hotter: Callable[..., Case],
) -> None:
    case = hotter()
    assert case.curriculum is not None
    begin_update(case)
    case.curriculum.saw(torch.tensor(100.0), 4)
    begin_update(case)
    with torch.no_grad():
        case.curriculum.saw(torch.tensor(50.0), 4)
        case.loss.all(output(10 * STUDENT), batch())
    case.curriculum.saw(torch.tensor(3.0), 4)

    assert case.curriculum.logged()["temperature/mean"] == 3.0


# Speech without labels


def test_speech_without_labels_has_the_terms_that_need_none(home: Home) -> None:
    case = Case(tiny_task(home, objectives__supervised_contrastive=1.0))
    other = knowledge(TEACHER.flip(1), FEATURES.flip(0))
    found = UnlabelledLoss(case.loss, other)(output(), batch())
    case.loss.knowledge = other
    labelled = case.terms()

    assert found.keys() == {"distillation", "feature_map"}
    for name, value in found.items():
        np.testing.assert_array_equal(value.detach(), labelled[name])
    said = divergence(4.0, 4.0, said=TEACHER.flip(1))
    np.testing.assert_allclose(found["distillation"], 0.5 * np.array(said), rtol=1e-5)


def test_it_has_the_learned_values_but_not_the_moved_teachers_word(home: Home) -> None:
    case = Case(tiny_task(home))
    unlabelled = UnlabelledLoss(case.loss, knowledge(TEACHER.flip(1)))
    before = unlabelled(output(), batch())["distillation"]
    case.loss.live_teacher = lambda heard: TEACHER[heard.rows].flip(0)

    assert torch.equal(unlabelled(output(), batch())["distillation"], before)
    np.testing.assert_allclose(
        case.loss.all(output(), batch())["distillation"],
        0.5 * np.array(divergence(4.0, 4.0, said=_moved())),
        rtol=1e-5,
    )
    case.loss.learned = {weight_of("distillation"): 1.0}
    torch.testing.assert_close(unlabelled(output(), batch())["distillation"], 2.0 * before)


def _moved() -> Tensor:
    """What the moved teacher says of each training utterance."""
    said = torch.empty_like(TEACHER)
    said[ROWS] = TEACHER[ROWS].flip(0)
    return said


def test_the_logged_temperature_is_that_of_labelled_speech(hotter: Callable[..., Case]) -> None:
    case = hotter(per_instance=True)
    assert case.curriculum is not None
    begin_update(case)
    case.loss.all(output(), batch())
    logged = case.curriculum.logged()
    UnlabelledLoss(case.loss, knowledge(10 * TEACHER))(output(), batch())

    assert case.curriculum.logged() == logged
