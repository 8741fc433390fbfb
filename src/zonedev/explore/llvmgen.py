"""LLVM IR for the steps of a transition system: the back end of the native engine.

The module defines, for states of `words` 64-bit words:
    expand(state, out) -> count, plus 2**32 where every task but the actors has finished.
        Each step that can be taken gives one record in `out`: the words, of which those that the
        step may have changed are written, a tag (see `tag`), and a bit for each word that is
        written.  A step that breaks a rule writes none.
    stuck(state) -> what is wrong with a state without steps: the number of a rule that
        is broken at rest, DEADLOCK, LOST_WAKEUP, FINE or FAULTY.
"""

from __future__ import annotations

from zonedev.explore.native_expr import Emitter, Value
from zonedev.explore.result import DEADLOCK, LOST_WAKEUP
from zonedev.lang.errors import SpecError
from zonedev.lang.expr import Effect
from zonedev.lang.transition import Slot, Step, TaskCode, TransitionSystem

FINE, FAULTY = -8, -9  # answers of `stuck` beside the endings
FINISHED = 1 << 32  # a bit of what `expand` returns
FAULT = (1 << 15) - 2  # the fail number of arithmetic that has no 64-bit result
MAX_TASKS, MAX_FANOUT, MAX_WORDS = 1 << 16, 1 << 32, 63


def tag(task: int, choice: int = 0, fail: int = -1) -> int:
    """The tag of a record."""
    return (fail + 1) << 48 | task << 32 | choice


def untag(word: int) -> tuple[int, int, int]:
    """Task, choice and fail number (-1: none) of a record."""
    return word >> 32 & 0xFFFF, word & 0xFFFFFFFF, (word >> 48) - 1


def widest(ts: TransitionSystem) -> int:
    """The most records that `expand` can give for one state."""
    return sum(max((s.fanout for s in task.steps), default=1) for task in ts.tasks) or 1


def generate(ts: TransitionSystem) -> str:
    """The text of the module for `ts`; SpecError where the native engine cannot run it."""
    if len(ts.fails) >= FAULT or len(ts.tasks) >= MAX_TASKS or ts.words > MAX_WORDS:
        raise SpecError("too many tasks, checks or fields for the native engine: use --engine python")
    parts = [DECLARATIONS]
    for number, task in enumerate(ts.tasks):
        parts += TaskFunction(ts, number, task).text()
    parts += expand_function(ts)
    parts += CheckFunction(ts, "rest").text(ts.rest)
    parts += OrderFunction(ts, "order").text() if ts.order else []
    parts += CheckFunction(ts, "alone").text(ts.alone) if ts.alone else []
    parts += lost_function(ts)
    parts += stuck_function(ts)
    return "\n".join(parts) + "\n"


DECLARATIONS = "\n".join(
    f"declare {{i64, i1}} @llvm.s{name}.with.overflow.i64(i64, i64)" for name in ("add", "sub", "mul")
)


