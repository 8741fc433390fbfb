"""Memory of a PCI device that another one reads and writes (P2PDMA), with I/O that lasts as long as wanted.

Two NVMe drives lie behind one PCIe switch, without which a kernel takes no peers for trustworthy.  One has
a Controller Memory Buffer, which its driver gives away through p2pmem/allocate in sysfs.  Direct I/O
moves that memory to and from the other one, whose requests QEMU can hold up.
"""

from __future__ import annotations

from dataclasses import dataclass

from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest
from zonedev.lab.qemu import Hardware

OPTIONS = (
    *("-device", "pcie-root-port,id=root,slot=1"),
    *("-device", "x3130-upstream,id=up,bus=root"),
    *("-device", "xio3130-downstream,id=down0,bus=up,chassis=2,slot=2"),
    *("-device", "xio3130-downstream,id=down1,bus=up,chassis=3,slot=3"),
    *("-drive", "if=none,id=provider,driver=null-co,size=64M,read-zeroes=on"),
    *("-drive", "if=none,id=disk,driver=null-co,size=64M,read-zeroes=on"),
    *("-device", "nvme,drive=provider,serial=provider,bus=down0,cmb_size_mb=16"),
    *("-device", "nvme,drive=disk,serial=disk,bus=down1"),
)
HARDWARE = Hardware(nvdimms=(), others=OPTIONS)
#: Where a task writes the provider's name to have it unbound.
UNBIND = "/sys/bus/pci/drivers/nvme/unbind"
SECONDS = 10
#: Prints the provider, and the disk, once there are both.
FIND = f"""\
for i in $(seq {SECONDS * 10}); do
	for drive in /sys/class/nvme/*; do
		case $(cat $drive/serial 2>/dev/null) in
		provider*) provider=$(basename $(readlink -f $drive/device)) ;;
		disk*) disk=$(cd $drive && echo nvme*n1) ;;
		esac
	done
	[ -e "/sys/bus/pci/devices/$provider/p2pmem/allocate" ] && [ -b "/dev/$disk" ] && break
	sleep 0.1
done
echo "$provider" "$disk"
"""


@dataclass(frozen=True)
class Peers:
    """The provider's name on the PCI bus, the file that its memory is mapped by, and the disk."""

    name: str
    memory: str
    disk: str


def find(guest: Guest) -> Peers:
    """The drives of a guest with this hardware; LabError where its kernel has no P2PDMA."""
    _, said = guest.shell(FIND)
    words = said.split()
    memory = f"/sys/bus/pci/devices/{words[0]}/p2pmem/allocate" if len(words) == 2 else ""
    if not memory or guest.shell(f"test -e {memory}")[0]:
        raise LabError(
            f"kernel {guest.kernel.name} gives away no memory of PCI devices "
            "(CONFIG_PCI_P2PDMA, BLK_DEV_NVME): take 7.2"
        )
    return Peers(words[0], memory, f"/dev/{words[1]}")


def hold(guest: Guest, peers: Peers) -> None:
    """From now on requests to the disk last until they are let go."""
    throttle(guest, 1)
    # The first one passes: a byte a second is what comes on average.
    code, said = guest.shell(f"dd if={peers.disk} of=/dev/null bs=4096 count=1 iflag=direct 2>&1")
    if code:
        raise LabError(f"the guest's disk cannot be read: {said.strip()[-100:]}")


def let_go(guest: Guest) -> None:
    throttle(guest, 0)


def throttle(guest: Guest, rate: int) -> None:
    """Bytes a second, or 0 for no limit."""
    others = dict.fromkeys(("bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
    guest.machine("block_set_io_throttle", device="disk", bps=rate, **others)
