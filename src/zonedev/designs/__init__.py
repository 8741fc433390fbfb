"""The designs, oldest first."""

from __future__ import annotations

from zonedev.designs.linux_5_10 import Linux510
from zonedev.designs.linux_6_1 import Linux61
from zonedev.designs.linux_6_15 import Linux615
from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel import Kernel

DESIGNS: dict[str, type[Kernel]] = {d.name: d for d in (Linux510, Linux61, Linux615, Linux72)}