class Function(Emitter):
    """The effects of a body; how a path ends is for the derived class."""

    def begin(self, header: str) -> None:
        self.lines += [header, "entry:"]
        for word in range(self.ts.words):
            at = self.op(f"getelementptr i64, ptr %s, i64 {word}")
            self.words.append(self.op(f"load i64, ptr {at}"))

    def body(self, body: list[Effect]) -> bool:
        """Write the effects; returns whether the path goes on behind them."""
        for effect in body:
            kind = effect[0]
            if kind == "let":
                v = self.expr(effect[2])
                self.locals[effect[1]] = Value(self.wide(v), v.lo, v.hi)
            elif kind == "store":
                self.store(self.ts.slots[effect[1].cls, effect[1].path], effect[2], effect[3])
            elif kind == "guard":
                self.split(self.truth(self.expr(effect[1])), stop_when=False, fail=-1)
            elif kind == "fail":
                self.split(self.truth(self.expr(effect[1])), stop_when=True, fail=effect[2])
            elif kind == "choice":
                self.locals[effect[1]] = self.chosen()
            elif kind == "if":
                if not self.branches(effect):
                    return False
            elif kind == "goto":
                self.goto(effect[1])
                return False
            else:
                raise SpecError(f"the native engine does not know the effect {kind!r}")
        return True

    def split(self, condition: str, *, stop_when: bool, fail: int) -> None:
        """Leave the step (with a fail) where the condition has the value `stop_when`."""
        stop, on = self.new_label(), self.new_label()
        self.branch(condition, *((stop, on) if stop_when else (on, stop)))
        self.start(stop)
        self.leave(fail)
        self.start(on)

    def branches(self, effect: Effect) -> bool:
        condition = self.truth(self.expr(effect[1]))
        labels = self.new_label(), self.new_label()
        join = self.new_label()
        self.branch(condition, *labels)
        words, known = self.words, self.locals
        ways: list[tuple[str, list[str], dict[str, Value]]] = []
        for label, body in zip(labels, effect[2:], strict=True):
            self.start(label)
            self.words, self.locals = list(words), dict(known)
            if self.body(body):
                self.jump(join)
                ways.append((self.label, self.words, self.locals))
        if not ways:
            return False
        self.start(join)
        if len(ways) == 1:
            _, self.words, self.locals = ways[0]
        else:
            self.merge(*ways)
        return True

    def merge(
        self, a: tuple[str, list[str], dict[str, Value]], b: tuple[str, list[str], dict[str, Value]]
    ) -> None:
        """Join two paths.  What only one of them has set is never read behind them: zero."""
        self.words = [
            x if x == y else self.op(f"phi i64 [{x}, %{a[0]}], [{y}, %{b[0]}]")
            for x, y in zip(a[1], b[1], strict=True)
        ]
        nothing = Value("0", 0, 0)
        self.locals = {}
        for name in {**a[2], **b[2]}:
            x, y = a[2].get(name, nothing), b[2].get(name, nothing)
            text = x.text
            if x.text != y.text:
                text = self.op(f"phi i64 [{x.text}, %{a[0]}], [{y.text}, %{b[0]}]")
            self.locals[name] = Value(text, min(x.lo, y.lo), max(x.hi, y.hi))

    def chosen(self) -> Value:
        raise NotImplementedError

    def goto(self, pc: int) -> None:
        raise NotImplementedError

    def leave(self, fail: int) -> None:
        """End the path: without a step, or with the number of a fail."""
        raise NotImplementedError


