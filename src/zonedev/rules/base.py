"""What a rule is."""

from __future__ import annotations

from dataclasses import dataclass

from zonedev.lang.system import Monitor


@dataclass(frozen=True)
class Rule:
    """Something that must always hold, or must always stay reachable.

    `kind` is ``safety`` or ``progress``.  `monitors` are the checks that the rule hangs
    on kernel functions and on the state at rest; a rule without any is checked by the
    language (an access to freed memory, an assertion) or by the engines (deadlock).
    """

    name: str
    kind: str
    text: str
    monitors: tuple[Monitor, ...] = ()
