"""What a user of the API writes, for a type checker: see test_api_types.py."""

from __future__ import annotations

from typing import Any, assert_type

import zonedev as z
from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.device_dax import DaxDevice


class ForgetsUnmap(Linux72):
    """A patch."""

    def kill_dev_dax(k, dax: DaxDevice) -> None:
        k.kill_dax(dax)


class PinVsUnbind(z.Scenario):
    """A situation."""

    expected = {"linux-7.2": z.violated("page-lifetime", "unbind waits for no pin")}

    @staticmethod
    def setup(m: Any) -> None:
        m.dax = m.k.device_dax(pages=1)
        m.va = m.task("A").mmap(m.dax)

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.unpin_user_page(page)

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        t.unbind(m.dax)


def rules_that_break() -> list[str | None]:
    """Of a scenario under all designs."""
    return [z.check("evict-vs-pin", design, max_states=100_000).rule for design in z.designs().values()]


def counts(verdict: z.Verdict) -> dict[str, str]:
    """The last values of the counts of a counterexample."""
    changes = (change for step in verdict.trace for change in step.changes)
    return {change.where: change.new for change in changes if change.where.endswith("_refcount")}


def main() -> None:
    verdict = z.check(PinVsUnbind, ForgetsUnmap, scope={}, rules=["page-lifetime"], engine="python")
    assert_type(verdict.rule, str | None)
    assert_type(verdict.trace[-1], z.TraceStep)
    assert_type(verdict.trace[-1].function, str)
    assert_type(verdict.traces[0].replay(), z.Trace)
    assert_type(z.rules()["page-lifetime"].kind, str)
    matrix = z.matrix([PinVsUnbind, "evict-vs-pin"], [ForgetsUnmap, "linux-6.1"])
    assert_type(matrix["evict-vs-pin", ForgetsUnmap], z.Verdict)
    assert_type(matrix.as_expected, bool)
    assert_type(z.run(PinVsUnbind, "linux-7.2", seed=3).ending, str)
    assert_type(z.diff("linux-7.2", ForgetsUnmap, scenarios=[]).functions[0].name, str)
    assert_type(z.Machine(ForgetsUnmap), z.Machine)


if __name__ == "__main__":
    try:
        main()
    except z.ZonedevError as error:
        print(error)
