"""What the temperature of a surface depends on."""

from __future__ import annotations

import dataclasses

SKIN_CLO = 0.2
"""No cloth insulates as little."""


@dataclasses.dataclass(frozen=True)
class Heat:
    """Warmth and insulation of a surface, in degrees Celsius, metres, and clo (1 clo = 0.155 m2 K / W).

    core    temperature of the body beneath; None: a thing without one, `warmer` degrees above the air
    clo     insulation between the body and the surface, where the cloth lies on the body
    gap     air beneath the cloth, where it hangs free
    under   insulation of the layers that an open front shows
    quilt   distance of the seams that press the filling flat; 0: none
    crease  share of the insulation that a crease takes away
    soak    share of the sun's heat that stays in the surface
    """

    core: float | None = None
    clo: float = 0.0
    gap: float = 0.0
    under: float = 0.0
    quilt: float = 0.0
    crease: float = 0.0
    warmer: float = 0.0
    soak: float = 1.0

    @property
    def bare(self) -> bool:
        """Whether it is skin."""
        return self.core is not None and self.clo <= SKIN_CLO


AS_AIR = Heat()
LEAF = Heat(soak=0.25)
"""Leaves keep the air's temperature: they evaporate water."""
