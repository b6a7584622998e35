"""Two processes take the steps of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.outputs import Output
from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import Augment, Training
from orchestrator.training.data import Batch
from orchestrator.training.judges import EmotionJudge, predict_logits
from orchestrator.training.loop import fit
from orchestrator.training.ranks import Ranks
from orchestrator.training.stage import Companion, Stage
from orchestrator.training.task import Silent
from tests.models.networks import vit
from tests.training.test_data import frame_data

LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2])
TARGETS = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5], [4.0, 0.0], [-2.0, 1.0]])


def test_shares_do_not_overlap_and_leave_nothing_out() -> None:
    rows = torch.tensor([7, 3, 9, 1, 4])
    shares = [Ranks(rank, 3).share(rows).tolist() for rank in range(3)]

    assert shares == [[7, 1], [3, 4], [9]]
    assert Ranks(2, 3).share(rows[:1]).tolist() == []
    assert Ranks().share(rows).tolist() == rows.tolist()


def test_alone_there_is_nobody_to_talk_to() -> None:
    weight = nn.Parameter(torch.ones(2))
    Ranks.current().sum_gradients([weight])
    values = torch.ones(2)

    assert Ranks.current() == Ranks(0, 1)
    assert weight.grad is None
    assert Ranks().sum_gradients([weight], bad=True) is True
    assert Ranks().first_error("a NaN") == "a NaN"
    assert Ranks().sum_values(values) is values


def gradients(ranks: Ranks, rows: Tensor) -> dict[str, Tensor | None]:
    """Of the mean squared error of a linear map over a global batch, after the exchange."""
    torch.manual_seed(0)
    used, unused, frozen = nn.Linear(2, 1), nn.Linear(3, 3), nn.Parameter(torch.ones(1))
    frozen.requires_grad_(False)
    mine = ranks.share(rows)
    if len(mine):
        ((used(TARGETS[mine]) - 1.0).square().sum() / len(rows)).backward()
    ranks.sum_gradients([*used.parameters(), *unused.parameters(), frozen])
    return {
        "weight": used.weight.grad,
        "bias": used.bias.grad,
        "unused": unused.weight.grad,
        "frozen": frozen.grad,
    }


def fitted(ranks: Ranks) -> dict[str, Tensor]:
    """A tiny ViT after two stages, the first of which never reaches its head."""
    torch.manual_seed(1)
    network = vit(bins=2, depth=1)
    # of lengths that nobody shares, and a last batch of one row: the second rank gets none of it
    data = frame_data(9, 4, 6, 12, 5, 7, 3, augment=Augment(noise=0.1), slope=0.01)

    def matching(output: Output, batch: Batch) -> dict[str, Tensor]:
        return {"feature_map": output.pooled.abs().mean(1)}

    def labels(output: Output, batch: Batch) -> dict[str, Tensor]:
        loss = nn.functional.cross_entropy(output.logits, LABELS[batch.rows], reduction="none")
        return {"cross_entropy": loss}

    settings = Training(epochs=2, batch_size=3, lr=1e-2, weight_decay=0.5, average_decay=0.5)
    found = fit(
        network,
        data=data,
        ids=[f"u{row}" for row in range(7)],
        judge=EmotionJudge(data, LABELS.tolist(), settings=settings),
        stages=[Stage("matching", 2, matching, chooses=False), Stage("student", 2, labels)],
        settings=settings,
        seed=0,
        ranks=ranks,
        reporter=Silent(),
    )
    history = torch.tensor([list(row.values())[0] for row in found.history])
    return found.state | {"logits": torch.from_numpy(found.validation_logits), "train": history}


def mixed(ranks: Ranks) -> dict[str, Tensor | bool]:
    """Gradients of three dtypes after an exchange in which the second rank's part went bad."""
    weights = [
        nn.Parameter(torch.zeros(2, dtype=dtype))
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
    ]
    for number, weight in enumerate(weights):
        weight.grad = torch.full_like(weight, 0.1 * (number + 1 + 10 * ranks.rank))
    went = ranks.sum_gradients(weights, bad=ranks.rank == 1)
    kept = {str(w.dtype): w.grad for w in weights if w.grad is not None}
    return kept | {"bad": went, "again": ranks.sum_gradients(weights)}


def scored(ranks: Ranks) -> dict[str, Tensor]:
    """Logits of utterances that make three batches, and of one, which a rank has no part of."""
    torch.manual_seed(1)
    network = vit(bins=2, depth=1)
    many = frame_data(*(3 + number % 7 for number in range(130)), slope=0.01)
    return {
        name: predict_logits(network, data, ranks=ranks)
        for name, data in (("many", many), ("one", frame_data(5, slope=0.01)))
    }


