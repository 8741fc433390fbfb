"""Expressions of lowered steps in the notation of another language, with the ranges of their values.

Truth values and numbers are apart in some of these languages, and all have numbers of a
fixed width: what might outgrow that is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from zonedev.lang.errors import SpecError
from zonedev.lang.expr import COMPARISONS, OPS, Expr


class Term(NamedTuple):
    """The text of a number or of a truth value, and the range that its number lies in.

    `mask`: bits that are 0 in it are 0 in the number, where that is known.
    """

    text: str
    lo: int
    hi: int
    truth: bool = False
    mask: int = -1

    @property
    def ones(self) -> int:
        """The bits that may be 1."""
        return self.mask & ((1 << self.hi.bit_length()) - 1 if self.lo >= 0 else -1)


@dataclass(frozen=True)
class Notation:
    """How a language writes what all of them have.  `bits`: the width of its signed numbers."""

    bits: int
    both: str = "({} && {})"
    either: str = "({} || {})"
    negation: str = "!{}"
    equal: str = "=="
    unequal: str = "!="
    choice: str = "({} ? {} : {})"
    true: str = "true"
    false: str = "false"
    truths_are_numbers: bool = False
    arithmetic_bits: bool = False  # no operators for bits: they are done by division


class Terms:
    """Writes expressions; `local` and `load` give the leaves."""

    def __init__(
        self, notation: Notation, local: Callable[[str], Term], load: Callable[[Expr, Term | None], Term]
    ) -> None:
        self.notation, self.local, self.load = notation, local, load

    # --- numbers and truth values --------------------------------------------------------------

    def number(self, e: Expr) -> Term:
        """The expression as a number."""
        term = self.term(e)
        if not term.truth or self.notation.truths_are_numbers:
            return term
        return Term(self.notation.choice.format(term.text, 1, 0), 0, 1)

    def truth(self, e: Expr) -> str:
        """The expression as a truth value: whether it is not 0."""
        return self.true(self.term(e))

    def true(self, term: Term) -> str:
        if term.truth:
            return term.text
        if term.lo == term.hi:
            return self.notation.true if term.lo else self.notation.false
        if self.notation.truths_are_numbers:
            return term.text
        return f"({term.text} {self.notation.unequal} 0)"

    def term(self, e: Expr) -> Term:
        tag, n = e[0], self.notation
        if tag == "c":
            return self.constant(e[1])
        if tag == "v":
            return self.local(e[1])
        if tag == "ld":
            return self.load(e, None if e[2][0] == "c" else self.number(e[2]))
        if tag == "not":
            return Term(n.negation.format(self.truth(e[1])), 0, 1, True)
        if tag == "?":
            return self.chosen(e[1], self.term(e[2]), self.term(e[3]))
        if tag in ("and", "or"):
            return self.connected(tag, e[1], e[2])
        if tag in COMPARISONS:
            return self.compared(tag, e[1], e[2])
        a, b = self.number(e[1]), self.number(e[2])
        if a.lo == a.hi and b.lo == b.hi and not (tag in ("//", "%") and b.lo == 0):
            return self.constant(OPS[tag](a.lo, b.lo))
        return self.fitting(getattr(self, NAMES[tag])(tag, a, b))

    def constant(self, value: int) -> Term:
        return self.fitting(Term(str(value) if value >= 0 else f"({value})", value, value))

    def fitting(self, term: Term) -> Term:
        most = 1 << self.notation.bits - 1
        if not -most <= term.lo <= term.hi < most:
            raise SpecError(f"a number of more than {self.notation.bits} bits: it cannot be exported")
        return term

    def chosen(self, condition: Expr, a: Term, b: Term) -> Term:
        if not a.truth or not b.truth:
            a, b = self.as_number(a), self.as_number(b)
        text = self.notation.choice.format(self.truth(condition), a.text, b.text)
        return Term(text, min(a.lo, b.lo), max(a.hi, b.hi), a.truth)

    def as_number(self, term: Term) -> Term:
        if not term.truth or self.notation.truths_are_numbers:
            return term._replace(truth=False)
        return Term(self.notation.choice.format(term.text, 1, 0), 0, 1)

    def connected(self, tag: str, left: Expr, right: Expr) -> Term:
        """`left and right` or `left or right`; one of the two where they are no truth values."""
        a, b = self.term(left), self.term(right)
        if (a.truth or is_bit(a)) and (b.truth or is_bit(b)):
            form = self.notation.both if tag == "and" else self.notation.either
            return Term(form.format(self.true(a), self.true(b)), 0, 1, True)
        return self.chosen(left, b, Term("0", 0, 0)) if tag == "and" else self.chosen(left, a, b)

    def compared(self, tag: str, left: Expr, right: Expr) -> Term:
        a, b = self.number(left), self.number(right)
        sign = {"==": self.notation.equal, "!=": self.notation.unequal}.get(tag, tag)
        return Term(f"({a.text} {sign} {b.text})", 0, 1, True)

    # --- arithmetic ------------------------------------------------------------------------------

    def sum(self, tag: str, a: Term, b: Term) -> Term:
        ends = [OPS[tag](x, y) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
        return Term(f"({a.text} {tag} {b.text})", min(ends), max(ends))

    def division(self, tag: str, a: Term, b: Term) -> Term:
        """Rounded down, as Python does; by a number that is known."""
        if b.lo != b.hi or b.lo == 0:
            raise SpecError("a division by what depends on the state: it cannot be exported")
        by = b.lo
        if by < 0:
            a, by = Term(f"(-{a.text})", -a.hi, -a.lo), -by
            if tag == "%":
                rest = self.rest(a, by)
                return Term(f"(-{rest.text})", -rest.hi, -rest.lo)
        return self.quotient(a, by) if tag == "//" else self.rest(a, by)

    def quotient(self, a: Term, by: int) -> Term:
        lo, hi = a.lo // by, a.hi // by
        if self.notation.arithmetic_bits:
            return Term(f"({a.text} \\div {by})", lo, hi)
        if a.lo >= 0:
            return Term(f"({a.text} / {by})", lo, hi)
        below = f"(-(({by - 1} - {a.text}) / {by}))"
        return Term(self.notation.choice.format(f"({a.text} >= 0)", f"({a.text} / {by})", below), lo, hi)

    def rest(self, a: Term, by: int) -> Term:
        if a.lo >= 0 and a.hi < by:
            return a
        if self.notation.arithmetic_bits or a.lo >= 0:
            return Term(f"({a.text} % {by})", 0, by - 1)
        return Term(f"({a.text} - {by} * {self.quotient(a, by).text})", 0, by - 1)

    # --- bits --------------------------------------------------------------------------------------

    def shifted(self, tag: str, a: Term, b: Term) -> Term:
        if b.lo < 0 or b.hi >= self.notation.bits:
            raise SpecError("a shift by what may be out of range: it cannot be exported")
        ends = [OPS[tag](x, y) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
        lo, hi = min(ends), max(ends)
        if not self.notation.arithmetic_bits:
            return Term(f"({a.text} {tag} {b.text})", lo, hi)
        fixed = b.lo == b.hi
        mask = OPS[tag](a.ones, b.lo) if fixed else -1
        sign = "*" if tag == "<<" else "\\div"
        return Term(f"({a.text} {sign} {1 << b.lo if fixed else f'(2^{b.text})'})", lo, hi, mask=mask)

    def masked(self, tag: str, a: Term, b: Term) -> Term:
        if a.lo == a.hi:
            a, b = b, a
        lo, hi = bit_range(tag, a, b)
        if not self.notation.arithmetic_bits:
            return Term(f"({a.text} {tag} {b.text})", lo, hi)
        mask = OPS[tag](a.ones, b.ones) if tag != "^" else a.ones | b.ones
        if tag != "&" and a.ones & b.ones == 0:
            return Term(f"({a.text} + {b.text})", lo, hi, mask=mask)
        if b.lo == b.hi:
            return Term(with_constant(tag, a, b.lo), lo, hi, mask=mask)
        name = {"&": "BitAnd", "|": "BitOr", "^": "BitXor"}[tag]
        return Term(f"{name}({a.text}, {b.text})", lo, hi, mask=mask)


NAMES = {
    **dict.fromkeys("+-*", "sum"),
    **dict.fromkeys(("//", "%"), "division"),
    **dict.fromkeys(("<<", ">>"), "shifted"),
    **dict.fromkeys("&|^", "masked"),
}


def is_bit(term: Term) -> bool:
    return term.lo >= 0 and term.hi <= 1


def bit_range(tag: str, a: Term, b: Term) -> tuple[int, int]:
    if tag == "&" and (a.lo >= 0 or b.lo >= 0):
        return 0, min(v.hi for v in (a, b) if v.lo >= 0)
    width = max(x.bit_length() for v in (a, b) for x in (v.lo, v.hi))
    return (0 if a.lo >= 0 and b.lo >= 0 else -(1 << width)), (1 << width) - 1


def with_constant(tag: str, a: Term, mask: int) -> str:
    """`a tag mask` by division, where the mask is known."""
    common = kept_bits(a.text, a.ones, mask)
    if tag == "&":
        return common
    if tag == "|":
        return f"({a.text} + {mask} - {common})"
    return f"({a.text} + {mask} - 2 * {common})"


def kept_bits(text: str, ones: int, mask: int) -> str:
    """The bits of a number that a mask has too."""
    if ones >= 0 and ones & ~mask == 0:
        return text
    if mask < 0:
        return f"({text} - {kept_bits(text, ones, ~mask)})"
    parts = []
    shift = 0
    while mask >> shift:
        while not mask >> shift & 1:
            shift += 1
        width = 0
        while mask >> shift + width & 1:
            width += 1
        part = f"({text} \\div {1 << shift})" if shift else text
        if not 0 <= ones < 1 << shift + width:
            part = f"({part} % {1 << width})"
        parts.append(f"({part} * {1 << shift})" if shift else part)
        shift += width
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})" if parts else "0"
