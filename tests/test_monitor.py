"""The life of a page as an automaton: what rvgen reads, and that it is deterministic."""

from __future__ import annotations

import json
import re
from itertools import product

import pytest

from zonedev import catalogue
from zonedev.cli import main
from zonedev.report.life import CONDITIONS, Life, Stage, lives, wrong
from zonedev.report.monitor import event, monitor, name

FILES = ("evict-vs-pin", "truncate-vs-pin", "punch-vs-pin")


def every_stage() -> list[Stage]:
    found: list[Stage] = [("idle",), ("free",), ("removed",)]
    for n in range(1, 1 << len(CONDITIONS)):
        stage = tuple(c for at, c in enumerate(CONDITIONS) if n >> at & 1)
        found += [stage, ("free", *stage), ("removed", *stage)]
    return found


def test_an_event_leads_from_a_stage_to_one_other() -> None:
    stages = every_stage()
    for a in stages:
        events = [event(a, b) for b in stages if b != a]
        assert len(set(events)) == len(events)
        assert all(re.fullmatch(r"[a-z_]+", e) for e in events)


def test_names_are_identifiers_and_no_two_are_the_same() -> None:
    names = [name(s) for s in every_stage()]
    assert len(set(names)) == len(names)
    assert all(n.isidentifier() for n in names)


def automaton(text: str) -> tuple[str, set[str], dict[tuple[str, str], str]]:
    """Initial state, states and transitions, read line by line as rvgen does: the nodes first, without a gap,
    then a line for the initial state, and then transitions and labels up to the first other line."""
    lines = text.splitlines()
    assert lines[0].split()[:2] == ["digraph", "state_automaton"]
    first = next(n for n, line in enumerate(lines) if line.split()[0] == "{node")
    last = next(n for n in range(first, len(lines)) if lines[n].split()[0] != "{node")
    nodes = [re.sub(r'["};,]', "", line.split()[-1]) for line in lines[first:last]]
    (initial,) = (n.removeprefix("__init_") for n in nodes if n.startswith("__init_"))
    assert "doublecircle" in lines[last - 1]
    moves: dict[tuple[str, str], str] = {}
    for line in (text.lstrip() for text in lines[last + 1 :]):
        if not line.startswith('"'):
            break
        parts = line.split()
        if parts[1] == "->":
            a, b = (p.strip('"') for p in (parts[0], parts[2]))
            label = "".join(parts[parts.index("label") + 2 : -1]).strip('"')
            assert (a, label) not in moves, "rvgen would forget the first"
            moves[a, label] = b
    return initial, {n for n in nodes if not n.startswith("__init_")}, moves


def life_of(design: str) -> Life:
    (found,) = lives(catalogue.load, design, FILES)
    return found


def test_the_automaton_has_the_stages_and_arrows_of_the_life() -> None:
    life = life_of("linux-6.15")
    initial, states, moves = automaton(monitor(life))
    assert initial == "free"
    assert states == {name(s) for s in life.counts if not wrong(life.kind, s)}
    kept = [(a, b) for a, b in life.arrows if not (wrong(life.kind, a) or wrong(life.kind, b))]
    assert {(a, b) for (a, _), b in moves.items()} == {(name(a), name(b)) for a, b in kept}


@pytest.mark.parametrize(("design", "allowed"), [("linux-6.1", False), ("linux-6.15", True)])
def test_it_tells_designs_apart(design: str, allowed: bool) -> None:
    """Eviction waits for a pinned page since v6.15; before, it freed it, which no monitor allows."""
    (life,) = lives(catalogue.load, design, ("evict-vs-pin",))
    _, _, moves = automaton(monitor(life))
    assert (("pinned", "wait") in moves) is allowed
    assert ("pinned", "free") not in moves


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["life", *FILES, "--design", "linux-6.15"]
    assert main([*asked, "--format", "rv"]) == 0
    assert automaton(capsys.readouterr().out)[0] == "free"
    assert main([*asked, "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["lives"]
    assert {tuple(s["stage"]) for s in told["stages"]} == life_of("linux-6.15").counts.keys()
    assert main(asked) == 0
    text = capsys.readouterr().out
    assert "pinned -> pinned + waited for: " in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_what_cannot_be_told_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["life", "evict-vs-pin", "--kind", "p2pdma"]) == 1
    assert "no scenario has such a page" in capsys.readouterr().err
    assert main(["life", "evict-vs-pin", "devdax-refcounts", "--format", "rv"]) == 1
    assert "--format rv is for one kind of page: add --kind, one of devdax, fsdax" in capsys.readouterr().err
    assert main(["life", "--design", "linux-9"]) == 1


def test_the_owner_decides_what_a_change_is_called() -> None:
    told = {event(a, b) for a, b in product([("free",), ("idle",), ("removed",)], repeat=2) if a != b}
    assert {"alloc", "free", "remove"} <= told
    assert event(("mapped",), ("pinned",)) == "unmap_pin"
