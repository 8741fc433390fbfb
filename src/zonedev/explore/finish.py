"""Who can never finish, or goes round for ever: the words for a broken progress rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zonedev.explore.fair import Livelock, Move, Path, after
from zonedev.explore.pygen import PythonSteps, State
from zonedev.explore.runner import Runner
from zonedev.explore.trace import TraceStep, shared_calls

#: How far such a state is followed to a loop.
FOLLOW_ROUND = 5_000
#: How far a state that cannot finish is explored to say which tasks are at fault.
FOLLOW = 20_000


def no_finish_text(runner: Runner, path: Iterable[tuple[int, int]], trace: list[TraceStep]) -> str:
    """Which tasks can never finish from the end of `path` on."""
    state: State = runner.ts.initial()
    for task, choice in path:
        (state,) = (s for t, c, s in successors(runner.code, state) if (t, c) == (task, choice))
    able, complete = finishers(runner, state)
    names = [t.name for t in runner.ts.tasks if not t.actor]
    stuck = [n for n in names if n not in able]
    if not complete:
        return "from here on, some task can never finish"
    if not stuck:
        return f"from here on, {' and '.join(names)} can never all finish"
    where = {s.task: s for s in trace}
    parts = [f"{n} (last in {where[n].function}, {where[n].source})" if n in where else n for n in stuck]
    return f"from here on, {' and '.join(parts)} can never finish"


def going_round(runner: Runner, path: Path) -> tuple[Path, int] | None:
    """Where who can never finish goes round for ever: `path` continued to such a loop and once round
    it, and the number of steps before it; None where they wait, or too many states follow."""

    def expand(state: State) -> list[Move]:
        return successors(runner.code, state)

    start = after(expand, runner.ts.initial(), path)
    came: dict[State, Path] = {start: path}
    moves: dict[State, list[Move]] = {}
    for state in (todo := [start]):
        moves[state] = expand(state)
        for task, choice, new in moves[state]:
            if new not in came:
                came[new] = [*came[state], (task, choice)]
                todo.append(new)
        if len(todo) > FOLLOW_ROUND:
            return None
    loops = Livelock(moves, lambda state: len(came[state]), lambda: None)
    if not loops.states:
        return None
    return loops.lasso(expand, runner.ts.initial(), came[loops.states[0]])


def livelock_text(trace: Sequence[TraceStep], loop: int, waiting: str) -> str:
    """Who goes round for ever from step `loop` on, and in which function each; `waiting`: who waits."""
    again = trace[loop - 1 :]
    calls: dict[str, Sequence[str]] = {}
    for step in again:
        calls[step.task] = shared_calls(calls.get(step.task, step.calls), step.calls)
    names = sorted(calls)
    go = "goes" if len(names) == 1 else "go"
    steps = f"step {loop} repeats" if len(again) == 1 else f"steps {loop} to {loop + len(again) - 1} repeat"
    functions = {n: calls[n][-1] if calls[n] else "?" for n in names}
    where = "; ".join(f"{n} in {f}" for n, f in functions.items())
    if len(set(functions.values())) == 1:
        where = f"in {functions[names[0]]}"
    text = f"{' and '.join(names)} {go} round for ever: {steps} ({where})"
    return f"{text}; {waiting}" if waiting else text


def successors(code: PythonSteps, state: State) -> list[tuple[int, int, State]]:
    """The steps from a state that break no rule."""
    found = []
    for task, (word, shift, mask) in enumerate(code.pcs):
        function, fanout = code.steps[task][state[word] >> shift & mask]
        for choice in range(fanout):
            outcome = function(*state) if fanout == 1 else function(*state, choice)
            if isinstance(outcome, tuple):
                found.append((task, choice, outcome))
    return found


def finishers(runner: Runner, start: State) -> tuple[set[str], bool]:
    """The tasks that can come to their end from `start`, and whether all states were seen."""
    seen, todo, able = {start}, [start], set[str]()
    while todo and len(seen) < FOLLOW:
        state = todo.pop()
        able.update(runner.ts.tasks[n].name for n, pc in enumerate(runner.ts.pcs(state)) if pc == 0)
        for _, _, new in successors(runner.code, state):
            if new not in seen:
                seen.add(new)
                todo.append(new)
    return able, not todo
