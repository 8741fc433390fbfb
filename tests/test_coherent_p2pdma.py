"""Coherent and peer-to-peer memory: what holds them, what would mend them, and bugs that have to be found."""

from __future__ import annotations

from typing import Any

import pytest

from zonedev.designs import DESIGNS
from zonedev.designs.linux_6_12 import Linux612
from zonedev.designs.linux_7_2 import Linux72
from zonedev.explore.check import check
from zonedev.kernel import FOLL_PCI_P2PDMA, FOLL_WRITE
from zonedev.kernel.p2pdma import PciDev
from zonedev.kernel.page import DevPagemap, Page
from zonedev.kernel.pgtable import Vma
from zonedev.lang.primitives import WARN_ON
from zonedev.lang.runtime import atomic, free
from zonedev.scenarios.base import Scenario
from zonedev.scenarios.coherent import (
    LONGTERM,
    CoherentLongtermPin,
    CoherentLongtermPinVsMunmap,
    CoherentLongtermPinVsReference,
    CoherentUnbindVsLongtermPin,
)
from zonedev.scenarios.p2pdma import (
    P2pdmaFreeVsMmap,
    P2pdmaFreeWritesLate,
    P2pdmaUnbindVsAlloc,
    P2pdmaUnbindVsMmap,
    P2pdmaUnbindVsPin,
    P2pdmaUnbindVsUser,
)
from zonedev.scenarios.parts import private_page


class WaitsForNobody(Linux72):
    """memunmap_pages() does not wait for the references of the pagemap."""

    def memunmap_pages(k, pgmap: DevPagemap) -> None:
        """No wait_for_completion()."""
        k.percpu_ref_kill(pgmap.ref)
        k.percpu_ref_put_many(pgmap.ref, k.pfn_len(pgmap))
        k.pageunmap_range(pgmap)
        k.percpu_ref_exit(pgmap.ref)


class FreeForgetsPagemap(Linux72):
    """What comes back to the pool keeps its reference to the pagemap."""

    def p2pdma_folio_free(k, folio: Page) -> None:
        """No percpu_ref_put()."""
        pdev = folio.pgmap.provider
        k.gen_pool_free(pdev, pdev.pool, folio, 1)


class FreePutsTwice(Linux72):
    """What comes back to the pool drops two references."""

    def p2pdma_folio_free(k, folio: Page) -> None:
        """One percpu_ref_put() too many."""
        pgmap = folio.pgmap
        super().p2pdma_folio_free(folio)
        k.percpu_ref_put(pgmap.ref)


class FileStays(Linux72):
    """The file is not removed from sysfs."""

    def pci_p2pdma_unmap_mappings(k, pdev: PciDev) -> None:
        """No unmap_mapping_range()."""


class PagemapGoesLast(Linux72):
    """Who would free the pagemap when nobody finds the pool any more."""

    def unbind_p2pdma(k, pdev: PciDev) -> None:
        """Another order of two allocations."""
        k.pci_p2pdma_unmap_mappings(pdev)
        k.devm_memremap_pages_release(pdev.pgmap)
        k.pci_p2pdma_release(pdev)
        k.free_pagemap(pdev.pgmap)


class NoGracePeriod(PagemapGoesLast):
    """The pool goes while somebody allocates from it."""

    def pci_p2pdma_release(k, pdev: PciDev) -> None:
        """No synchronize_rcu()."""
        p2pdma = pdev.p2pdma
        pdev.p2pdma = None
        k.gen_pool_destroy(pdev, p2pdma.pool)
        free(p2pdma)


class FreeGivesBackLast(Linux612):
    """v6.12 if the driver's callback came after the count was made 1."""

    def free_drivers_folio(k, folio: Page, pgmap: DevPagemap, kind: int) -> None:
        """The order of v6.15, with the count of v6.12."""
        with atomic("the page is nobody's yet"):
            folio._refcount.value = 1
        k.folio_free(folio)


class FailedMmapGivesBack(Linux612):
    """v6.12 with the fix of v7.0."""

    def p2pmem_insert_failed(k, pdev: PciDev, page: Page) -> None:
        """6220694c52a5 "PCI/P2PDMA: Release per-CPU pgmap ref when vm_insert_page() fails"."""
        k.percpu_ref_put(pdev.pgmap.ref)


class LinksFirst(Linux72):
    """The file's address_space knows a VMA before anything is mapped there."""

    def call_mmap_prepare(k, vma: Vma) -> bool:
        """Where faults would fill the page table this order would not matter."""
        k.vma_link_file(vma)
        if super().call_mmap_prepare(vma):
            return True
        k.unlink_file_vma(vma)
        return False


class PinsWhereItIs(Linux72):
    """Long-term pins migrate nothing."""

    def folio_is_longterm_pinnable(k, folio: Page) -> bool:
        """Whatever the memory."""
        return True


class MovesWhatIsHeld(Linux72):
    """A migration does not look at the count the second time."""

    def folio_migrate_mapping(k, newpage: Page, page: Page, fault_page: Page | None) -> bool:
        """Never fails."""
        with atomic("words of a page that is locked"):
            newpage.index = page.index
            newpage.anon_vma = page.anon_vma
        return True


class KeepsPin(Linux72):
    """The pin of who wants it for long is not dropped for the migration."""

    def migrate_longterm_unpinnable_folios(k, page: Page) -> bool:
        """No gup_put_folio()."""
        k.folio_get(page)
        return k.migrate_device_coherent_folio(page)