class TaskFunction(Function):
    """task<n>(state, out) -> the end of the records that the task's next step gives."""

    def __init__(self, ts: TransitionSystem, number: int, task: TaskCode) -> None:
        super().__init__(ts, f"task{number}")
        self.number, self.task = number, task
        self.fanout = 1
        self.out = "%o"
        self.latch: tuple[str, list[tuple[str, str]]] | None = None  # of the loop over choices

    def text(self) -> list[str]:
        self.begin(f"define internal ptr @{self.name}(ptr noalias readonly %s, ptr noalias %o) {{")
        self.state = state = self.words
        pc = self.wide(self.field(self.task.pc))
        cases = " ".join(f"i64 {s.pc}, label %pc{s.pc}" for s in self.task.steps)
        self.lines += [f"  switch i64 {pc}, label %finished [{cases}]", "finished:", "  ret ptr %o"]
        for step in self.task.steps:
            self.start(f"pc{step.pc}")
            self.words, self.out, self.latch = list(state), "%o", None
            if step.fanout > 1:
                self.choices(step)
            else:
                self.fanout = 1
                self.enter(step)
        if self.faults:
            self.start("fault")
            self.out, self.latch, self.fanout = "%o", None, 1
            self.leave(FAULT)
        return [*self.lines, "}"]

    def enter(self, step: Step) -> None:
        self.locals = {name: self.field(self.task.locals[name]) for name in step.live}
        if self.body(step.body):
            raise SpecError(f"{step.place.function}: a step without an end")

    def choices(self, step: Step) -> None:
        """A loop over the choices of a step."""
        if step.fanout >= MAX_FANOUT:
            raise SpecError(f"choose({step.fanout}): more than the native engine can number")
        self.fanout = step.fanout
        before, head, latch = self.label, f"head{step.pc}", f"latch{step.pc}"
        self.latch = (latch, [])
        self.out = f"%out{step.pc}"
        self.jump(head)
        self.start(head)
        self.lines += [
            f"  %choice{step.pc} = phi i64 [0, %{before}], [%more{step.pc}, %{latch}]",
            f"  {self.out} = phi ptr [%o, %{before}], [%end{step.pc}, %{latch}]",
        ]
        self.pc = step.pc
        self.enter(step)
        came = ", ".join(f"[{text}, %{label}]" for text, label in self.latch[1])
        self.start(latch)
        self.lines += [
            f"  %end{step.pc} = phi ptr {came}",
            f"  %more{step.pc} = add i64 %choice{step.pc}, 1",
            f"  %again{step.pc} = icmp ult i64 %more{step.pc}, {step.fanout}",
            f"  br i1 %again{step.pc}, label %{head}, label %enough{step.pc}",
        ]
        self.start(f"enough{step.pc}")
        self.lines.append(f"  ret ptr %end{step.pc}")

    def chosen(self) -> Value:
        if self.fanout == 1:
            return Value("0", 0, 0)
        return Value(f"%choice{self.pc}", 0, self.fanout - 1)

    def leave(self, fail: int) -> None:
        if fail < 0:
            self.end(self.out)
        else:
            self.record(self.state, fail)

    def record(self, words: list[str], fail: int = -1) -> None:
        """Append a record and end the path."""
        written = 0
        for number, (text, before) in enumerate(zip(words, self.state, strict=True)):
            if text != before or (self.ts.order and fail < 0):
                written |= 1 << number
                at = self.op(f"getelementptr i64, ptr {self.out}, i64 {number}")
                self.lines.append(f"  store i64 {text}, ptr {at}")
        if self.ts.order and fail < 0:
            self.lines.append(f"  call void @order(ptr {self.out})")
        label = str(tag(self.number, 0, fail))
        if self.fanout > 1:
            label = self.op(f"or i64 %choice{self.pc}, {label}")
        for number, text in ((self.ts.words, label), (self.ts.words + 1, str(written))):
            at = self.op(f"getelementptr i64, ptr {self.out}, i64 {number}")
            self.lines.append(f"  store i64 {text}, ptr {at}")
        self.end(self.op(f"getelementptr i64, ptr {self.out}, i64 {self.ts.words + 2}"))

    def end(self, out: str) -> None:
        if self.latch is None:
            self.lines.append(f"  ret ptr {out}")
        else:
            self.jump(self.latch[0])
            self.latch[1].append((out, self.label))

    def goto(self, pc: int) -> None:
        """Pack the pc and the locals that the next step needs; the rest of the piece is zero."""
        own = self.task.own
        word = own.word
        text = self.op(f"and i64 {self.words[word]}, {~(own.mask << own.shift)}")
        if pc:
            text = self.op(f"or i64 {text}, {pc << self.task.pc.shift}")
            for name in self.task.steps[pc - 1].live:
                text = self.op(f"or i64 {text}, {self.packed(name, self.task.locals[name])}")
        self.words[word] = text
        self.record(self.words)

    def packed(self, name: str, slot: Slot) -> str:
        value = self.locals.get(name, Value("0", 0, 0)).text
        if slot.low:
            value = self.op(f"sub i64 {value}, {slot.low}")
        return self.op(f"shl i64 {value}, {slot.shift}") if slot.shift else value


class CheckFunction(Function):
    """<name>(state) -> the number with which a body fails, FINE or FAULTY."""

    def text(self, body: list[Effect]) -> list[str]:
        self.begin(f"define internal i64 @{self.name}(ptr noalias readonly %s) {{")
        if self.body(body):
            self.goto(0)
        if self.faults:
            self.lines += ["fault:", f"  ret i64 {FAULTY}"]
        return [*self.lines, "}"]

    def goto(self, pc: int) -> None:
        self.lines.append(f"  ret i64 {FINE}")

    def leave(self, fail: int) -> None:
        self.lines.append(f"  ret i64 {fail if fail >= 0 else FINE}")


class OrderFunction(Function):
    """order(state): what is done to each new state, in its place."""

    def text(self) -> list[str]:
        self.begin("define internal void @order(ptr noalias %s) {")
        self.body(self.ts.order)
        for number, text in enumerate(self.words):
            at = self.op(f"getelementptr i64, ptr %s, i64 {number}")
            self.lines.append(f"  store i64 {text}, ptr {at}")
        self.lines.append("  ret void")
        if self.faults:
            self.lines += ["fault:", "  ret void"]
        return [*self.lines, "}"]


