"""A toy kernel with two designs, its rules and scenarios: the catalogue that the front end is tested on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zonedev.catalogue import Catalogue
from zonedev.lang.primitives import (
    Completion,
    Cpu,
    Lock,
    atomic_dec_and_test,
    atomic_inc,
    atomic_inc_not_zero,
    atomic_read,
    atomic_t,
    complete,
    lock,
    trylock,
    unlock,
    wait_for_completion,
)
from zonedev.lang.records import Packed as PackedValue
from zonedev.lang.records import Record, embed, flag, number, packed, pointer, ref
from zonedev.lang.runtime import choose, ensure, free
from zonedev.lang.system import Monitor, Specification, System
from zonedev.rules.base import Rule
from zonedev.scenarios.base import Scenario, Scope, holds, violated


class Pte(PackedValue):
    pfn = pointer("Page")
    soft = number(0, 3)

    def show(self) -> str:
        return "none" if self.pfn is None else f"{self.pfn!r}"


class Page(Record):
    freed_breaks = "page-lifetime"
    _refcount = atomic_t(0, 3, initial=1, below="refcount-exact")
    dirty = flag()
    lock = embed(Lock)


class Device(Record):
    page = ref(Page)
    done = embed(Completion)
    lock = embed(Lock)


class ToyTask(Cpu):
    pte = packed(Pte)


class ToyNew(Specification):
    """Unbind waits for the last reference before it frees the page."""

    name = "toy-2"
    title = "toy: unbind waits"
    task_class = ToyTask

    def device(k, pages: int = 1) -> Device:
        page = k.system.new(Page)
        return k.system.new(Device, "dev", page=page)

    def get_page(k, page: Page) -> bool:
        """Take a reference unless the page is on its way out."""
        return atomic_inc_not_zero(page._refcount)

    def put_page(k, dev: Device, page: Page) -> None:
        """Drop a reference."""
        if atomic_dec_and_test(page._refcount):
            complete(dev.done)

    def pin(k, dev: Device) -> Any:
        """Pin the device's page, or return None."""
        lock(dev.lock)
        page = dev.page
        if page is not None:
            k.get_page(page)
        unlock(dev.lock)
        return page

    def hold(k, dev: Device) -> None:
        """Take the device's lock and keep it."""
        lock(dev.lock)

    def dma_write(k, page: Page) -> None:
        """The device writes into a pinned page."""
        page.dirty = True

    def unpin(k, dev: Device, page: Page) -> None:
        """Drop a pin."""
        k.put_page(dev, page)

    def unbind(k, dev: Device) -> None:
        """Remove the device."""
        lock(dev.lock)
        page = dev.page
        dev.page = None
        unlock(dev.lock)
        k.put_page(dev, page)
        k.drain(dev)
        free(page)

    def drain(k, dev: Device) -> None:
        """Wait for the references that are left."""
        wait_for_completion(dev.done)

    def lock_both(k, a: Page, b: Page) -> None:
        """Lock two pages in address order."""
        k.lock_page(a)
        k.lock_page(b)
        unlock(b.lock)
        unlock(a.lock)

    def lock_both_other(k, a: Page, b: Page) -> None:
        """The same, as another caller does it."""
        k.lock_both(a, b)

    def lock_page(k, page: Page) -> None:
        lock(page.lock)

    def migrate(k, a: Page, b: Page) -> None:
        """Lock a page and then another; where that is taken, drop the first and try again."""
        while True:
            k.lock_page(a)
            if k.trylock_page(b):
                break
            unlock(a.lock)
        b.dirty = True
        unlock(b.lock)
        unlock(a.lock)

    def trylock_page(k, page: Page) -> bool:
        return trylock(page.lock)

    def spin(k, page: Page) -> None:
        """Take one more reference, for ever."""
        atomic_inc(page._refcount)
        atomic_inc(page._refcount)
        atomic_inc(page._refcount)


class ToyOld(ToyNew):
    """Unbind does not wait (before "toy: wait for pins")."""

    name = "toy-1"
    title = "toy: unbind does not wait"

    def drain(k, dev: Device) -> None:
        """There is no waiting yet."""

    def lock_both_other(k, a: Page, b: Page) -> None:
        """The second lock first."""
        k.lock_both(b, a)


def check_count(k: Any) -> None:
    for page in k.system.instances(Page):
        ensure("refcount-exact", page._refcount.value == 0, "{} has {} references left", page, 1)


