"""The devices and files of a guest: made at set-up, and where their pages are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest
from zonedev.lab.things import LEVELS, PAGE_SHIFT, PAGE_SIZE, Device

ALIGN = {"pte": "4K", "pmd": "2M", "pud": "1G"}
#: Bytes of a file of which the scenario does not say how large it is.  It maps with PTEs, being too small
#: for anything else, or with PMDs.
FILE = {"pte": 64 << 10, "pmd": 4 << 20}
#: Seconds for a call at set-up, among them the creation of a namespace.
SETUP = 120.0
#: The driver of devices that mirror a task's memory, in a guest that has it; their pages that are named.
MIRROR_MODULE = "lib/modules/test_hmm.ko"
MIRROR_PAGES = 64


@dataclass(frozen=True)
class Place:
    """A device or file in a guest.

    `name` is that of the driver's device in sysfs, `length` the bytes that a task maps, `size` the
    bytes of the device's pagemap or of the file, `pfn` the page frame number of its first page.
    `blocks` are the page frame numbers of a file's blocks, of `block` bytes each, where they need not
    be in a row.
    """

    path: str
    name: str
    length: int
    size: int
    pfn: int
    block: int = PAGE_SIZE
    blocks: tuple[int, ...] | None = None

    def pfn_at(self, offset: int) -> int | None:
        """The page frame number of the byte at an offset; None where a file has no block."""
        if self.blocks is None:
            return self.pfn + (offset >> PAGE_SHIFT)
        number, rest = divmod(offset, self.block)
        return self.blocks[number] + (rest >> PAGE_SHIFT) if number < len(self.blocks) else None


def place(
    guest: Guest, device: Device, others: Mapping[Device, Place], fs: str = "ext4", reflink: bool = False
) -> Place:
    """Make a device or file in the guest; `others` are those that it may lie on.  File systems are
    made as `fs`, with `reflink` such that files can share blocks."""
    if device.kind == "device_dax":
        return device_dax(guest, ALIGN[device.level])
    if device.kind == "dmirror_device":
        return mirror_device(guest, sum(other.kind == device.kind for other in others))
    if device.kind == "pmem_device":
        return pmem_device(guest, f"{fs} reflink" if reflink else fs)
    assert device.on is not None
    if device.shared is not None:
        return copy_of(guest, device, others[device.on], others[device.shared])
    return dax_file(guest, device, others[device.on])


def device_dax(guest: Guest, align: str) -> Place:
    """A namespace that is a device-dax device; its pagemap covers what libnvdimm keeps as well."""
    name = shell(guest, f"/lab/devdax {align}").split()[0]
    sysfs = f"$(readlink -f /sys/bus/dax/devices/{name})"
    length = int(shell(guest, f"cat {sysfs}/size"))
    return Place(f"/dev/{name}", name, length, namespace(guest, f"{sysfs}/.."), first_pfn(guest, sysfs))


def pmem_device(guest: Guest, fs: str) -> Place:
    """A namespace with a file system on it, mounted with DAX."""
    name, mount, bound = shell(guest, f"/lab/fsdax {fs}").split()
    sysfs = f"$(readlink -f /sys/block/{name}/device)"
    return Place(mount, bound, 0, namespace(guest, sysfs), first_pfn(guest, sysfs))


def mirror_device(guest: Guest, number: int) -> Place:
    """A device of the driver test_hmm.  Its memory lies where there is nothing: that of the first one
    highest.  It gives out its pages from the last one on."""
    shell(guest, f"grep -q ^test_hmm /proc/modules || insmod /{MIRROR_MODULE}")
    lines = shell(guest, "grep hmm_dmirror /proc/iomem").splitlines()
    ends = sorted((int(line.split()[0].partition("-")[2], 16) for line in lines), reverse=True)
    if number >= len(ends):
        raise LabError(f"test_hmm has {len(ends)} devices with private memory")
    last = ends[number] >> PAGE_SHIFT
    size = MIRROR_PAGES * PAGE_SIZE
    pages = tuple(range(last, last - MIRROR_PAGES, -1))
    return Place(f"/dev/hmm_dmirror{number}", f"hmm_dmirror{number}", 0, size, last, blocks=pages)


def dax_file(guest: Guest, file: Device, pmem: Place) -> Place:
    """A file whose blocks were written, and never mapped; it may end in a hole."""
    path, size = f"{pmem.path}/{file.name}", file.length or FILE[file.level]
    blocks = size if file.blocks is None else file.blocks
    made = [f"dd if=/dev/zero of={path} bs={blocks} count=1"] if blocks else []
    made += [f"truncate -s {size} {path}"] if blocks < size else []
    shell(guest, " && ".join([*made, "sync"]))
    return placed(guest, file, path, size, blocks, pmem)


def copy_of(guest: Guest, file: Device, pmem: Place, other: Place) -> Place:
    """A reflink copy of a file."""
    path, task = f"{pmem.path}/{file.name}", f"setup-{file.name}"
    guest.call("-", "spawn", task, seconds=SETUP)
    guest.call(task, "clone", path, other.path, seconds=SETUP)
    shell(guest, "sync")
    return replace(other, path=path)


def placed(guest: Guest, file: Device, path: str, size: int, blocks: int, pmem: Place) -> Place:
    """Where the blocks of a new file are.  One whose size was left to us lies in a row, being small."""
    task, in_a_row = f"setup-{file.name}", file.length is None and blocks == size
    if blocks:
        guest.call("-", "spawn", task, seconds=SETUP)
    step = size if in_a_row else LEVELS[file.level]
    found = [guest.call(task, "fiemap", path, offset, seconds=SETUP) for offset in range(0, blocks, step)]
    pfns = tuple(pmem.pfn + (int(offset, 0) >> PAGE_SHIFT) for offset in found)
    if in_a_row:
        return Place(path, file.name, size, size, pfns[0])
    return Place(path, file.name, size, size, pfns[0] if pfns else 0, LEVELS[file.level], pfns)


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
