"""An executable specification and checker of the life cycles of Linux ZONE_DEVICE pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zonedev.machine import Machine

__version__ = "0.1.0"
__all__ = ["Machine", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Machine":  # only for those who use it: the command line starts without
        from zonedev.machine import Machine

        return Machine
    raise AttributeError(f"module 'zonedev' has no attribute {name!r}")
