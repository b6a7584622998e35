"""Meta-gradients: what a step of the student does to the held speakers' loss.

The *inner* loss trains the student and depends on something that is ``learned``: temperatures and
weights of its terms, or the teacher that it imitates. The *outer* loss is the student's on held
utterances after one *virtual* (or *pilot*) step of plain gradient descent on the inner loss. The
update equations for temperatures and weights are inferred: Liu et al. 2022 (MKD) publish none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import get_total_norm

Tensors = dict[str, Tensor]
TrainLoss = Callable[[Tensors, Tensors], Tensor]
"""The inner loss: a scalar, from the student's parameters and what is learned."""
HeldLoss = Callable[[Tensors], Tensor]
"""The outer loss: a scalar, from the student's parameters."""
Add = Callable[[list[Tensor]], list[Tensor]]
"""From what this worker has of some tensors to the sums over all workers."""


def alone(tensors: list[Tensor]) -> list[Tensor]:
    """The sums where there is one worker."""
    return tensors


def exact_gradient(
    train_loss: TrainLoss,
    held_loss: HeldLoss,
    params: Tensors,
    learned: Tensors,
    *,
    rate: float,
    add: Add = alone,
) -> tuple[Tensors, Tensor]:
    """Differentiate ``held_loss(params - rate * d train_loss / d params)`` by what is learned.

    The gradient goes through the virtual step, by second derivatives. With temperatures and weights
    as ``learned`` this is bilevel meta-learning; with the teacher's parameters, and a train loss
    that computes the teacher's logits from them, it is learning to teach (MetaDistil, Zhou et al.
    2022). The virtual step is taken on tensors of its own, so there is nothing to restore after
    this "pilot update": parameters, their ``.grad``, the student's optimiser and the random state
    all stay as they were.

    Attention runs on the math kernel of ``scaled_dot_product_attention``: the fused ones have no
    second derivative. Random draws, such as dropout's, start where the caller's generator stands.

    Args:
        train_loss: the inner loss, by ``torch.func.functional_call`` on the student (and on the
            teacher, if that is what is learned).
        held_loss: the outer loss, likewise.
        params: the student's, as of ``dict(network.named_parameters())``; those that require no
            gradient are frozen: the virtual step leaves them.
        learned: what to differentiate by; zero is returned for those that require no gradient.
        rate: learning rate of the virtual step.
        add: where several workers share the losses, each of them has a part of either loss, the
            parts adding up to the whole; this adds up what they found. Parts and whole have the
            same meta-gradient, and every worker is given that. Default: there is one.

    Returns:
        The gradient, under the names of ``learned`` and zero where there is no influence, and the
        value of the outer loss. Both are detached.

    Raises:
        ValueError: nothing in ``params`` or in ``learned`` requires a gradient.
    """
    moving, asked = _trainable(params, "params"), _trainable(learned, "learned")
    with torch.enable_grad(), _same_draws(params, learned), sdpa_kernel(SDPBackend.MATH):
        loss = train_loss({**params, **moving}, {**learned, **asked})
        slopes = _slopes(loss, moving, create_graph=True)
        stepped = _virtual_step(moving, slopes, rate, add)
        direction, value = _outer_slopes(held_loss, params, stepped, add)
        # those of the other workers depend on what is learned likewise, and are added up below
        reached = [name for name, slope in slopes.items() if slope.requires_grad]
        through = (
            torch.autograd.grad(
                [slopes[name] for name in reached],
                list(asked.values()),
                grad_outputs=[-rate * direction[name] for name in reached],
                allow_unused=True,
                materialize_grads=True,
            )
            if reached
            else [torch.zeros_like(tensor) for tensor in asked.values()]
        )
    return _completed(_added(dict(zip(asked, through, strict=True)), add), learned), value


