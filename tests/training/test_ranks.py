"""Two processes take the steps of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.outputs import Output
from orchestrator.experiment.recipe import Augment, Training
from orchestrator.training.data import Batch
from orchestrator.training.judges import EmotionJudge
from orchestrator.training.loop import Stage, fit
from orchestrator.training.ranks import Ranks
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


def test_two_processes_fit_what_one_does(both: list[dict]) -> None:
    """Two stages, shares of unequal size, weight decay and a running average."""
    alone = fitted(Ranks())
    for found in both:
        assert found["fitted"].keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(found["fitted"][name], value, rtol=1e-5, atol=1e-5)
