"""The errors of the language.  Each is one line that names the place and the mend."""

from __future__ import annotations


class ZonedevError(Exception):
    """Anything that the command line reports as one line with exit code 1."""


class SpecError(ZonedevError):
    """A specification, design or scenario that breaks a rule of the language."""


class LoweringError(SpecError):
    """A construct that cannot be lowered, with its place."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place}: {text}")


class CounterRange(SpecError):
    """A bounded counter left its range."""

    def __init__(self, where: str, value: int, lo: int, hi: int, rule: str | None) -> None:
        super().__init__(f"{where} would become {value}, outside its range {lo}..{hi}")
        self.where, self.value, self.rule = where, value, rule if value < lo else None


class WouldBlock(SpecError):
    """A call during set-up that would have to wait."""


class RuleBroken(Exception):
    """Raised by a plain run at the step that breaks a rule."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule, self.text = rule, text