class Talks(Companion):
    """Has something to tell the other ranks after every backward pass."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def after_backward(self) -> None:
        self.ranks.sum_values(torch.zeros(3))


def failed(ranks: Ranks) -> str:
    """What a fit says in which the loss of one utterance, in the second update, is not finite."""
    heard = []

    def losses(output: Output, batch: Batch) -> dict[str, Tensor]:
        heard.append(batch)
        bad = (batch.rows == 2) & (len(heard) > 1)
        return {"cross_entropy": output.logits.sum(1) * torch.where(bad, torch.nan, 1.0)}

    settings = Training(epochs=2, batch_size=4)
    data = frame_data(5, 5, 5, 5, slope=0.01)
    with pytest.raises(TrainingError) as raised:
        fit(
            vit(bins=2, depth=1),
            data=data,
            ids=["u0", "u1", "u2", "u3"],
            judge=EmotionJudge(data, [0, 1, 0, 1], settings=settings),
            stages=[Stage("student", 2, losses, companions=[Talks(ranks)])],
            settings=settings,
            seed=0,
            ranks=ranks,
            reporter=Silent(),
        )
    return str(raised.value)


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    ranks = Ranks.current()
    found = {
        "place": (ranks.rank, ranks.world),
        "batch": gradients(ranks, torch.arange(5)),
        "single": gradients(ranks, torch.tensor([3])),
        "values": ranks.sum_values(torch.tensor([1.0 + rank, 10.0])),
        "tensors": ranks.sum_tensors(
            [torch.tensor([[rank, 7]]), torch.zeros(0), torch.tensor(0.5).double()]
        ),
        "mixed": mixed(ranks),
        "error": ranks.first_error("" if rank == 0 else f"rank {rank} met a NaN"),
        "scored": scored(ranks),
        "failed": failed(ranks),
        "fitted": fitted(ranks),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of two processes found."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(_process, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_the_process_group_says_who_is_who(both: list[dict]) -> None:
    assert [found["place"] for found in both] == [(0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("name", "rows"), [("batch", torch.arange(5)), ("single", torch.tensor([3]))]
)
def test_summed_gradients_are_those_of_one_process(
    both: list[dict], name: str, rows: Tensor
) -> None:
    """Also where the second rank's part of the batch is empty."""
    alone = gradients(Ranks(), rows)
    for found in both:
        torch.testing.assert_close(found[name]["weight"], alone["weight"])
        torch.testing.assert_close(found[name]["bias"], alone["bias"])


def test_what_no_rank_has_used_keeps_no_gradient(both: list[dict]) -> None:
    """With a gradient of zero the optimiser would decay it, which one process does not."""
    for found in both:
        assert found["batch"]["unused"] is None
        assert found["batch"]["frozen"] is None


def test_summed_values(both: list[dict]) -> None:
    for found in both:
        assert found["values"].tolist() == [3.0, 20.0]


def test_sums_keep_shapes_and_dtypes(both: list[dict]) -> None:
    """Also of nothing, and of a scalar."""
    for found in both:
        whole, nothing, scalar = found["tensors"]
        assert (whole.dtype, whole.tolist()) == (torch.int64, [[1, 14]])
        assert (nothing.dtype, nothing.tolist()) == (torch.float32, [])
        assert (scalar.dtype, scalar.item()) == (torch.float64, 1.0)


def test_gradients_of_unlike_dtypes_go_in_one_message(both: list[dict]) -> None:
    for found in both:
        kept = found["mixed"]
        for number, dtype in enumerate((torch.float32, torch.float64, torch.bfloat16)):
            gradient = kept[str(dtype)]
            # 0.1 and 1.1, and so on, each as its dtype has it
            parts = [torch.tensor(0.1 * (number + 1 + 10 * r), dtype=dtype) for r in range(2)]
            expected = sum(part.double() for part in parts).to(dtype)
            assert gradient.dtype == dtype
            assert gradient.tolist() == [expected.item()] * 2


def test_every_rank_learns_that_one_went_bad_and_what_it_says(both: list[dict]) -> None:
    for found in both:
        assert found["mixed"]["bad"] is True
        assert found["mixed"]["again"] is False
        assert found["error"] == "rank 1 met a NaN"


def test_a_loss_that_is_not_finite_ends_the_fit_of_every_rank(both: list[dict]) -> None:
    said = both[0]["failed"]

    assert "cross_entropy became nan at update 1 of stage 'student' (epoch 2)" in said
    # of the rank that has it
    named = said.partition("utterances of the batch: ")[2].partition(".")[0].split(", ")
    assert len(named) == 2
    assert "u2" in named
    assert both[1]["failed"] == said


def test_ranks_share_the_scoring_and_get_the_numbers_of_one_to_the_bit(both: list[dict]) -> None:
    alone = scored(Ranks())
    for found in both:
        for name, logits in alone.items():
            assert torch.equal(found["scored"][name], logits)


def test_two_processes_fit_what_one_does(both: list[dict]) -> None:
    """Two stages, shares of unequal size, weight decay and a running average."""
    alone = fitted(Ranks())
    for found in both:
        assert found["fitted"].keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(found["fitted"][name], value, rtol=1e-5, atol=1e-5)
