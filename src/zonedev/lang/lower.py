"""Lowering: from kernel functions to a control-flow graph of atomic steps.

An abstract interpreter walks each task's program.  What set-up has fixed (objects,
constants, the design) is evaluated; what depends on the state becomes expressions
over shared locations and locals.  Calls are inlined, methods resolved through the
design's class.  Each call is walked again until that teaches nothing new of its locals,
and copied where another is like it.

The interpreter is one class in layers, a module each: `graph` (nodes and control
flow), `variables` (locals), `access` (shared locations), `conditions`, `expressions`,
`builtin`, `inline`, `calls`, `words` (when, choose, ensure) and `statements`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType

from zonedev.lang.graph import Node
from zonedev.lang.records import Kind, Record
from zonedev.lang.source import function_ast
from zonedev.lang.statements import Statements
from zonedev.lang.system import Program, System
from zonedev.lang.values import Static, Value
from zonedev.lang.variables import Fails


class Lowering(Statements):
    """The walk of one program."""

    def program(self, program: Program) -> None:
        function = program.function
        watched = getattr(function, "watches", None)
        args: list[Value] = [Static(a) for a in program.args]
        definition = function_ast(watched[0] if watched else function)
        if watched:
            self.call_watched(watched, args, {}, None, definition)
        elif isinstance(function, MethodType):
            assert isinstance(function.__func__, FunctionType)
            self.inline(function.__func__, [Static(function.__self__), *args], {}, None, definition)
        else:
            assert isinstance(function, FunctionType)
            self.inline(function, args, {}, None, definition)

    def made(self, entry: Node) -> Node:
        """The graph that was made, by its first node."""
        return entry


#: Makes what walks a task's program.
Walker = Callable[[System, Record | None, Fails], Lowering]


def lower_program(
    system: System, program: Program, fails: Fails, walker: Walker = Lowering
) -> tuple[Node, dict[str, Kind], frozenset[str]]:
    """The graph of a task's program, the kinds of its locals, and those that hold what a step has read."""
    lowering = walker(system, program.task, fails)
    entry, kinds = graph(lowering, lambda lowering: lowering.program(program))
    return entry, kinds, frozenset(lowering.loads)


def lower_checks(system: System, fails: Fails) -> tuple[Node, dict[str, Kind]]:
    """The graph of the rules' checks of the state at rest, which has no steps."""

    def checks(lowering: Lowering) -> None:
        with lowering.inside("ghost"):
            for monitor in system.monitors:
                if monitor.after is None:
                    lowering.monitor(monitor, {}, None, function_ast(monitor.check))

    return graph(Lowering(system, system.tasks[0] if system.tasks else None, fails), checks)


def graph(lowering: Lowering, walk: Callable[[Lowering], None]) -> tuple[Node, dict[str, Kind]]:
    """What a walk makes: its first node, and the kinds of its locals."""
    entry = lowering.current
    assert entry is not None
    with lowering.reachable():
        walk(lowering)
    lowering.finish(("end",))
    return lowering.made(entry), lowering.kinds()


__all__ = ["Fails", "Lowering", "Walker", "lower_checks", "lower_program"]
