"""Batches beside a plain implementation that holds everything: the same numbers, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import orchestrator.training.arrays as arrays_module
from orchestrator.experiment.recipe import Augment
from orchestrator.features import PackedFrames
from orchestrator.training.augment import LOG_POWER_PER_DB
from orchestrator.training.data import FrameData
from orchestrator.training.state import derived_seed
from orchestrator.training.task import Unlabelled

LENGTHS = (1, 2, 37, 64, 64, 5, 120, 33, 90, 18)
HOP, SEED = 0.01, 5
SHIPPED = {
    "frequency_masks": 2,
    "frequency_width": 5,
    "time_masks": 2,
    "time_stretch": 0.15,
    "frequency_warp": 0.1,
    "gain_db": 10.0,
    "tilt_db": 10.0,
}
AUGMENTS = {
    "nothing": {},
    "emodb": SHIPPED,
    "recogniser": {"time_stretch": 0.3, "frequency_warp": 0.15},
    "everything": {**SHIPPED, "noise": 0.3, "crop_seconds": 0.4, "time_width_seconds": 0.05},
    "no change of time": {"gain_db": 3.0, "frequency_masks": 1, "noise": 0.1},
    "crop alone": {"crop_seconds": 0.25},
    "masks of time alone": {"time_masks": 3},
    "tilt alone": {"tilt_db": 3.0},
}


class Plain:
    """All frames normalised in one array, and one step after another on whole batches."""

    def __init__(self, flat: np.ndarray, *, mean: np.ndarray, std: np.ndarray, planes: int) -> None:
        self.flat = torch.from_numpy((flat - mean) / std)
        self.scale = torch.from_numpy(1.0 / std)
        self.lengths = torch.tensor(LENGTHS)
        self.starts = torch.cumsum(self.lengths, 0) - self.lengths
        self.planes = planes

    def draws(self, rows: Tensor, count: int, epoch: int) -> Tensor:
        found = []
        for row in rows.tolist():
            seed = derived_seed("augment", SEED, epoch, f"content {row}")
            found.append(torch.rand(count, generator=torch.Generator().manual_seed(seed)))
        return torch.stack(found)

    def batch(self, rows: Tensor, by: Augment, epoch: int) -> tuple[Tensor, Tensor]:
        lengths, bins = self.lengths[rows], self.flat.shape[1] // self.planes
        draws = self.draws(rows, 5 + 2 * (by.frequency_masks + by.time_masks), epoch)
        tempo = 1.0 + by.time_stretch * (2.0 * draws[:, 0] - 1.0)
        span = torch.ones(len(rows))
        if by.crop_seconds is not None:
            span = (max(1, round(by.crop_seconds / HOP)) * tempo / lengths).clamp(max=1.0)
        spoken = (lengths.float() * span / tempo).round().long().clamp(min=1)
        first = draws[:, 2] * (1.0 - span) * lengths
        last = first + span * lengths - 1.0
        axis = torch.arange(int(spoken.max()))
        step = (last - first) / (spoken - 1).clamp(min=1)
        end = (lengths - 1)[:, None]
        position = (first[:, None] + axis * step[:, None]).clamp(min=0.0).minimum(end.float())
        low = position.floor().long()
        begin, high = self.starts[rows][:, None], torch.minimum(low + 1, end)
        share = (position - low)[:, :, None]
        frames = torch.lerp(self.flat[begin + low], self.flat[begin + high], share)
        if by.frequency_warp:
            frames = self.warped(frames, 1.0 + by.frequency_warp * (2.0 * draws[:, 1] - 1.0))
        gain, tilt = (
            decibels * (2.0 * draws[:, column] - 1.0)
            for column, decibels in ((3, by.gain_db), (4, by.tilt_db))
        )
        level = torch.zeros(len(rows), frames.shape[2])
        slope = torch.linspace(-0.5, 0.5, bins)
        level[:, :bins] = (gain[:, None] + tilt[:, None] * slope) * LOG_POWER_PER_DB
        frames = frames + (level * self.scale)[:, None, :]
        if by.noise:
            noise = torch.zeros(frames.shape)
            for place, (row, count) in enumerate(zip(rows.tolist(), spoken.tolist(), strict=True)):
                generator = torch.Generator()
                generator.manual_seed(derived_seed("noise", SEED, epoch, f"content {row}"))
                noise[place, :count] = torch.randn(count, frames.shape[2], generator=generator)
            frames = frames + by.noise * noise
        for mask in range(by.frequency_masks + by.time_masks):
            one, other = draws[:, 5 + 2 * mask], draws[:, 6 + 2 * mask]
            if mask < by.frequency_masks:
                extent = torch.full_like(one, bins)
                size, axis = one * min(by.frequency_width, bins), torch.arange(bins)
            else:
                extent = spoken.float()
                widest = torch.full_like(one, by.time_width_seconds / HOP)
                size, axis = one * torch.minimum(widest, spoken / 5), torch.arange(frames.shape[1])
            start = other * (extent - size)
            hit = (axis >= start[:, None].round()) & (axis < (start + size)[:, None].round())
            if mask < by.frequency_masks:
                frames = frames * ~hit.repeat(1, self.planes)[:, None, :]
            else:
                frames = frames * ~hit[:, :, None]
        return frames * (torch.arange(frames.shape[1]) < spoken[:, None])[:, :, None], spoken

    def warped(self, frames: Tensor, warp: Tensor) -> Tensor:
        batch, time, width = frames.shape
        bins = width // self.planes
        position = (torch.arange(bins) * warp[:, None]).clamp(max=bins - 1.0)
        low = position.floor().long()
        matrix = torch.zeros(batch, bins, bins)
        for row in range(batch):
            for bin in range(bins):
                after, share = min(int(low[row, bin]) + 1, bins - 1), position[row, bin] % 1.0
                matrix[row, low[row, bin], bin] += 1.0 - share
                matrix[row, after, bin] += share
        planes = frames.reshape(batch, time, self.planes, bins)
        return torch.einsum("btcf,bfg->btcg", planes, matrix).reshape(batch, time, width)


class OneDevice(TorchDispatchMode):
    """Refuses what a GPU would: to compute with tensors of which some are elsewhere."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        tensors = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.ndim}
        if len(devices) > 1 and func is not torch.ops.aten.copy_.default:
            raise AssertionError(f"{func} of tensors on {sorted(devices)}")
        return func(*args, **(kwargs or {}))


