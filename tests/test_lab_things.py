"""Devices, files, pages and addresses of a story, and where they are in a guest."""

from __future__ import annotations

from typing import Any, cast

import pytest

from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest
from zonedev.lab.places import Place, place
from zonedev.lab.plan import devices_of, has_copies, has_files, obstacle
from zonedev.lab.real import Real
from zonedev.lab.story import Ongoing
from zonedev.lab.things import Device, Va
from zonedev.scenarios import SCENARIOS
from zonedev.scenarios.base import full_scope

MIB = 1 << 20


def pmem(**shape: Any) -> Device:
    return Device("pmem0", "pmem_device", shape)


def file(on: Device, **shape: Any) -> Device:
    return Device("file0", "dax_file", shape, on)


# Pages and addresses


def test_a_huge_page_has_a_few_pages_only() -> None:
    small, large = file(pmem(pages=4)), file(pmem(pages=6, size="pmd", per_folio=2), pages=4, blocks=2)
    assert [small.offset(n) for n in range(3)] == [0, 4096, 8192]
    assert [large.offset(n) for n in range(5)] == [0, 4096, 2 * MIB, 2 * MIB + 4096, 4 * MIB]
    assert (small.length, small.blocks) == (None, None)
    assert (large.length, large.blocks, large.per_folio) == (4 * MIB, 2 * MIB, 2)
    assert file(pmem(size="pmd")).per_folio == 2 and file(pmem(pages=3, size="pmd")).per_folio == 3


def test_a_copy_is_like_its_original() -> None:
    first = file(pmem(pages=4), pages=3, blocks=1)
    copy = file(pmem(pages=4), shares=first)
    assert (copy.length, copy.blocks) == (first.length, first.blocks) == (3 * 4096, 4096)


def test_addresses_are_named_by_the_mapping() -> None:
    va = Va(file(pmem(pages=4)))
    further = va + 1 + 1
    va.called = "first"
    assert (va.name, further.name, further.offset) == ("first", "first + 2", 8192)
    assert further.start is va and further.page is va.device.pages[2]


def test_pages_are_known_by_what_they_are() -> None:
    one, two = file(pmem(pages=4)), Device("file1", "dax_file", {}, None, "file1.")
    va = Va(one)
    assert va.page_at("a", [one, two]) is one.pages[0]
    assert (va + 1).page_at("b", [one, two]) is one.pages[1]
    assert va.page_at("b", [one, two]) is one.pages[1]  # it is the second page's block now
    assert va.page_at("c", [one, two]).name == "page0'"
    assert va.page_at("d", [one, two]).name == "page0''"
    assert va.page_at("c", [one, two]).name == "page0'"
    assert Va(two).page_at("a", [one, two]) is one.pages[0]
    assert Va(two).page_at("e", [one, two]).name == "file1.page0"
    assert [page.name for page in one.pages] == ["page0", "page0'", "page0''", "page1"]


# In a guest


