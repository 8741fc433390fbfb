"""A transition system in the languages of other checkers, so that nobody has to believe this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zonedev.explore.result import Question
from zonedev.export import murphi, processes, promela, tla
from zonedev.export.model import Model
from zonedev.lang.errors import SpecError
from zonedev.lang.transition import TransitionSystem


@dataclass(frozen=True)
class Language:
    """A language to export to: the suffix of its files, and who writes it, by style."""

    suffix: str
    styles: Mapping[str, Callable[[Model, str], str]]


LANGUAGES: Mapping[str, Language] = {
    "promela": Language("pml", {"loop": promela.written, "processes": processes.written}),
    "tla": Language("tla", {"loop": tla.written}),
    "murphi": Language("m", {"loop": murphi.written}),
}


def exported(ts: TransitionSystem, question: Question, language: str, title: str, style: str = "loop") -> str:
    """The text of `ts` in a language and a style of LANGUAGES; SpecError for what has no such text.

    Of `question`, whether states without steps are wrong is kept; progress is not asked for.
    """
    sleeps = any(step.lost is not None for task in ts.tasks for step in task.steps)
    if sleeps and question.deadlock != question.lost_wakeup:
        raise SpecError("it checks one of no-deadlock and no-lost-wakeup, which others do not tell apart")
    return LANGUAGES[language].styles[style](Model(ts, question.deadlock), title)
