"""Several processes that train one network; each takes an equal share of every batch.

`coronet.training.launch` starts them, and each is a `member`. They agree on every number: what each found is
gathered in their order, so that a batch, its loss and its statistics are those of one process that did it
all. In a process alone each function here gives back what it was given.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

Item = TypeVar("Item")


@contextlib.contextmanager
def member() -> Iterator[None]:
    """Be one of the processes that torchrun started, as its environment variables say."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl", device_id=torch.device("cuda", torch.cuda.current_device()))
    else:
        dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def count() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The place of this process among them, from 0; the first one writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's part of ``items``; the parts of all, in their order, are the whole."""
    first, last = (place * len(items) // count() for place in (rank(), rank() + 1))
    return items[first:last]


def gathered(items: Sequence[Item]) -> list[Item]:
    """What all processes found, in their order; every process must call it."""
    if count() == 1:
        return list(items)
    lists: list[Any] = [None] * count()
    dist.all_gather_object(lists, list(items))
    return [item for part in lists for item in part]


def joined(tensor: torch.Tensor) -> torch.Tensor:
    """Equal parts (n, …) of all processes as one batch, through which gradients flow back to each of them.

    The gradients of all processes are averaged then, so a loss of the whole batch in each of them has the
    gradient that it has in one.
    """
    return tensor if count() == 1 else _Joined.apply(tensor)


def parallel(module: nn.Module, *, batch_norm: str) -> nn.Module:
    """A module whose gradients are averaged over all processes; ``module`` itself shares its weights.

    Args:
        module: on its device.
        batch_norm: ``synchronised`` takes the statistics of the whole batch, ``plain`` those of the share.
    """
    if count() == 1:
        return module
    ids = [torch.cuda.current_device()] if torch.cuda.is_available() else None
    if batch_norm == "synchronised":
        synchronise(module)
    return nn.parallel.DistributedDataParallel(
        module, device_ids=ids, broadcast_buffers=batch_norm == "plain", gradient_as_bucket_view=True
    )


def synchronise(module: nn.Module) -> None:
    """Let batch norms take the statistics of all processes, in place."""
    for layer in module.modules():
        if type(layer) is nn.BatchNorm3d:
            layer.__class__ = _SynchronisedNorm


class _SynchronisedNorm(nn.BatchNorm3d):
    """Batch norm of what all processes hold. Torch's own `SyncBatchNorm` refuses tensors of a processor."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(image)
        axes = (0, 2, 3, 4)
        values = image.float()
        number = image.numel() // image.shape[1] * count()
        mean = _Sum.apply(values.sum(axes)) / number
        centred = values - mean.view(1, -1, 1, 1, 1)
        variance = _Sum.apply(centred.square().sum(axes)) / number
        assert self.num_batches_tracked is not None and self.momentum is not None
        assert self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (number / (number - 1)), self.momentum)
        slope = (self.weight * (variance + self.eps).rsqrt()).view(1, -1, 1, 1, 1)
        return (centred * slope + self.bias.view(1, -1, 1, 1, 1)).to(image.dtype)


class _Sum(torch.autograd.Function):
    """Sum of all processes; each has the gradient of all that comes of it anywhere."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return _summed(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _summed(gradient)


class _Joined(torch.autograd.Function):
    """Parts of all processes along the first axis."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(count())]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _summed(gradient).chunk(count())[rank()]


def _summed(tensor: torch.Tensor) -> torch.Tensor:
    result = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(result)
    return result
