"""Warnings that do not end a run: a WARN_ON is noted, and the kernel goes on."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from zonedev.lang.primitives import WARN_ON
from zonedev.lang.runtime import current


@dataclass(frozen=True)
class Warned:
    """A WARN_ON that has fired: in which task, and its words."""

    task: str
    text: str


class Lenient(frozenset[str]):
    """The rules that a run does not check, and of `kernel-asserts` the WARN_ONs: they are noted, and
    the kernel goes on, as a real one does.  BUG_ONs and NULL pointers still end it."""

    warnings: list[Warned]

    def __contains__(self, rule: object) -> bool:
        return super().__contains__(rule) or (rule == "kernel-asserts" and self._warns())

    def _warns(self) -> bool:
        """Whether it is WARN_ON(), by way of ensure(), that asks; it is noted then."""
        caller = sys._getframe(2).f_back
        if caller is None or caller.f_code is not WARN_ON.__code__:
            return False
        self.warnings.append(Warned(repr(current()), caller.f_locals["text"]))
        return True
