"""The designs, oldest first; then those that an argument needs."""

from __future__ import annotations

from zonedev.designs.dax_gup_fix_2022 import DAX_GUP_FIX_2022, DaxGupFix2022
from zonedev.designs.dax_refcount_2025 import DAX_REFCOUNT_2025
from zonedev.designs.device_exclusive_2025_v1 import DeviceExclusive2025V1
from zonedev.designs.device_exclusive_huge import DeviceExclusiveHuge
from zonedev.designs.linux_4_5 import Linux45
from zonedev.designs.linux_4_12 import Linux412
from zonedev.designs.linux_5_10 import Linux510
from zonedev.designs.linux_5_19 import Linux519
from zonedev.designs.linux_6_1 import Linux61
from zonedev.designs.linux_6_12 import Linux612
from zonedev.designs.linux_6_15 import Linux615
from zonedev.designs.linux_7_2 import Linux72
from zonedev.designs.series import add
from zonedev.designs.text_1 import Linux411GenericGup, Linux412Fixed, Linux412WaitFirst, Linux413
from zonedev.designs.thp_private_2020 import ThpPrivate2020
from zonedev.kernel import Kernel
from zonedev.listed import listed

DESIGNS: dict[str, type[Kernel]] = {
    d.name: d
    for d in (
        Linux45,
        Linux412,
        Linux413,
        Linux510,
        Linux519,
        Linux61,
        Linux612,
        Linux615,
        Linux72,
        Linux411GenericGup,
        Linux412WaitFirst,
        Linux412Fixed,
        DaxGupFix2022,
        DeviceExclusive2025V1,
        DeviceExclusiveHuge,
        ThpPrivate2020,
    )
}

add(DAX_GUP_FIX_2022, DAX_REFCOUNT_2025)

listed(__name__)
