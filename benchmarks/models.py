"""Synthetic models for the engine benchmarks: pins against truncation, in several sizes.

They are shaped like the kernel specification (reference counts, a page table of packed
words, a mapping lock, lockless pinners) but stand alone, so that the figures stay
comparable while the specification changes.
"""

from __future__ import annotations

from typing import Any

from zonedev.lang.primitives import (
    Atomic,
    Cpu,
    Lock,
    atomic_dec_and_test,
    atomic_inc,
    atomic_inc_not_zero,
    atomic_read,
    atomic_t,
    lock,
    unlock,
)
from zonedev.lang.records import BIT, Packed, Record, array, count, embed, flag, packed, pointer, replace
from zonedev.lang.runtime import atomic, choose, ensure
from zonedev.lang.system import Specification, System
from zonedev.lang.transition import TransitionSystem, lower

__all__ = ["Atomic", "Pte", "build"]


class Page(Record):
    refcount: Atomic = atomic_t(0, 7, initial=1, below="refcount-exact")
    owner: int = count(0, 3)
    dirty: bool = flag()


class Pte(Packed):
    present: bool = BIT
    writable: bool = BIT
    page: Any = pointer("Page")


class Mapping(Record):
    lock: Lock = embed(Lock)
    ptl: Lock = embed(Lock)
    pte: list[Pte] = array(packed(Pte), 2)
    size: int = count(0, 2, initial=2)
    freed: int = count(0, 2)


class Pins(Specification):
    """One mapping of two pages; tasks fault, pin and truncate."""

    mapping: Mapping
    pages: list[Page]

    def fault(self, index: int) -> None:
        m = self.mapping
        lock(m.lock)
        if m.size <= index:
            unlock(m.lock)
            return
        page = self.pages[index]
        lock(m.ptl)
        pte = m.pte[index]
        if not pte.present:
            atomic_inc(page.refcount)
            m.pte[index] = Pte(present=True, writable=True, page=page)
        unlock(m.ptl)
        unlock(m.lock)

    def pin(self, index: int) -> None:
        m = self.mapping
        pte = m.pte[index]
        if not pte.present or not pte.writable:
            return
        if not atomic_inc_not_zero(pte.page.refcount):
            return
        if m.pte[index] != pte:
            self.put(pte.page)
            return
        if choose(2) == 1:
            pte.page.dirty = True
        self.put(pte.page)

    def put(self, page: Page) -> None:
        if atomic_dec_and_test(page.refcount):
            with atomic("the allocator's own lock"):
                self.mapping.freed = self.mapping.freed + 1

    def truncate(self, size: int) -> None:
        m = self.mapping
        lock(m.lock)
        m.size = size
        for index in range(2):
            if index >= size:
                lock(m.ptl)
                pte = m.pte[index]
                if pte.present:
                    m.pte[index] = replace(pte, present=False, writable=False)
                unlock(m.ptl)
                if pte.present:
                    self.put(pte.page)
        unlock(m.lock)


def pinner(k: Pins, rounds: int) -> None:
    for index in range(rounds):
        k.pin(index % 2)


def faulter(k: Pins) -> None:
    k.fault(0)
    k.fault(1)


def truncater(k: Pins, pages: int) -> None:
    k.truncate(2 - pages)
    page = k.pages[1]
    ensure("refcount-exact", atomic_read(page.refcount) >= 0, "negative")


def build(pinners: int, faulters: int = 1, rounds: int = 2) -> TransitionSystem:
    """Lower the model with the given numbers of tasks."""
    system = System(Pins)
    system.new(Cpu, "unused")
    system.records.clear()
    mapping = system.new(Mapping, "mapping")
    pages = [system.new(Page, f"page{i}") for i in range(2)]
    system.k.mapping, system.k.pages = mapping, pages
    for number in range(faulters):
        system.run(f"fault{number}", faulter, system.k)
    for number in range(pinners):
        system.run(f"pin{number}", pinner, system.k, rounds)
    system.run("truncate", truncater, system.k, 2)
    system.seal()
    return lower(system)