RULES = {
    r.name: r
    for r in (
        Rule("page-lifetime", "safety", "nothing reaches a page after it was freed"),
        Rule(
            "refcount-exact", "safety", "at rest the count is zero", (Monitor("refcount-exact", check_count),)
        ),
        Rule("no-deadlock", "safety", "some task can always go on"),
        Rule("no-lost-wakeup", "safety", "a sleeper is woken"),
        Rule("removal-terminates", "progress", "unbind can always come to its end"),
        Rule("kernel-asserts", "safety", "no WARN_ON fires"),
    )
}


class ToyUnbindVsPin(Scenario):
    """A pin with DMA, while the device goes away."""

    source = "a test"
    rules = ("page-lifetime", "refcount-exact", "no-deadlock", "removal-terminates")
    expected = {"toy-1": violated("page-lifetime", "nobody waits"), "toy-2": holds()}

    @staticmethod
    def setup(m: Any) -> None:
        m.dev = m.k.device()

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        page = t.pin(m.dev)
        if page is not None:
            t.dma_write(page)
            t.unpin(m.dev, page)

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        t.unbind(m.dev)


class ToyLocks(Scenario):
    """Two tasks lock two pages."""

    rules = ("no-deadlock",)
    scope = {"pages": Scope(2, 2, 3, "pages on the device")}
    expected = {"toy-1": violated("no-deadlock"), "toy-2": holds()}

    @staticmethod
    def setup(m: Any) -> None:
        m.pages = [m.new(Page) for _ in range(m.scope["pages"])]

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        t.lock_both(m.pages[0], m.pages[1])

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        t.lock_both_other(m.pages[0], m.pages[1])


class ToyBackOff(Scenario):
    """Two tasks migrate two pages, and each finds one locked by the other; a third waits for them."""

    rules = ("no-deadlock", "removal-terminates")

    @staticmethod
    def setup(m: Any) -> None:
        m.dev = m.k.device()
        m.pages = [m.new(Page) for _ in range(2)]

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        t.pin(m.dev)
        t.migrate(m.pages[0], m.pages[1])
        complete(m.dev.done)

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        t.migrate(m.pages[1], m.pages[0])

    @staticmethod
    def task_C(t: Any, m: Any) -> None:
        t.drain(m.dev)


class ToyOverflow(Scenario):
    """A counter leaves its range."""

    rules = ("page-lifetime",)

    @staticmethod
    def setup(m: Any) -> None:
        m.page = m.new(Page)

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        t.spin(m.page)


class ToyBig(Scenario):
    """Five tasks choose and take references: a few thousand states."""

    rules = ("page-lifetime",)

    @staticmethod
    def setup(m: Any) -> None:
        m.dev = m.k.device()
        m.pages = [m.new(Page) for _ in range(5)]

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        walk(t, m.pages[0])

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        walk(t, m.pages[1])

    @staticmethod
    def task_C(t: Any, m: Any) -> None:
        walk(t, m.pages[2])

    @staticmethod
    def task_D(t: Any, m: Any) -> None:
        walk(t, m.pages[3])


class ToyEndless(Scenario):
    """Nine tasks that choose: more states than anybody waits for."""

    rules = ("page-lifetime",)

    @staticmethod
    def setup(m: Any) -> None:
        m.pages = [m.new(Page) for _ in range(9)]


def add_walker(number: int) -> None:
    def task(t: Any, m: Any) -> None:
        walk(t, m.pages[number])

    setattr(ToyEndless, f"task_{number}", task)


for each in range(9):
    add_walker(each)


def walk(t: Any, page: Page) -> None:
    n = choose(2)
    if n == 1:
        atomic_inc(page._refcount)
    page.dirty = True
    lock(page.lock)
    page.dirty = False
    unlock(page.lock)


def get_page(system: System) -> Callable[[], Any]:
    page = system.new(Page)
    return lambda: system.k.get_page(page)


def read_count(system: System) -> Callable[[], Any]:
    page = system.new(Page)
    return lambda: atomic_read(page._refcount)


def catalogue() -> Catalogue:
    return Catalogue(
        {"toy-1": ToyOld, "toy-2": ToyNew},
        RULES,
        {s.name(): s for s in (ToyUnbindVsPin, ToyLocks, ToyOverflow, ToyBig)},
        {"get_page": get_page, "read_count": read_count},
    )


def with_endless() -> Catalogue:
    """The same with scenarios that do not end: one has too many states, one a livelock."""
    plain = catalogue()
    scenarios = {**plain.scenarios, **{s.name(): s for s in (ToyEndless, ToyBackOff)}}
    return Catalogue(plain.designs, plain.rules, scenarios, plain.operations)
