"""Skips the optimiser's step when a loss or a gradient is not finite, so that no weight becomes NaN.

Reading a value from a GPU makes the host wait for it. On CUDA the check therefore stays on the device: torch's fused
optimisers skip a step when their `found_inf` is 1, the buffers of batch normalisation are restored by `torch.where`,
and the host reads the results of several steps at once, when it waits anyway. On other devices each step is checked
before it is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

MOST_IN_A_ROW = 10
_SHOWN = 4


class NonFiniteLossError(ValueError):
    """A loss or a gradient was not a number; the message names epoch, step and images."""


@dataclasses.dataclass(frozen=True)
class StepInfo:
    """Which step it is, and on which images.

    epoch, step  counted from 1
    images       gives the names of this process's shard of the batch
    """

    epoch: int
    step: int
    images: Callable[[], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class SkippedStep:
    """A step that the optimiser did not make. terms: the losses that were not finite, and "gradient"."""

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
    """What was found about one step."""

    info: StepInfo
    terms: tuple[str, ...]
    finite: Tensor  # bool, one per term


class StepGuard:
    """Makes the steps of an optimiser where loss and gradient are finite.

    skip    go on after a skipped step, at most `MOST_IN_A_ROW` times in a row; else the first one ends the run
    gated   leave the check on the device; None: on CUDA. The optimiser must be a fused one then
    advice  ends the message of the error
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
        """Before the forward pass: keeps the running statistics, which it changes."""
        self._kept = [torch.cat([buffer.flatten() for buffer in group]) for group in self._buffers]

    def step(self, terms: Mapping[str, Tensor], info: StepInfo, clip: float = 0.0) -> None:
        """After the backward pass: one step of the optimiser if all is finite. clip: largest gradient norm; 0: none."""
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
        """After the step and what belongs to it: model and optimiser are those of a whole number of steps again."""
        self._kept = []
        self._moving = False

    def recover(self) -> bool:
        """After an interruption: undoes a forward pass. False if the step itself was cut, so that nothing is whole."""
        if not self._moving and self._kept:
            self._put_back(None)
            self._kept = []
        return not self._moving

    def report_skipped(self, report: Callable[[SkippedStep], None]) -> int:
        """Waits for the device, reports the steps skipped since the last call and returns their number.

        Raises NonFiniteLossError unless they may be skipped, or when there are too many in a row.
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
        """Gives buffers their kept values; `where` is a bool on the device, or None for yes."""
        with torch.no_grad():
            for group, kept in zip(self._buffers, self._kept, strict=True):
                if where is not None:
                    kept = torch.where(where, kept, torch.cat([buffer.flatten() for buffer in group]))
                parts = kept.split([buffer.numel() for buffer in group])
                torch._foreach_copy_(group, [p.view_as(b) for p, b in zip(parts, group, strict=True)])