def finite_difference_gradient(
    train_loss: TrainLoss,
    held_loss: HeldLoss,
    params: Tensors,
    learned: Tensors,
    *,
    rate: float,
    epsilon: float = 0.01,
    add: Add = alone,
) -> tuple[Tensors, Tensor]:
    """Approximate ``exact_gradient`` with first derivatives only (DARTS, Liu et al. 2019, 2.3).

    With ``v`` the gradient of the outer loss after the virtual step, and ``h = epsilon / ||v||``,
    ``-rate * (g(params + h v) - g(params - h v)) / (2 h)``, where ``g`` is the inner loss's
    gradient by what is learned. Every pass meets the same random draws, so that their difference
    is the parameters' alone; but parameters move so little that the losses have to be computed in
    float32 or better. Where ``v`` is zero, so is the meta-gradient.

    Args:
        train_loss: as for ``exact_gradient``, and so are all others.
        held_loss: the outer loss.
        params: the student's.
        learned: what to differentiate by.
        rate: learning rate of the virtual step.
        add: sums over workers.
        epsilon: how far the student's parameters are moved together, as a Euclidean distance;
            default 0.01, as in DARTS. The error falls with its square until rounding takes over.

    Returns:
        The gradient and the value of the outer loss, as ``exact_gradient``.

    Raises:
        ValueError: nothing in ``params`` or in ``learned`` requires a gradient.
    """
    moving, asked = _trainable(params, "params"), _trainable(learned, "learned")
    with torch.enable_grad(), _same_draws(params, learned):
        slopes = _slopes(train_loss({**params, **moving}, learned), moving)
        stepped = _virtual_step(moving, slopes, rate, add)
        direction, value = _outer_slopes(held_loss, params, stepped, add)
    norm = get_total_norm(direction.values()).item()
    if norm == 0:
        return _completed({}, learned), value
    step = epsilon / norm

    def gradient_at(step: float) -> Tensors:
        with torch.no_grad():
            moved = {name: tensor + step * direction[name] for name, tensor in moving.items()}
        with torch.enable_grad(), _same_draws(params, learned):
            return _slopes(train_loss({**params, **moved}, {**learned, **asked}), asked)

    ahead, behind = gradient_at(step), gradient_at(-step)
    scale = -rate / (2 * step)
    gradients = {name: scale * (ahead[name] - behind[name]) for name in asked}
    return _completed(_added(gradients, add), learned), value


def _slopes(loss: Tensor, by: Tensors, *, create_graph: bool = False) -> Tensors:
    """The gradient of ``loss``, zero where it has no influence."""
    if not loss.requires_grad:
        return {name: torch.zeros_like(tensor) for name, tensor in by.items()}
    found = torch.autograd.grad(
        loss,
        list(by.values()),
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return dict(zip(by, found, strict=True))


def _virtual_step(moving: Tensors, slopes: Tensors, rate: float, add: Add) -> Tensors:
    """``moving`` after one step of plain gradient descent, as leaves of another graph."""
    whole = _added({name: slope.detach() for name, slope in slopes.items()}, add)
    return {
        name: (tensor.detach() - rate * whole[name]).requires_grad_()
        for name, tensor in moving.items()
    }


def _outer_slopes(
    held_loss: HeldLoss, params: Tensors, stepped: Tensors, add: Add
) -> tuple[Tensors, Tensor]:
    """Gradient and value of the outer loss after the virtual step, of all workers."""
    loss = held_loss({**params, **stepped})
    *sums, value = add([*_slopes(loss, stepped).values(), loss.detach()])
    return dict(zip(stepped, sums, strict=True)), value


def _added(tensors: Tensors, add: Add) -> Tensors:
    return dict(zip(tensors, add(list(tensors.values())), strict=True))


def _trainable(tensors: Tensors, role: str) -> Tensors:
    """Those of ``tensors`` that require a gradient, as leaves of a graph of their own."""
    chosen = {
        name: tensor.detach().requires_grad_()
        for name, tensor in tensors.items()
        if tensor.requires_grad
    }
    if not chosen:
        raise ValueError(
            f"none of the {len(tensors)} tensors in {role} requires a gradient, so there is none: "
            "pass the parameters themselves, not detached copies of them"
        )
    return chosen


def _completed(gradients: Tensors, learned: Tensors) -> Tensors:
    """``gradients`` under all names of ``learned``: zero where there is none."""
    return {
        name: gradients[name] if name in gradients else torch.zeros_like(tensor)
        for name, tensor in learned.items()
    }


@contextmanager
def _same_draws(*groups: Tensors) -> Iterator[None]:
    """Leave the random state behind as it was found, so that a next pass draws the same."""
    devices = {tensor.device for group in groups for tensor in group.values() if tensor.is_cuda}
    with torch.random.fork_rng(devices=devices, device_type="cuda"):
        yield
