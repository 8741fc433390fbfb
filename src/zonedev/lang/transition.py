"""The transition system of one scenario under one design: steps, layout, and how to read a state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang.errors import SpecError
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.lower import Fails, Lowering, Node, Place, lower_check, lower_program, successors
from zonedev.lang.records import Kind
from zonedev.lang.system import Group, System, member_low

WORD = 62  # bits used of a state word, so that Python ints and int64 agree


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


@dataclass
class Step:
    """One atomic step of one task."""

    task: int
    pc: int
    place: Place
    body: list[Effect]
    fanout: int
    live: tuple[str, ...]  # locals that the step needs
    lost: Expr | None = None


@dataclass
class TaskCode:
    """A task's steps; pc 0 is the end."""

    name: str
    actor: bool
    steps: list[Step] = field(default_factory=list)
    entry: list[Effect] = field(default_factory=list)
    pc: Slot = Slot(0, 0, 0)
    locals: dict[str, Slot] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)


@dataclass
class TransitionSystem:
    """What the engines explore.  States are tuples of `words` integers of at most 62 bits."""

    system: System
    tasks: list[TaskCode]
    fails: list[tuple[str, str]]
    words: int
    slots: dict[tuple[str, str], list[Slot]]  # per group, per element; none for what never changes
    frozen: dict[tuple[str, str], list[int]]  # the values of what never changes
    rest: list[Effect]  # the checks at rest, as a body

    def initial(self) -> tuple[int, ...]:
        """The state after set-up, with every task before its first step."""
        groups = {(g.cls, g.path): g for g in self.system.groups()}
        shared = {
            key: [self.system.encode(g.kind, g.peek(i)) for i in range(g.size)] for key, g in groups.items()
        }
        words = [0] * self.words
        for task in self.tasks:
            values: dict[str, int] = {}
            target = run_entry(task.entry, values, shared)
            put(words, task.pc, target)
            if target:
                for name in task.steps[target - 1].live:
                    put(words, task.locals[name], values.get(name, 0))
        for key, slots in self.slots.items():
            for slot, value in zip(slots, shared[key], strict=True):
                put(words, slot, value)
        return tuple(words)

    def pcs(self, state: tuple[int, ...]) -> list[int]:
        """Where each task stands: the number of its next step, 0 at the end."""
        return [get(state, t.pc) for t in self.tasks]

    def shared(self, state: tuple[int, ...]) -> Iterator[tuple[Group, int, int]]:
        """Every location that can change, with its number in `state`."""
        for group in self.system.groups():
            for index, slot in enumerate(self.slots.get((group.cls, group.path), ())):
                yield group, index, get(state, slot)


def put(words: list[int], slot: Slot, value: int) -> None:
    words[slot.word] &= ~(slot.mask << slot.shift)
    words[slot.word] |= (value - slot.low & slot.mask) << slot.shift


def get(state: tuple[int, ...], slot: Slot) -> int:
    return (state[slot.word] >> slot.shift & slot.mask) + slot.low


def run_entry(
    body: list[Effect], values: dict[str, int], shared: dict[tuple[str, str], list[int]]
) -> int:
    """Carry out what a task does before its first step: it can touch what is its own."""

    def known(e: Expr) -> int:
        def leaf(x: Expr) -> Expr:
            if x[0] == "v":
                return ir.const(values[x[1]])
            return ir.const(shared[x[1].cls, x[1].path][x[2][1]])

        result: int = ir.rewrite(e, leaf)[1]
        return result

    for effect in body:
        if effect[0] == "let":
            values[effect[1]] = known(effect[2])
        elif effect[0] == "store":
            shared[effect[1].cls, effect[1].path][known(effect[2])] = known(effect[3])
        elif effect[0] == "if":
            target = run_entry(effect[2] if known(effect[1]) else effect[3], values, shared)
            if target >= 0:
                return target
        elif effect[0] == "goto":
            return int(effect[1])
    return -1


def lower(system: System, rules: frozenset[str] | None = None) -> TransitionSystem:
    """Lower every program of a sealed system, checking `rules` (None: all).

    Raises SpecError, with the place, for what the language does not have.
    """
    fails = Fails(rules)
    tasks: list[TaskCode] = []
    for number, program in enumerate(system.programs):
        entry, kinds = lower_program(system, program, fails)
        tasks.append(task_code(number, program.task._name, program.actor, entry, kinds))
    rest = rest_body(system, fails)
    frozen = freeze(system, tasks, rest)
    slots, words = layout(system, tasks, frozen)
    return TransitionSystem(system, tasks, fails.known, words, slots, frozen, rest)


def rest_body(system: System, fails: Fails) -> list[Effect]:
    wanted = [m for m in system.monitors if m.after is None and fails.wanted(m.rule)]

    def checks(lowering: Lowering) -> None:
        from zonedev.lang.lower import Static
        from zonedev.lang.source import function_ast

        for monitor in wanted:
            lowering.inline(
                monitor.check, [Static(system.k)], {}, None, function_ast(monitor.check)  # type: ignore[arg-type]
            )

    if not wanted:
        return []
    entry, _ = lower_check(system, checks, fails)
    return Region({}).body(entry, None)


