"""The layout of a state: words, and the slots in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from zonedev.lang.errors import SpecError
from zonedev.lang.records import Kind
from zonedev.lang.system import System, member_low

WORD = 62  # bits used of a state word, so that Python ints and int64 agree

Key = tuple[str, str]  # class and path of a group


@dataclass(frozen=True)
class Slot:
    """Where a number is kept: word, shift and width, and the least value it can have."""

    word: int
    shift: int
    width: int
    low: int = 0

    @property
    def mask(self) -> int:
        return (1 << self.width) - 1


def put(words: list[int], slot: Slot, value: int) -> None:
    words[slot.word] &= ~(slot.mask << slot.shift)
    words[slot.word] |= (value - slot.low & slot.mask) << slot.shift


def get(state: tuple[int, ...], slot: Slot) -> int:
    return (state[slot.word] >> slot.shift & slot.mask) + slot.low


@dataclass
class Layout:
    """Gives places to what changes, first fit."""

    system: System
    used: list[int] = field(default_factory=list)  # bits of each word

    def place(self, width: int) -> tuple[int, int]:
        """Word and shift of a free piece of `width` bits."""
        for word, used in enumerate(self.used):
            if used + width <= WORD:
                self.used[word] += width
                return word, used
        self.used.append(width)
        return len(self.used) - 1, 0

    def task(
        self, name: str, steps: int, lives: Iterable[tuple[str, ...]], kinds: Mapping[str, Kind]
    ) -> tuple[Slot, dict[str, Slot]]:
        """A task's program counter and locals in one piece; locals that never meet share bits."""
        meets: dict[str, set[str]] = {}
        for live in lives:
            for local in live:
                meets.setdefault(local, set()).update(live)
        width = {local: self.system.bits(kinds[local]) for local in meets}
        first = steps.bit_length()  # the program counter comes first
        offsets: dict[str, int] = {}
        total = first
        for local in sorted(meets, key=lambda n: (-width[n], int(n[1:]), n)):
            at = first
            taken = sorted((offsets[o], offsets[o] + width[o]) for o in meets[local] if o in offsets)
            for start, end in taken:
                if start - at >= width[local]:
                    break
                at = max(at, end)
            offsets[local] = at
            total = max(total, at + width[local])
        if total > WORD:
            raise SpecError(f"task {name} keeps {total} bits of locals, more than the {WORD} of a word")
        word, shift = len(self.used), 0
        self.used.append(WORD)
        slots = {n: Slot(word, shift + at, width[n], member_low(kinds[n])) for n, at in offsets.items()}
        return Slot(word, shift, first), slots

    def fields(self, frozen: Mapping[Key, object]) -> dict[Key, list[Slot]]:
        """The fields that change, in as few words as that takes."""
        slots: dict[Key, list[Slot]] = {}
        for group in self.system.groups():
            key = (group.cls, group.path)
            if key in frozen:
                continue
            width, low = self.system.bits(group.kind), member_low(group.kind)
            if width > WORD:
                raise SpecError(f"{group.cls}.{group.path} has {width} bits, more than the {WORD} of a word")
            slots[key] = []
            per_word = WORD // width
            for first in range(0, group.size, per_word):
                number = min(per_word, group.size - first)
                word, shift = self.place(number * width)
                slots[key] += [Slot(word, shift + i * width, width, low) for i in range(number)]
        return slots
