"""LLVM IR for the expressions of lowered steps.

Values are 64-bit integers that mean what Python's integers mean.  Where the range of
an operation shows that it stays within 64 bits, the bare instruction is emitted;
elsewhere a check stands beside it that leads to the block `fault`, so that a number
that outgrows its word is an error and never a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from zonedev.explore.pygen import runs
from zonedev.lang.errors import SpecError
from zonedev.lang.expr import Expr
from zonedev.lang.transition import Slot, TransitionSystem

LEAST, MOST = -(1 << 63), (1 << 63) - 1
PREDICATES = {"==": "eq", "!=": "ne", "<": "slt", "<=": "sle", ">": "sgt", ">=": "sge"}
BITWISE = {"&": "and", "|": "or", "^": "xor"}
ARITHMETIC = {"+": "add", "-": "sub", "*": "mul"}


class Value(NamedTuple):
    """An operand, the range that its number lies in, and whether it is an i1."""

    text: str
    lo: int
    hi: int
    truth: bool = False

    @property
    def fixed(self) -> bool:
        return self.lo == self.hi


def number(n: int) -> Value:
    if not LEAST <= n <= MOST:
        raise SpecError(f"the constant {n} does not fit into 64 bits: use --engine python")
    return Value(str(n), n, n)


class Emitter:
    """Writes the instructions of one function; `words` and `locals` follow the present path."""

    def __init__(self, ts: TransitionSystem, name: str) -> None:
        self.ts = ts
        self.name = name
        self.lines: list[str] = []
        self.words: list[str] = []
        self.locals: dict[str, Value] = {}
        self.label = "entry"
        self.faults = 0  # how many checks lead to the block `fault`
        self._fresh = 0

    # --- instructions ------------------------------------------------------------------------

    def fresh(self) -> str:
        self._fresh += 1
        return f"%v{self._fresh}"

    def new_label(self) -> str:
        self._fresh += 1
        return f"b{self._fresh}"

    def op(self, text: str) -> str:
        """One instruction; returns its result."""
        result = self.fresh()
        self.lines.append(f"  {result} = {text}")
        return result

    def start(self, label: str) -> None:
        """A new block begins."""
        self.lines.append(f"{label}:")
        self.label = label

    def jump(self, label: str) -> None:
        self.lines.append(f"  br label %{label}")

    def branch(self, condition: str, then: str, other: str) -> None:
        self.lines.append(f"  br i1 {condition}, label %{then}, label %{other}")

    def check(self, sound: str) -> None:
        """Go on where the i1 `sound` holds; leave the function with a fault otherwise."""
        label = self.new_label()
        self.branch(sound, label, "fault")
        self.faults += 1
        self.start(label)

    def wide(self, v: Value) -> str:
        """The operand as an i64."""
        if not v.truth:
            return v.text
        return str(v.lo) if v.fixed else self.op(f"zext i1 {v.text} to i64")

    def truth(self, v: Value) -> str:
        """The operand as an i1: whether it is not zero."""
        if v.truth:
            return v.text
        if v.fixed or v.lo > 0 or v.hi < 0:
            return "true" if v.lo or v.hi else "false"
        return self.op(f"icmp ne i64 {v.text}, 0")

    # --- the state -----------------------------------------------------------------------------

    def field(self, slot: Slot) -> Value:
        """The number that is kept at `slot`."""
        text = self.words[slot.word]
        if slot.shift:
            text = self.op(f"lshr i64 {text}, {slot.shift}")
        text = self.op(f"and i64 {text}, {slot.mask}")
        return self.raised(text, slot)

    def raised(self, text: str, slot: Slot) -> Value:
        if slot.low:
            text = self.op(f"add i64 {text}, {slot.low}")
        return Value(text, slot.low, slot.low + slot.mask)

    def position(self, index: Value, first: int, slot: Slot) -> str:
        """The shift of element `index` of a run; bounded, so that nothing is ever poison."""
        text = index.text
        if first:
            text = self.op(f"sub i64 {text}, {first}")
        if slot.width != 1:
            text = self.op(f"mul i64 {text}, {slot.width}")
        if slot.shift:
            text = self.op(f"add i64 {text}, {slot.shift}")
        return self.op(f"and i64 {text}, 63")

    def load(self, e: Expr) -> Value:
        slots = self.ts.slots[e[1].cls, e[1].path]
        if e[2][0] == "c":
            return self.field(slots[e[2][1]])
        index = self.integer(e[2])
        parts = list(runs(slots))
        found: str = ""
        for first, end, run in reversed(parts):
            text = self.op(f"lshr i64 {self.words[run.word]}, {self.position(index, first, run)}")
            text = self.op(f"and i64 {text}, {run.mask}")
            if found:
                below = self.op(f"icmp slt i64 {index.text}, {end}")
                text = self.op(f"select i1 {below}, i64 {text}, i64 {found}")
            found = text
        return self.raised(found, slots[0])

    def store(self, slots: list[Slot], index: Expr, value: Expr) -> None:
        text = self.wide(self.expr(value))
        if slots[0].low:
            text = self.op(f"sub i64 {text}, {slots[0].low}")
        if index[0] == "c":
            self.put(slots[index[1]], text)
            return
        at = self.integer(index)
        pieces = list(runs(slots))
        for first, end, run in pieces:
            old = self.words[run.word]
            shift = self.position(at, first, run)
            mask = self.op(f"shl i64 {run.mask}, {shift}")
            hole = self.op(f"xor i64 {mask}, -1")
            kept = self.op(f"and i64 {old}, {hole}")
            new = self.op(f"or i64 {kept}, {self.op(f'shl i64 {text}, {shift}')}")
            if len(pieces) > 1:
                within = self.op(f"icmp ult i64 {self.op(f'sub i64 {at.text}, {first}')}, {end - first}")
                new = self.op(f"select i1 {within}, i64 {new}, i64 {old}")
            self.words[run.word] = new

    def put(self, slot: Slot, text: str) -> None:
        """Write the i64 `text`, less the least value, to `slot`."""
        kept = self.op(f"and i64 {self.words[slot.word]}, {~(slot.mask << slot.shift)}")
        if slot.shift:
            text = self.op(f"shl i64 {text}, {slot.shift}")
        self.words[slot.word] = self.op(f"or i64 {kept}, {text}")

    # --- expressions -----------------------------------------------------------------------------

    def integer(self, e: Expr) -> Value:
        v = self.expr(e)
        return Value(self.wide(v), v.lo, v.hi)

    def expr(self, e: Expr) -> Value:
        tag = e[0]
        if tag == "c":
            return number(e[1])
        if tag == "v":
            return self.locals.get(e[1]) or number(0)
        if tag == "ld":
            return self.load(e)
        if tag == "not":
            v = self.expr(e[1])
            text = self.truth(v)
            return Value(self.op(f"xor i1 {text}, true"), 0, 1, truth=True)
        if tag == "?":
            return self.choice(self.truth(self.expr(e[1])), lambda: self.expr(e[2]), lambda: self.expr(e[3]))
        if tag in ("and", "or"):
            return self.connective(tag, e[1], e[2])
        a, b = self.integer(e[1]), self.integer(e[2])
        if tag in PREDICATES:
            return Value(self.op(f"icmp {PREDICATES[tag]} i64 {a.text}, {b.text}"), 0, 1, truth=True)
        if tag in BITWISE:
            return Value(self.op(f"{BITWISE[tag]} i64 {a.text}, {b.text}"), *bitwise_range(tag, a, b))
        if tag in ARITHMETIC:
            return self.arithmetic(tag, a, b)
        if tag in ("//", "%"):
            return self.division(tag, a, b)
        if tag in ("<<", ">>"):
            return self.shift(tag, a, b)
        raise SpecError(f"the native engine does not know the operation {tag!r}")

    def connective(self, tag: str, left: Expr, right: Expr) -> Value:
        """`left and right` or `left or right`, with Python's result: one of the two."""
        a = self.expr(left)
        condition = self.truth(a)
        if tag == "and":
            return self.choice(condition, lambda: self.expr(right), lambda: number(0))
        return self.choice(condition, lambda: a, lambda: self.expr(right))

    def choice(self, condition: str, then: Callable[[], Value], other: Callable[[], Value]) -> Value:
        """`then` where `condition` holds, else `other`: a select, or branches where one may fault."""
        outer, label, faults = self.lines, self.label, self.faults
        sides: list[tuple[str, Value, list[str], str]] = []
        for side in (then, other):
            begin = self.new_label()
            self.lines, self.label = [], begin
            v = side()
            sides.append((begin, v, self.lines, self.label))
        truth = all(v.truth or (v.fixed and v.lo in (0, 1)) for _, v, _, _ in sides)
        texts: list[str] = []
        for _, v, lines, _ in sides:
            self.lines = lines
            texts.append(self.bit(v) if truth else self.wide(v))
        kind = "i1" if truth else "i64"
        lo, hi = min(v.lo for _, v, _, _ in sides), max(v.hi for _, v, _, _ in sides)
        self.lines, self.label = outer, label
        if self.faults == faults:
            outer += sides[0][2] + sides[1][2]
            return Value(
                self.op(f"select i1 {condition}, {kind} {texts[0]}, {kind} {texts[1]}"), lo, hi, truth
            )
        join = self.new_label()
        self.branch(condition, sides[0][0], sides[1][0])
        for begin, _, lines, _ in sides:
            outer += [f"{begin}:", *lines, f"  br label %{join}"]
        self.start(join)
        came = ", ".join(f"[{t}, %{end}]" for t, (_, _, _, end) in zip(texts, sides, strict=True))
        return Value(self.op(f"phi {kind} {came}"), lo, hi, truth)

    @staticmethod
    def bit(v: Value) -> str:
        return v.text if v.truth else ("true" if v.lo else "false")

    def arithmetic(self, tag: str, a: Value, b: Value) -> Value:
        lo, hi = corner_range(tag, a, b)
        name = ARITHMETIC[tag]
        if lo >= LEAST and hi <= MOST:
            return Value(self.op(f"{name} i64 {a.text}, {b.text}"), lo, hi)
        both = self.op(f"call {{i64, i1}} @llvm.s{name}.with.overflow.i64(i64 {a.text}, i64 {b.text})")
        beyond = self.op(f"extractvalue {{i64, i1}} {both}, 1")
        self.check(self.op(f"xor i1 {beyond}, true"))
        return Value(self.op(f"extractvalue {{i64, i1}} {both}, 0"), max(lo, LEAST), min(hi, MOST))

    def division(self, tag: str, a: Value, b: Value) -> Value:
        """Rounded down, as Python does; a divisor of zero is a fault."""
        if b.lo <= 0 <= b.hi:
            self.check(self.op(f"icmp ne i64 {b.text}, 0"))
        if a.lo >= 0 and b.lo >= 0:
            name = "udiv" if tag == "//" else "urem"
            hi = a.hi if tag == "//" else min(a.hi, b.hi)
            return Value(self.op(f"{name} i64 {a.text}, {b.text}"), 0, hi)
        if a.lo == LEAST and b.lo <= -1 <= b.hi:  # the one quotient that does not fit
            odd = self.op(f"icmp ne i64 {a.text}, {LEAST}")
            self.check(self.op(f"or i1 {odd}, {self.op(f'icmp ne i64 {b.text}, -1')}"))
        rest = self.op(f"srem i64 {a.text}, {b.text}")
        signs = self.op(f"icmp slt i64 {self.op(f'xor i64 {rest}, {b.text}')}, 0")
        uneven = self.op(f"and i1 {signs}, {self.op(f'icmp ne i64 {rest}, 0')}")
        bound = max(abs(b.lo), abs(b.hi))
        if tag == "%":
            more = self.op(f"select i1 {uneven}, i64 {b.text}, i64 0")
            return Value(self.op(f"add i64 {rest}, {more}"), -bound if b.lo < 0 else 0, bound)
        quotient = self.op(f"sdiv i64 {a.text}, {b.text}")
        less = self.op(f"sext i1 {uneven} to i64")
        bound = min(max(abs(a.lo), abs(a.hi)) + 1, MOST)
        return Value(self.op(f"add i64 {quotient}, {less}"), -bound, bound)

    def shift(self, tag: str, a: Value, b: Value) -> Value:
        if b.lo < 0:
            self.check(self.op(f"icmp sge i64 {b.text}, 0"))
            b = Value(b.text, 0, max(b.hi, 0))
        if tag == ">>":
            amount = b.text
            if b.hi > 63:
                small = self.op(f"icmp slt i64 {b.text}, 63")
                amount = self.op(f"select i1 {small}, i64 {b.text}, i64 63")
            ends = [x >> min(y, 63) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
            return Value(self.op(f"ashr i64 {a.text}, {amount}"), min(ends), max(ends))
        lo, hi = corner_range("<<", a, Value(b.text, min(b.lo, 64), min(b.hi, 64)))
        if lo >= LEAST and hi <= MOST and b.hi <= 63:
            return Value(self.op(f"shl i64 {a.text}, {b.text}"), lo, hi)
        amount = self.op(f"and i64 {b.text}, 63")
        moved = self.op(f"shl i64 {a.text}, {amount}")
        back = self.op(f"icmp eq i64 {self.op(f'ashr i64 {moved}, {amount}')}, {a.text}")
        fits = self.op(f"and i1 {back}, {self.op(f'icmp sle i64 {b.text}, 63')}")
        self.check(self.op(f"or i1 {fits}, {self.op(f'icmp eq i64 {a.text}, 0')}"))
        return Value(moved, max(lo, LEAST), min(hi, MOST))


def corner_range(tag: str, a: Value, b: Value) -> tuple[int, int]:
    """The range of `a tag b` for an operation that is monotonic in both."""
    ends = []
    for x in (a.lo, a.hi):
        for y in (b.lo, b.hi):
            ends.append(x + y if tag == "+" else x - y if tag == "-" else x * y if tag == "*" else x << y)
    return min(ends), max(ends)


def bitwise_range(tag: str, a: Value, b: Value) -> tuple[int, int]:
    if tag == "&" and (a.lo >= 0 or b.lo >= 0):
        return 0, min(v.hi for v in (a, b) if v.lo >= 0)
    width = max(x.bit_length() for v in (a, b) for x in (v.lo, v.hi))
    if a.lo >= 0 and b.lo >= 0:
        return 0, (1 << width) - 1
    return -(1 << width), (1 << width) - 1
