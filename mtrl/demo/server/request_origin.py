"""Who asks the page: the address and the session of an event, known wherever the event is answered."""

from __future__ import annotations

import dataclasses
import ipaddress
from contextvars import ContextVar

_HOUSEHOLD = 64  # bits of an IPv6 address that one household has in common


@dataclasses.dataclass(frozen=True)
class RequestOrigin:
    """Where a request comes from.

    visitor  see `visitor_at`; "" for the page itself
    session  of a page in a browser, or of one call of a program; None: unknown
    """

    visitor: str = ""
    session: str | None = None


_PAGE = RequestOrigin()
CURRENT: ContextVar[RequestOrigin] = ContextVar("origin", default=_PAGE)


def visitor_at(host: str | None) -> str:
    """How the visitor at an address is counted: by the address, in IPv6 by its network of 64 bits."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _HOUSEHOLD), strict=False))
    return str(address)