class HoldsAnonVma(Linux72):
    """What rmap_walk_anon_lock() asks of those who have no mmap_lock."""

    def migrate_device_coherent_folio(k, folio: Page) -> bool:
        """folio_get_anon_vma() first, put_anon_vma() last."""
        mapping = folio.anon_vma
        with atomic("folio_get_anon_vma(): RCU keeps its memory until the count is raised"):
            mapped = folio._mapcount.value > 0
            if mapped:
                mapping.linked = mapping.linked + 1
        if not mapped:
            k.folio_put(folio)
            return False
        moved = super().migrate_device_coherent_folio(folio)
        k.put_anon_vma(mapping)
        return moved


FOUND: list[tuple[type[Scenario], type[Any], str]] = [
    (P2pdmaUnbindVsPin, WaitsForNobody, "page-lifetime"),
    (P2pdmaUnbindVsUser, WaitsForNobody, "page-lifetime"),
    (P2pdmaUnbindVsPin, FreeForgetsPagemap, "removal-terminates"),
    (P2pdmaFreeVsMmap, FreeForgetsPagemap, "refcount-exact"),
    (P2pdmaFreeVsMmap, FreePutsTwice, "refcount-exact"),
    (P2pdmaUnbindVsPin, FileStays, "removal-terminates"),
    (P2pdmaUnbindVsAlloc, NoGracePeriod, "page-lifetime"),
    (CoherentUnbindVsLongtermPin, PinsWhereItIs, "removal-terminates"),
    (CoherentLongtermPinVsReference, MovesWhatIsHeld, "data-integrity"),
    (CoherentLongtermPin, KeepsPin, "refcount-exact"),
]


@pytest.mark.parametrize(("scenario", "design", "rule"), FOUND)
def test_a_bug_is_found(scenario: type[Scenario], design: type[Any], rule: str) -> None:
    """By its rule, when no other is asked: a BUG_ON() may come before."""
    verdict = check(scenario, design, rules=[rule])
    assert (verdict.verdict, verdict.rule) == ("violated", rule)


@pytest.mark.parametrize(
    ("scenario", "design"),
    [
        (P2pdmaUnbindVsAlloc, PagemapGoesLast),
        (P2pdmaFreeWritesLate, FreeGivesBackLast),
        (P2pdmaFreeVsMmap, FreeGivesBackLast),
        (P2pdmaUnbindVsPin, FreeGivesBackLast),
        (P2pdmaFreeVsMmap, FailedMmapGivesBack),
        (P2pdmaUnbindVsMmap, LinksFirst),
        (CoherentLongtermPinVsMunmap, HoldsAnonVma),
    ],
)
def test_what_would_mend_it(scenario: type[Scenario], design: type[Any]) -> None:
    assert check(scenario, design).verdict == "holds"


class PinAlone(Scenario):
    """A long-term pin of coherent memory that nobody else uses has to succeed."""

    rules = ("kernel-asserts",)

    def setup(m: Any) -> None:  # type: ignore[override]
        private_page(m, pages=3, coherent=True)
        m.task("A").dmirror_migrate_to_device(m.mirror, m.va)
        m.task("B").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va, LONGTERM)
        WARN_ON(page is None, "the pin fails")
        if page is not None:
            t.must_be_pinnable(page)
            t.unpin_user_page(page)


class PinBesidePin(PinAlone):
    """With a pin of another thread it can fail."""

    def task_B(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.unpin_user_page(page)


class PinWithoutMemory(PinAlone):
    """And where the system has no page for it."""

    def setup(m: Any) -> None:  # type: ignore[override]
        private_page(m, pages=1, coherent=True)
        a = m.task("A")
        a.dmirror_migrate_to_device(m.mirror, m.va)
        a.touch(a.mmap_anonymous(1))


@pytest.mark.parametrize("design", ["linux-6.1", "linux-6.12", "linux-7.2"])
def test_a_long_term_pin_moves_the_page_or_fails(design: str) -> None:
    found = [check(s, DESIGNS[design]).verdict for s in (PinAlone, PinBesidePin, PinWithoutMemory)]
    assert found == ["holds", "violated", "violated"]


class PeerPins(Scenario):
    """GUP takes peer-to-peer memory for who says that he can do with it, and for nobody else."""

    def setup(m: Any) -> None:  # type: ignore[override]
        m.pdev = m.k.p2pdma_device(2, mapping=1)
        m.va = m.task("A").reserve(m.pdev)
        m.vb = m.task("A").reserve(m.pdev)

    def task_A(t: Any, m: Any) -> None:
        WARN_ON(not t.mmap_fixed(m.va), "the first page is free")
        WARN_ON(not t.mmap_fixed(m.vb), "the second page is free")
        for va in (m.va, m.vb):
            WARN_ON(t.pin_user_pages_fast(va) is not None, "it is pinned without FOLL_PCI_P2PDMA")
            WARN_ON(t.get_user_pages_fast(va) is not None, "it is taken without FOLL_PCI_P2PDMA")
            page = t.pin_user_pages_fast(va, FOLL_WRITE | FOLL_PCI_P2PDMA)
            WARN_ON(page is None, "it is not pinned")
            if page is not None:
                t.dma_write(page)
                t.unpin_user_page(page)
        WARN_ON(t.pci_alloc_p2pmem(m.pdev) is not None, "nothing is free")
        t.munmap(m.va)
        memory = t.pci_alloc_p2pmem(m.pdev)
        WARN_ON(memory is None, "the first page is free again")
        if memory is not None:
            t.pci_free_p2pmem(m.pdev, memory)
        t.unbind_p2pdma(m.pdev)
        WARN_ON(t.touch(m.vb, False) is not None, "what was mapped is SIGBUS")


@pytest.mark.parametrize("design", ["linux-6.12", "linux-6.15", "linux-7.2"])
def test_peer_pins(design: str) -> None:
    assert check(PeerPins, DESIGNS[design]).verdict == "holds"
