"""What a scenario's set-up makes, before there is a machine: which file systems it can be run on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from zonedev.lab.story import Line, Ongoing
from zonedev.lab.teller import Teller
from zonedev.lab.things import Device, PageOf
from zonedev.lang.errors import ZonedevError
from zonedev.lang.system import Specification
from zonedev.scenarios.base import Scenario

#: The file systems that a guest can make, the default first.
FILE_SYSTEMS = ("ext4", "xfs")
#: The first kernel on which XFS files can have DAX and share blocks.
REFLINK = (6, 0)


class Planner:
    """A side on which every call succeeds."""

    def create(self, device: Device) -> None:
        pass

    def begin(self, call: Ongoing, name: str, args: Sequence[Any], hint: Line | None) -> None:
        call.end("done")

    def follow(self, call: Ongoing, hint: Line | None) -> None:
        pass

    def look(self, page: PageOf, hint: Line | None) -> str | None:
        return None

    def look_pagemap(self, device: Device, hint: Line | None) -> str | None:
        return None

    def warned(self, task: str) -> tuple[str, ...]:
        return ()


def devices_of(scenario: type[Scenario], scope: Mapping[str, Any]) -> list[Device]:
    """The devices and files that a scenario begins with; none where its set-up is of the model alone."""
    teller = Teller(Planner(), scenario, scope, Specification)
    try:
        teller.set_up()
    except ZonedevError:
        return []  # it is said when it is run
    return teller.devices


def has_files(devices: Sequence[Device]) -> bool:
    return any(device.kind == "dax_file" for device in devices)


def has_copies(devices: Sequence[Device]) -> bool:
    """Whether files share blocks."""
    return any(device.shared is not None for device in devices)


def obstacle(devices: Sequence[Device], fs: str, release: str) -> str:
    """Why these devices cannot be had on a kernel with a file system; "" where they can."""
    version = tuple(int(n) for n in re.findall(r"\d+", release)[:2])
    if not has_copies(devices):
        return ""
    if fs != "xfs":
        return f"files that share blocks (reflink) are not to be had on {fs}: give --fs xfs"
    if version < REFLINK:
        return f"XFS of Linux {'.'.join(map(str, version))} has no reflink with DAX"
    return ""