class Scribe:
    """A guest that answers what a test says, and notes what it is asked."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.asked = answers, list[str]()

    def shell(self, command: str, seconds: float) -> tuple[int, str]:
        self.asked.append(command)
        found = next((a for word, a in self.answers.items() if word in command), "")
        return (1, found[1:]) if found.startswith("!") else (0, found)

    def call(self, task: str, op: str, *args: object, seconds: float) -> str:
        self.asked.append(" ".join([op, *map(str, args)]))
        blocks = {0: "0x400000", 4096: "0x900000", 2 * MIB: "0xa00000"}
        return blocks[int(str(args[1]))] if op == "fiemap" else "7"


def placed(device: Device, others: dict[Device, Place], **more: Any) -> tuple[Place, list[str]]:
    guest = Scribe()
    return place(cast(Guest, guest), device, others, **more), guest.asked


def test_where_files_are_put() -> None:
    small, huge = pmem(pages=4), pmem(pages=4, size="pmd", per_folio=2)
    at = Place("/mnt/pmem0", "pfn0.0", 0, 512 * MIB, 0x100000)
    others = {small: at, huge: at}
    whole, asked = placed(file(small), others)
    assert asked[0] == "dd if=/dev/zero of=/mnt/pmem0/file0 bs=65536 count=1 && sync"
    assert (whole.size, whole.pfn_at(0), whole.pfn_at(8192)) == (65536, 0x100400, 0x100402)
    two, asked = placed(file(small, pages=2), others)
    assert asked[0] == "dd if=/dev/zero of=/mnt/pmem0/file0 bs=8192 count=1 && sync"
    assert [two.pfn_at(n) for n in (0, 4096, 8192)] == [0x100400, 0x100900, None]
    part, asked = placed(file(huge, pages=4, blocks=2), others)
    dd = f"dd if=/dev/zero of=/mnt/pmem0/file0 bs={2 * MIB} count=1"
    assert asked[0] == f"{dd} && truncate -s {4 * MIB} /mnt/pmem0/file0 && sync"
    assert [part.pfn_at(n) for n in (0, 4096, 2 * MIB)] == [0x100400, 0x100401, None]
    hole, asked = placed(file(small, blocks=0), others)
    assert asked == ["truncate -s 65536 /mnt/pmem0/file0 && sync"] and hole.pfn_at(0) is None


def test_a_copy_is_made_by_the_file_system() -> None:
    on = pmem(pages=4)
    first = file(on, pages=2)
    at = Place("/mnt/pmem0", "pfn0.0", 0, 512 * MIB, 0x100000)
    there, _ = placed(first, {on: at})
    copy = Device("file1", "dax_file", {"shares": first}, on, "file1.")
    found, asked = placed(copy, {on: at, first: there})
    assert asked[1:] == ["clone /mnt/pmem0/file1 /mnt/pmem0/file0", "sync"]
    assert (found.path, found.blocks, found.length) == ("/mnt/pmem0/file1", there.blocks, there.length)


def test_the_file_system_that_is_asked_for() -> None:
    answers = {"fsdax": "pmem0 /mnt/pmem0 pfn0.0", "resource": "0x100200000", "size": str(512 * MIB)}
    for fs, reflink, asked in (("ext4", False, "ext4"), ("xfs", False, "xfs"), ("xfs", True, "xfs reflink")):
        guest = Scribe(**answers)
        found = place(cast(Guest, guest), pmem(), {}, fs, reflink)
        assert guest.asked[0] == f"/lab/fsdax {asked}"
        assert (found.path, found.name, found.pfn) == ("/mnt/pmem0", "pfn0.0", 0x100200)
    with pytest.raises(LabError, match="the guest's /lab/fsdax failed: xfs does not mount with DAX"):
        place(cast(Guest, Scribe(fsdax="!xfs does not mount with DAX")), pmem(), {}, "xfs")


def test_a_file_without_a_name_is_reached_by_who_has_it_open() -> None:
    real = Real(cast(Any, Scribe()), cast(Any, None), {})
    gone = file(pmem())
    real._places[gone] = Place("/mnt/pmem0/file0", "file0", 4096, 4096, 1)
    assert real._path("A", gone) == "/mnt/pmem0/file0"
    real._nameless.add(gone)
    real._open["A", gone] = ["5"]
    assert real._path("A", gone) == "fd:5"
    with pytest.raises(LabError, match="B cannot reach file0: it was unlinked, and B has not opened it"):
        real._path("B", gone)
    with pytest.raises(LabError, match="B has not opened file0"):
        real._do_close(Ongoing("B", "close(file0)"), gone)


# Before there is a guest


def test_what_a_scenario_begins_with() -> None:
    found = {name: devices_of(s, full_scope(s, {})) for name, s in SCENARIOS.items() if s.orders}
    assert not has_files(found["devdax-unbind-vs-pin"]) and found["devdax-unbind-vs-pin"]
    assert [d.name for d in found["fsdax-refcounts"]] == ["pmem0", "file0"]
    copied = {name for name, devices in found.items() if has_copies(devices)}
    assert copied == {"reflink-share", "truncate-vs-sharer"}
    model_only = SCENARIOS["pmem-unbind-order"]
    assert devices_of(model_only, full_scope(model_only, {})) is not None


def test_what_a_kernel_cannot_have() -> None:
    plain, copies = [pmem(), file(pmem())], [file(pmem(), shares=file(pmem()))]
    assert obstacle(plain, "ext4", "5.10.0-46-amd64") == obstacle(copies, "xfs", "6.1.0") == ""
    assert "not to be had on ext4" in obstacle(copies, "ext4", "7.2")
    assert "Linux 5.19 has no reflink" in obstacle(copies, "xfs", "5.19.4-x")