def made(
    folder: Path, *, bins: int, planes: int, augment: Augment | None
) -> tuple[Plain, FrameData]:
    """The same frames in memory and in two memory maps."""
    draw = np.random.default_rng(bins)
    width = bins * planes
    flat = draw.normal(-4.0, 3.0, (sum(LENGTHS), width)).astype(np.float32)
    mean = draw.normal(-4.0, 1.0, width).astype(np.float32)
    std = draw.uniform(0.5, 4.0, width).astype(np.float32)
    offsets = np.cumsum([0, *LENGTHS])
    shards = []
    for number, rows in enumerate((range(4), range(4, len(LENGTHS)))):
        part = offsets[rows.start : rows.stop + 1]
        np.save(folder / f"{number}.npy", flat[part[0] : part[-1]])
        frames = np.load(folder / f"{number}.npy", mmap_mode="r")
        shards.append(([f"u{row}" for row in rows], part - part[0], frames))
    ids = tuple(f"u{row}" for row in range(len(LENGTHS)))
    contents = tuple(f"content {row}" for row in range(len(LENGTHS)))
    data = FrameData(
        PackedFrames(shards),
        Unlabelled(ids, contents),
        mean=mean,
        std=std,
        channels=planes,
        hop_seconds=HOP,
        augment=augment,
        seed=SEED,
    )
    return Plain(flat, mean=mean, std=std, planes=planes), data


def batches(seed: int) -> list[Tensor]:
    """All rows in some order, in batches; and one row by itself."""
    order = torch.randperm(len(LENGTHS), generator=torch.Generator().manual_seed(seed))
    return [*torch.split(order, 4), torch.tensor([6]), torch.tensor([0]), torch.tensor([3, 3])]


@pytest.mark.parametrize("where", ["mapped", "resident", "streamed"])
@pytest.mark.parametrize(("bins", "planes"), [(40, 3), (64, 1), (7, 2)])
@pytest.mark.parametrize("named", AUGMENTS)
def test_batches_are_those_of_a_plain_implementation(
    tmp_path: Path, named: str, bins: int, planes: int, where: str
) -> None:
    augment = Augment.model_validate(AUGMENTS[named])
    plain, data = made(tmp_path, bins=bins, planes=planes, augment=augment)
    mapped = data.arrays
    assert isinstance(mapped, arrays_module.MappedArrays)
    if where == "resident":
        data.arrays = arrays_module.ResidentArrays(mapped, device="cpu")
    if where == "streamed":
        data.arrays = arrays_module.StreamedArrays(mapped, device="cpu")
    kept = []
    for epoch in (1, 2):
        for rows in batches(epoch):
            frames, spoken = data.batch(rows, epoch=epoch).inputs
            expected, counts = plain.batch(rows, augment, epoch)
            assert torch.equal(spoken, counts)
            assert torch.equal(frames, expected)
            kept.append((frames, expected))
            # as they are scored
            frames, spoken = data.batch(rows).inputs
            expected, counts = plain.batch(rows, Augment(), epoch)
            assert torch.equal(spoken, counts)
            assert torch.equal(frames, expected)
            kept.append((frames, expected))

    # a batch is its owner's: none is written over by those that come after
    assert all(torch.equal(frames, expected) for frames, expected in kept)


@pytest.mark.parametrize("named", AUGMENTS)
def test_everything_that_is_made_for_a_device_is_there(tmp_path: Path, named: str) -> None:
    """By a device that computes nothing, beside what would not compute with two."""
    augment = Augment.model_validate(AUGMENTS[named])
    _, data = made(tmp_path, bins=8, planes=2, augment=augment)
    mapped = data.arrays
    assert isinstance(mapped, arrays_module.MappedArrays)
    for arrays in (
        arrays_module.ResidentArrays(mapped, device="meta"),
        arrays_module.StreamedArrays(mapped, device="meta"),
    ):
        data.arrays, data.device = mapped, "cpu"
        rows = torch.tensor([2, 6, 3])
        expected = [data.batch(rows, epoch=epoch).inputs for epoch in (1, None)]
        data.arrays, data.device = arrays, "meta"
        for epoch, inputs in zip((1, None), expected, strict=True):
            with OneDevice():
                found = data.batch(rows, epoch=epoch).inputs
            assert [part.device.type for part in found] == ["meta", "meta"]
            assert [part.shape for part in found] == [part.shape for part in inputs]
            assert [part.dtype for part in found] == [part.dtype for part in inputs]
