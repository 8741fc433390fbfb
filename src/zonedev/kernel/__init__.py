"""The newest mainline, v7.2, one module per part of mm/ and drivers/."""

from zonedev.kernel.gup import FOLL_GET, FOLL_LONGTERM, FOLL_PCI_P2PDMA, FOLL_PIN, FOLL_WRITE
from zonedev.kernel.syscalls import Kernel

__all__ = ["FOLL_GET", "FOLL_LONGTERM", "FOLL_PCI_P2PDMA", "FOLL_PIN", "FOLL_WRITE", "Kernel"]