def task_code(number: int, name: str, actor: bool, entry: Node, kinds: dict[str, Kind]) -> TaskCode:
    """Number the steps of a graph and cut it into bodies."""
    order = nodes_from(entry)
    heads = [n for n in order if n.step is not None]
    pcs = {id(n): i + 1 for i, n in enumerate(heads)}
    live = liveness(order)
    region = Region(pcs)
    code = TaskCode(name, actor, kinds=kinds)
    code.entry = region.body(entry, None)
    for node in heads:
        assert node.step is not None
        used = tuple(sorted(live[id(node)]))
        body = region.body(node, None, start=True)
        code.steps.append(Step(number, pcs[id(node)], node.step, body, node.fanout, used, node.lost))
    return code


def nodes_from(entry: Node) -> list[Node]:
    """All nodes that can be reached, in reverse post-order."""
    seen: set[int] = set()
    order: list[Node] = []
    stack: list[tuple[Node, Iterator[Node]]] = [(entry, iter(successors(entry)[::-1]))]
    seen.add(id(entry))
    while stack:
        node, rest = stack[-1]
        for nxt in rest:
            if id(nxt) not in seen:
                seen.add(id(nxt))
                stack.append((nxt, iter(successors(nxt)[::-1])))
                break
        else:
            order.append(node)
            stack.pop()
    return order[::-1]


def liveness(order: list[Node]) -> dict[int, set[str]]:
    """The locals that are needed from the beginning of each node on."""
    live: dict[int, set[str]] = {id(n): set() for n in order}
    changed = True
    while changed:
        changed = False
        for node in reversed(order):
            needed: set[str] = set()
            for nxt in successors(node):
                needed |= live[id(nxt)]
            if node.term and node.term[0] == "if":
                needed.update(ir.locals_of(node.term[1]))
            for effect in reversed(node.effects):
                if effect[0] in ("let", "choice"):
                    needed.discard(effect[1])
                for e in ir.effect_exprs(effect):
                    needed.update(ir.locals_of(e))
            if node.lost is not None:
                needed.update(ir.locals_of(node.lost))
            if needed != live[id(node)]:
                live[id(node)] = needed
                changed = True
    return live


class Region:
    """Cuts a graph into structured bodies that end where the next step begins."""

    def __init__(self, pcs: dict[int, int]) -> None:
        self.pcs = pcs

    def inner(self, node: Node) -> list[Node]:
        """The successors that belong to the same step."""
        return [n for n in successors(node) if id(n) not in self.pcs]

    def reach(self, node: Node) -> list[Node]:
        """The nodes of the step from `node` on, in topological order."""
        if id(node) in self.pcs:
            return []
        done: set[int] = set()
        order: list[Node] = []

        def visit(n: Node, path: frozenset[int]) -> None:
            if id(n) in path:
                raise SpecError("a loop without a step: its body has to touch shared state")
            if id(n) in done:
                return
            for nxt in self.inner(n):
                visit(nxt, path | {id(n)})
            done.add(id(n))
            order.append(n)

        visit(node, frozenset())
        return order[::-1]

    def body(self, node: Node, stop: Node | None, *, start: bool = False) -> list[Effect]:
        """The effects from `node` up to `stop` or to the next steps."""
        found: list[Effect] = []
        current: Node = node
        while current is not stop:
            if id(current) in self.pcs and not start:
                found.append(("goto", self.pcs[id(current)]))
                return found
            start = False
            found += current.effects
            if not current.term or current.term[0] == "end":
                found.append(("goto", 0))
                return found
            if current.term[0] == "goto":
                current = current.term[1]
                continue
            _, condition, then, other = current.term
            theirs = {id(n) for n in self.reach(other)}
            join = next((n for n in self.reach(then) if id(n) in theirs), stop)
            found.append(("if", condition, self.body(then, join), self.body(other, join)))
            if join is None or (join is stop and stop is None):
                return found
            current = join
        return found


def bodies(tasks: Iterable[TaskCode]) -> Iterator[list[Effect]]:
    for task in tasks:
        yield task.entry
        for step in task.steps:
            yield step.body


