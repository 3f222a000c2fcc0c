"""A loss of your own as a term of the objective: any callable, or a module with parameters that are trained too.

It names the arguments that it wants, among these:

    visible, transition, infrared    features [N,D], [N,D] (row by row the transitions of `visible`), [M,D]
    identities, infrared_identities  labels int64 [N] and [M]
    features, layout                 all of a batch: `mtrl.models.reid.Features`, `mtrl.losses.TriLayout`

and returns a scalar. A class is built once, with `dim` (D) and `num_identities` where its constructor names them.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .terms import TERMS

if TYPE_CHECKING:
    from mtrl.models.reid import Features

ARGUMENTS = ("visible", "transition", "infrared", "identities", "infrared_identities", "features", "layout")
_OF_A_CLASS = ("dim", "num_identities")
# Names that a record of a step has already, or that torch would not give to a module.
RESERVED = frozenset(
    {*TERMS, "identity", "triplet", "distil", "teacher", "total", "gradient", *dir(nn.ModuleDict())}
)


@dataclasses.dataclass(frozen=True, eq=False)
class OwnLoss:
    """A loss with its weight.

    name      in records: loss_NAME. ValueError for one of `RESERVED`
    function  what is called;  wanted: the arguments that it names
    """

    name: str
    weight: float
    function: Callable[..., Any]
    wanted: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.name in RESERVED:
            raise ValueError(f"the name {self.name} is taken: give your loss another one")

    @property
    def module(self) -> nn.Module | None:
        """The loss as a module, where it is one: its parameters are trained."""
        return self.function if isinstance(self.function, nn.Module) else None

    def __call__(self, features: Features, layout: Any, embedding: Tensor) -> Tensor:
        """The scalar of a batch laid out by a `TriLayout`; `embedding` [V+T+I, D] is what the terms compare.

        Raises ValueError for another shape of result, or where it wants transition images and there are none.
        """
        if "transition" in self.wanted and layout.transition == 0 and layout.visible > 0:
            raise ValueError(
                f"the loss {self.name} wants transition images, and there are none: add --transition"
            )
        given: dict[str, Any] = dict(zip(ARGUMENTS, layout.split(embedding), strict=False))
        labels = layout.split(layout.identities)
        given |= {
            "identities": labels[0],
            "infrared_identities": labels[2],
            "features": features,
            "layout": layout,
        }
        value = self.function(**{name: given[name] for name in self.wanted})
        if not isinstance(value, Tensor) or value.ndim != 0 or not value.is_floating_point():
            found = (
                f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            )
            raise ValueError(f"the loss {self.name} must give a scalar tensor, not {found}")
        return value


def own_loss(part: Any, name: str, weight: float, dim: int, num_identities: int) -> OwnLoss:
    """The term of a callable, a module, or a class of modules. A module is copied, so that runs do not share it.

    Raises ValueError for anything else, for arguments without a default that are not among those above, and for a
    class that cannot be built.
    """
    if isinstance(part, type):
        options = dict(zip(_OF_A_CLASS, (dim, num_identities), strict=True))
        wanted = _named(part, name, options)
        try:
            part = part(**{key: options[key] for key in wanted})
        except Exception as error:  # whatever the class does
            raise ValueError(
                f"the loss {name} cannot be built: it ends with {type(error).__name__}: {error}"
            ) from error
    elif isinstance(part, nn.Module):
        part = copy.deepcopy(part)
    if not callable(part):
        raise ValueError(f"the loss {name} is a {type(part).__name__}, which cannot be called")
    called = part.forward if isinstance(part, nn.Module) else part
    return OwnLoss(name, weight, part, _named(called, name, dict.fromkeys(ARGUMENTS)))


def _named(called: Callable[..., Any], name: str, known: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of the known arguments a callable names. Raises ValueError for unknown ones without a default."""
    parameters = inspect.signature(called).parameters.values()
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [p.name for p in plain if p.name not in known and p.default is p.empty]
    if unknown:
        raise ValueError(f"the loss {name} asks for {', '.join(unknown)}; it is given {', '.join(known)}")
    return tuple(p.name for p in plain if p.name in known)
