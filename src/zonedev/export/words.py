"""The comments of exported models."""

from __future__ import annotations

import textwrap

from zonedev.explore.trace import short_path, shorten
from zonedev.export.model import Model
from zonedev.lang.source import text_at
from zonedev.lang.transition import Step

WIDTH = 100


def about(title: str, how: str, model: Model) -> list[str]:
    """What the model is, and how its states compare."""
    stuck = (
        "a state without steps where some task has not finished is a deadlock"
        if model.stuck
        else "a state without steps is no error: check without a search for deadlocks"
    )
    text = (
        f"{title}. Written by zonedev export. Each task has a program counter, 0 at its end, and keeps "
        f"the locals that its next step needs in registers, which are 0 where they are not needed. "
        f"When all tasks but actors have finished, the checks at rest are made; {stuck}."
    )
    return [*textwrap.wrap(text, WIDTH - 3), how]


def broken_rules(model: Model) -> list[str]:
    """The names by which rules are broken, each with what that means."""
    return [f"{rule}_{n}: {shorten(text)}" for n, (rule, text) in enumerate(model.ts.fails)]


def headline(step: Step, task: str) -> str:
    """Where a step stands: task, function, file and line."""
    place = step.place
    return f"{task} {step.pc}: {place.function}, {short_path(place.file)}:{place.line}"


def statement(step: Step) -> str:
    """The line of the specification, safe inside any comment."""
    text = text_at(step.place.file, step.place.line, step.place.end)
    return text.replace("/*", "/ *").replace("*/", "* /").replace("(*", "( *").replace("*)", "* )")