def freeze(
    system: System, tasks: list[TaskCode], rest: list[Effect]
) -> dict[tuple[str, str], list[int]]:
    """Find the fields that never change, and put their values into the bodies.

    Optimistic: a field is frozen until some store, given all that is frozen, may
    change it.
    """
    groups = {(g.cls, g.path): g for g in system.groups()}
    values = {
        key: [system.encode(g.kind, g.peek(i)) for i in range(g.size)] for key, g in groups.items()
    }
    stores: list[tuple[tuple[str, str], Expr, Expr]] = []
    for body in bodies(tasks):
        for effect in ir.walk(body):
            if effect[0] == "store":
                stores.append(((effect[1].cls, effect[1].path), effect[2], effect[3]))
    frozen = dict(values)
    lets = [
        {e[1]: e[2] for e in ir.walk(b) if e[0] == "let"} for b in bodies(tasks)
    ]
    single = {n: e for table in lets for n, e in table.items()}
    changed = True
    while changed:
        changed = False
        for key, index, value in stores:
            if key in frozen:
                known = fold_frozen(value, frozen, single)
                if known[0] != "c" or any(v != known[1] for v in frozen[key]):
                    del frozen[key]
                    changed = True
    for task in tasks:
        task.entry = [e for e in (thaw(e, frozen) for e in task.entry) if e is not None]
        for step in task.steps:
            step.body = [e for e in (thaw(e, frozen) for e in step.body) if e is not None]
            if step.lost is not None:
                step.lost = fold_frozen(step.lost, frozen, {})
    rest[:] = [e for e in (thaw(e, frozen) for e in rest) if e is not None]
    return frozen


def fold_frozen(e: Expr, frozen: dict[tuple[str, str], list[int]], lets: dict[str, Expr]) -> Expr:
    def leaf(x: Expr) -> Expr:
        if x[0] == "ld":
            values = frozen.get((x[1].cls, x[1].path))
            if values is not None:
                if x[2][0] == "c":
                    return ir.const(values[x[2][1]])
                if all(v == values[0] for v in values):
                    return ir.const(values[0])
                chosen = ir.const(values[-1])
                for i in range(len(values) - 2, -1, -1):
                    chosen = ir.select(ir.binary("==", x[2], ir.const(i)), ir.const(values[i]), chosen)
                return chosen
        return x

    if not lets:
        return ir.rewrite(e, leaf)
    if e[0] == "v":
        return e
    return ir.rewrite(e, leaf)


def thaw(effect: Effect, frozen: dict[tuple[str, str], list[int]]) -> Effect | None:
    """The effect with frozen loads replaced and frozen stores dropped."""
    tag = effect[0]

    def fold(e: Expr) -> Expr:
        return fold_frozen(e, frozen, {})

    if tag == "let":
        return ("let", effect[1], fold(effect[2]))
    if tag == "store":
        if (effect[1].cls, effect[1].path) in frozen:
            return None
        return ("store", effect[1], fold(effect[2]), fold(effect[3]))
    if tag == "guard":
        return ("guard", fold(effect[1]))
    if tag == "fail":
        condition = fold(effect[1])
        return None if condition == ir.const(0) else ("fail", condition, effect[2])
    if tag == "if":
        bodies_ = [[x for x in (thaw(e, frozen) for e in b) if x is not None] for b in effect[2:]]
        return ("if", fold(effect[1]), *bodies_)
    return effect


def layout(
    system: System, tasks: list[TaskCode], frozen: dict[tuple[str, str], list[int]]
) -> tuple[dict[tuple[str, str], list[Slot]], int]:
    """Give every task and every field that changes its place in the state."""
    words: list[int] = []  # bits used of each

    def place(width: int) -> tuple[int, int]:
        for number, used in enumerate(words):
            if used + width <= WORD:
                words[number] += width
                return number, used
        words.append(width)
        return len(words) - 1, 0

    for task in tasks:
        place_task(system, task, place)
    slots: dict[tuple[str, str], list[Slot]] = {}
    for group in system.groups():
        key = (group.cls, group.path)
        if key in frozen:
            continue
        width = system.bits(group.kind)
        low = member_low(group.kind)
        slots[key] = []
        per_word = WORD // width
        for first in range(0, group.size, per_word):
            number = min(per_word, group.size - first)
            word, shift = place(number * width)
            slots[key] += [Slot(word, shift + i * width, width, low) for i in range(number)]
    return slots, max(1, len(words))


def place_task(system: System, task: TaskCode, place: Any) -> None:
    """A task's program counter and locals in one piece; locals that never meet share bits."""
    meets: dict[str, set[str]] = {}
    for step in task.steps:
        for name in step.live:
            meets.setdefault(name, set()).update(step.live)
    width = len(task.steps).bit_length()
    offsets: dict[str, tuple[int, int]] = {}
    total = width
    for name in sorted(meets, key=lambda n: (-system.bits(task.kinds[n]), int(n[1:]), n)):
        own = system.bits(task.kinds[name])
        taken = sorted(offsets[o] for o in meets[name] if o in offsets)
        at = width
        for start, length in taken:
            if start - at >= own:
                break
            at = max(at, start + length)
        offsets[name] = (at, own)
        total = max(total, at + own)
    if total > WORD:
        raise SpecError(f"task {task.name} keeps {total} bits of locals, more than the {WORD} of a word")
    word, shift = place(total)
    task.pc = Slot(word, shift, width)
    for name, (at, own) in offsets.items():
        task.locals[name] = Slot(word, shift + at, own, member_low(task.kinds[name]))
