"""Skips the optimiser's step if a loss or a gradient is not finite, so that no weight becomes NaN.

On a CPU each step is checked before it is made. On CUDA that would make the CPU wait for the GPU in every step, so the
check stays on the GPU: torch's fused optimisers skip a step if their `found_inf` is 1, and `torch.where` restores the
buffers of batch normalisation. The CPU reads the results of several steps at once, when it has to wait anyway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

MOST_IN_A_ROW = 10
_SHOWN = 4


class NonFiniteLossError(ValueError):
    """A loss or a gradient was not finite. The message names epoch, step and images."""


@dataclasses.dataclass(frozen=True)
class StepInfo:
    """The number and the images of a step.

    epoch, step  counted from 1
    images       function that returns the names of the images in this process's shard of the batch
    """

    epoch: int
    step: int
    images: Callable[[], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class SkippedStep:
    """A step that the optimiser did not make.

    terms  names of the losses that were not finite, and "gradient" if it was not
    """

    epoch: int
    step: int
    images: tuple[str, ...]
    terms: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {len(self.images) - _SHOWN} more" if len(self.images) > _SHOWN else ""
        images = ", ".join(self.images[:_SHOWN]) + more
        return (
            f"not finite in epoch {self.epoch} at step {self.step}: {', '.join(self.terms)}; images: {images}"
        )


@dataclasses.dataclass(frozen=True)
class _Check:
    """The result of checking one step, which may still be on the device."""

    info: StepInfo
    terms: tuple[str, ...]
    finite: Tensor  # bool [terms]


class StepGuard:
    """Makes an optimiser's steps, except those in which a loss or the gradient is not finite.

    skip    True continues after a skipped step, up to `MOST_IN_A_ROW` in a row; False ends the run at the first one
    gated   True leaves the check on the device, which needs a fused optimiser; None: True on CUDA
    advice  last sentence of the error's message
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        skip: bool = False,
        gated: bool | None = None,
        advice: str = "",
    ) -> None:
        self.optimizer = optimizer
        self.skip = skip
        self.advice = advice
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.gated = self.parameters[0].device.type == "cuda" if gated is None else gated
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in model.buffers():
            by_type.setdefault(buffer.dtype, []).append(buffer)
        self._buffers = list(by_type.values())
        self._kept: list[Tensor] = []
        self._checks: list[_Check] = []
        self._in_a_row = 0
        self._moving = False

    def begin(self) -> None:
        """Call before the forward pass: keeps a copy of the buffers (running statistics), which that pass changes."""
        self._kept = [torch.cat([buffer.flatten() for buffer in group]) for group in self._buffers]

    def step(self, terms: Mapping[str, Tensor], info: StepInfo, clip: float = 0.0) -> None:
        """Call after the backward pass: makes one step of the optimiser if everything is finite.

        terms  the losses by name
        clip   largest norm of the gradient; 0: no limit
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.clip_grad_norm_(self.parameters, clip) if clip else nn.utils.get_total_norm(gradients)
        values = [value.detach().float() for value in terms.values()]
        finite = torch.isfinite(torch.stack([*values, norm.to(self.parameters[0].device)]))
        self._checks.append(_Check(info, (*terms, "gradient"), finite))
        self._moving = True
        if self.gated:
            bad = ~finite.all()
            self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
            self.optimizer.step()
            self._put_back(bad)
        elif bool(finite.all()):
            self.optimizer.step()
        else:
            self._put_back(None)

    def end(self) -> None:
        """Call when a step is complete, so that model and optimiser can be saved."""
        self._kept = []
        self._moving = False

    def recover(self) -> bool:
        """Call after an interruption. Returns whether model and optimiser can be saved.

        An interrupted forward or backward pass is undone. An interrupted step of the optimiser cannot be.
        """
        if not self._moving and self._kept:
            self._put_back(None)
            self._kept = []
        return not self._moving

    def report_skipped(self, report: Callable[[SkippedStep], None]) -> int:
        """Waits for the device, reports the steps that were skipped since the last call, and returns their number.

        Raises NonFiniteLossError if steps may not be skipped, or if too many in a row were.
        """
        checks, self._checks = self._checks, []
        if not checks:
            return 0
        flags = iter(torch.cat([check.finite for check in checks]).tolist())
        count = 0
        for check in checks:
            terms = tuple(term for term in check.terms if not next(flags))
            self._in_a_row = self._in_a_row + 1 if terms else 0
            if not terms:
                continue
            count += 1
            info = check.info
            skipped = SkippedStep(info.epoch, info.step, tuple(info.images()), terms)
            report(skipped)
            if not self.skip or self._in_a_row > MOST_IN_A_ROW:
                many = f"{self._in_a_row} steps in a row, the last one " if self.skip else ""
                raise NonFiniteLossError(f"{many}{skipped}. {self.advice}")
        return count

    def _put_back(self, where: Tensor | None) -> None:
        """Restores the buffers that `begin` kept, if `where`, a bool on the device, is True. None restores always."""
        with torch.no_grad():
            for group, kept in zip(self._buffers, self._kept, strict=True):
                if where is not None:
                    kept = torch.where(where, kept, torch.cat([buffer.flatten() for buffer in group]))
                parts = kept.split([buffer.numel() for buffer in group])
                torch._foreach_copy_(group, [p.view_as(b) for p, b in zip(parts, group, strict=True)])
