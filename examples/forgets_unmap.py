"""The question of 2020: what if the driver does not unmap before it removes its pages?

zonedev check devdax-unbind-vs-mapping --design examples/forgets_unmap.py:ForgetsUnmap
"""

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.device_dax import DaxDevice


class ForgetsUnmap(Linux72):
    """v7.2 with a driver that stops new faults and leaves the old mappings.

    "What prevents memunmap_pages() from progressing while VMAs still point at the
    memory?" (Jason Gunthorpe, Re: mm: support THP migration to device private memory,
    2020-11-20).
    """

    name = "forgets-unmap"
    title = "v7.2 without unmap_mapping_range() at unbind"

    def kill_dev_dax(k, dax: DaxDevice) -> None:
        """No unmap_mapping_range() (drivers/dax/bus.c)."""
        k.kill_dax(dax)
