"""The devices and files of a guest: made at set-up, and where their pages are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest
from zonedev.lab.story import Device

ALIGN = {"pte": "4K", "pmd": "2M", "pud": "1G"}
#: Bytes of a file that maps with PTEs, being too small for anything else, or with PMDs.
FILE = {"pte": 64 << 10, "pmd": 4 << 20}
#: Seconds for a call at set-up, among them the creation of a namespace.
SETUP = 20.0


@dataclass(frozen=True)
class Place:
    """A device or file in a guest.

    `name` is that in sysfs, `length` the bytes that a task maps, `size` the bytes of the
    device's pagemap or of the file, `pfn` the page frame number of its first page.
    """

    path: str
    name: str
    length: int
    size: int
    pfn: int


def place(guest: Guest, device: Device, others: Mapping[Device, Place]) -> Place:
    """Make a device or file in the guest; `others` are those that it may lie on."""
    if device.kind == "device_dax":
        return device_dax(guest, ALIGN[device.shape.get("size", "pte")])
    if device.kind == "pmem_device":
        return pmem_device(guest)
    assert device.on is not None
    return dax_file(guest, others[device.on], device.name, FILE[device.on.shape.get("size", "pte")])


def device_dax(guest: Guest, align: str) -> Place:
    """A namespace that is a device-dax device; its pagemap covers what libnvdimm keeps as well."""
    name = shell(guest, f"/lab/devdax {align}").split()[0]
    sysfs = f"$(readlink -f /sys/bus/dax/devices/{name})"
    length = int(shell(guest, f"cat {sysfs}/size"))
    return Place(f"/dev/{name}", name, length, namespace(guest, f"{sysfs}/.."), first_pfn(guest, sysfs))


def pmem_device(guest: Guest) -> Place:
    """A namespace with a file system on it, mounted with DAX."""
    name, mount = shell(guest, "/lab/fsdax ext4").split()
    sysfs = f"$(readlink -f /sys/block/{name}/device)"
    return Place(mount, name, 0, namespace(guest, sysfs), first_pfn(guest, sysfs))


def dax_file(guest: Guest, pmem: Place, name: str, size: int) -> Place:
    """A file whose blocks were written, and never mapped."""
    path = f"{pmem.path}/{name}"
    shell(guest, f"dd if=/dev/zero of={path} bs={size} count=1 && sync")
    guest.call("-", "spawn", f"setup-{name}", seconds=SETUP)
    offset = int(guest.call(f"setup-{name}", "fiemap", path, 0, seconds=SETUP), 0)
    return Place(path, name, size, size, pmem.pfn + (offset >> 12))


def first_pfn(guest: Guest, sysfs: str) -> int:
    """Where a device's data begin."""
    return int(shell(guest, f"cat {sysfs}/resource"), 16) >> 12


def namespace(guest: Guest, sysfs: str) -> int:
    """The bytes of the namespace that a device of libnvdimm's lies on."""
    return int(shell(guest, f"cat {sysfs}/../$(cat {sysfs}/namespace)/size"))


def shell(guest: Guest, command: str) -> str:
    """The output of a shell command in the guest; LabError where it fails."""
    code, output = guest.shell(command, SETUP)
    if code:
        raise LabError(f"the guest's {command.split()[0]} failed: {' '.join(output.split())[-200:]}")
    return output