def lost_function(ts: TransitionSystem) -> list[str]:
    """lost(state) -> LOST_WAKEUP where a sleeper has lost its wake-up, else DEADLOCK; or FAULTY."""
    f = Function(ts, "lost")
    f.begin("define internal i64 @lost(ptr noalias readonly %s) {")
    for task in ts.tasks:
        sleeps = [s for s in task.steps if s.lost is not None]
        after = f.new_label()
        if sleeps:
            labels = [f.new_label() for _ in sleeps]
            pc = f.wide(f.field(task.pc))
            cases = " ".join(f"i64 {s.pc}, label %{at}" for s, at in zip(sleeps, labels, strict=True))
            f.lines.append(f"  switch i64 {pc}, label %{after} [{cases}]")
            for step, label in zip(sleeps, labels, strict=True):
                f.start(label)
                f.locals = {name: f.field(task.locals[name]) for name in step.live}
                assert step.lost is not None
                f.branch(f.truth(f.expr(step.lost)), "gone", after)
        else:
            f.jump(after)
        f.start(after)
    f.lines += [f"  ret i64 {DEADLOCK}", "gone:", f"  ret i64 {LOST_WAKEUP}"]
    if f.faults:
        f.lines += ["fault:", f"  ret i64 {FAULTY}"]
    return [*f.lines, "}"]


def finished(f: Function) -> str:
    """The i1 that tells whether every task but the actors has come to its end."""
    masks: dict[int, int] = {}
    for task in f.ts.tasks:
        if not task.actor:
            masks[task.pc.word] = masks.get(task.pc.word, 0) | task.pc.mask << task.pc.shift
    left = "0"
    for word, mask in masks.items():
        left = f.op(f"or i64 {left}, {f.op(f'and i64 {f.words[word]}, {mask}')}")
    return f.op(f"icmp eq i64 {left}, 0")


def expand_function(ts: TransitionSystem) -> list[str]:
    f = Function(ts, "expand")
    f.begin("define i64 @expand(ptr noalias readonly %s, ptr noalias %o) {")
    over = f.op(f"select i1 {finished(f)}, i64 {FINISHED}, i64 0")
    if ts.alone:
        one_task(f, over)
    out = "%o"
    for number in range(len(ts.tasks)):
        out = f.op(f"call ptr @task{number}(ptr %s, ptr {out})")
    counted(f, out, over)
    return [*f.lines, "}"]


def one_task(f: Function, over: str) -> None:
    """Return the steps of one task, where they are enough and it has any."""
    labels = [f.new_label() for _ in f.ts.tasks]
    join = f.new_label()
    task = f.op("call i64 @alone(ptr %s)")
    cases = " ".join(f"i64 {n}, label %{at}" for n, at in enumerate(labels))
    f.lines.append(f"  switch i64 {task}, label %{join} [{cases}]")
    for number, label in enumerate(labels):
        f.start(label)
        out = f.op(f"call ptr @task{number}(ptr %s, ptr %o)")
        some = f.new_label()
        f.branch(f.op(f"icmp ne ptr {out}, %o"), some, join)
        f.start(some)
        counted(f, out, over)
    f.start(join)


def counted(f: Function, out: str, over: str) -> None:
    """Return how many records there are up to `out`."""
    first, last = (f.op(f"ptrtoint ptr {p} to i64") for p in ("%o", out))
    count = f.op(f"udiv exact i64 {f.op(f'sub i64 {last}, {first}')}, {8 * (f.ts.words + 2)}")
    f.lines.append(f"  ret i64 {f.op(f'or i64 {count}, {over}')}")


def stuck_function(ts: TransitionSystem) -> list[str]:
    f = Function(ts, "stuck")
    f.begin("define i64 @stuck(ptr noalias readonly %s) {")
    f.branch(finished(f), "over", "waiting")
    for label, name in (("over", "rest"), ("waiting", "lost")):
        f.start(label)
        f.lines.append(f"  ret i64 {f.op(f'call i64 @{name}(ptr %s)')}")
    return [*f.lines, "}"]
