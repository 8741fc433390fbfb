"""Mutants: what is changed, that the switch does what the change does, and what of it is noticed."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

import survivors
import toys
from zonedev import catalogue as catalogues
from zonedev.catalogue import Catalogue
from zonedev.cli import main
from zonedev.explore.check import HOLDS, check, select, set_up
from zonedev.explore.matrix import Loader
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import Limits, Question
from zonedev.lang.errors import ZonedevError
from zonedev.lang.transition import lower
from zonedev.mutate import campaign, runs, trial
from zonedev.mutate.campaign import HARMLESS, KILLED, SURVIVED, UNREACHED, Outcome
from zonedev.mutate.harmless import only_longer
from zonedev.mutate.mutants import SKIP, SWAP, mutants_of
from zonedev.mutate.patched import patched
from zonedev.report import mutants
from zonedev.scenarios.base import full_scope

LIMITS = Limits(states=20_000)
Outcomes = dict[str, Outcome]
Found = tuple[int, int, int, str | int | None, str | None]
Capture = pytest.CaptureFixture[str]


class Cautious(toys.ToyNew):
    """Does something that nobody asks for."""

    name = "toy-3"

    def unpin(k, dev: toys.Device, page: toys.Page) -> None:
        """Clean the page, then drop a pin."""
        page.dirty = False
        k.put_page(dev, page)


def toy() -> Catalogue:
    plain = toys.catalogue()
    return replace(plain, designs={**plain.designs, "toy-3": Cautious})


def some_of_linux() -> Catalogue:
    """The catalogue with few scenarios."""
    known = catalogues.load()
    names = ("gup-pmd-recheck", "p2pdma-unbind-vs-user", "devdax-gup-fast-vs-munmap")
    return replace(known, scenarios={n: known.scenarios[n] for n in names})


def run(function: str = "", design: str = "toy-2", load: Loader = toy, **how: Any) -> Outcomes:
    found = campaign.run(load, design, [function] if function else [], **{"most": 5_000, "jobs": 1, **how})
    return {o.mutant.name: o for o in found.outcomes}


def outcome_of(outcomes: Outcomes, text: str, kind: str) -> Outcome:
    """The outcome of the one mutant with a source and a kind."""
    (found,) = (o for o in outcomes.values() if o.mutant.change.text == text and o.mutant.kind == kind)
    return found


# --- the switch --------------------------------------------------------------------------------


def by_switch(known: Catalogue, scenario: str, design: str) -> dict[int, Found]:
    """Of each mutant that a scenario can meet: the counts and the rule, from one lowered system."""
    every = mutants_of(known.design(design))
    bench = trial.Bench(known, known.scenario(scenario), known.design(design), every)
    found = {}
    for number in sorted(bench.switches.steps - set(bench.switches.refused)):
        bench.turn(number)
        found[number] = explored(bench.engine, bench.selection.question)
    return found


def by_itself(known: Catalogue, scenario: str, design: str, number: int) -> Found | None:
    """The same of one mutant, from its own source; None where that does not lower."""
    specification = known.design(design)
    story, mutant = known.scenario(scenario), mutants_of(specification)[number - 1]
    asked = select(story, known.rules)
    try:
        system = set_up(story, patched(specification, mutant), full_scope(story, {}), asked.monitors)
        ts = lower(system, asked.names)
    except ZonedevError:
        return None
    return explored(PythonEngine(ts), asked.question)


def explored(engine: PythonEngine, question: Question) -> Found:
    found = engine.explore(question, LIMITS)
    ending = found.ending
    rule = engine.ts.fails[ending][0] if ending is not None and ending >= 0 else ending
    return found.states, found.transitions, found.depth, rule, found.stopped


@pytest.mark.parametrize("design", ["toy-1", "toy-2"])
@pytest.mark.parametrize("scenario", ["toy-unbind-vs-pin", "toy-locks"])
def test_every_mutant_of_the_toys_is_by_the_switch_what_it_is_by_itself(scenario: str, design: str) -> None:
    known = toy()
    found = by_switch(known, scenario, design)
    assert found
    for number, by_the_switch in found.items():
        alone = by_itself(known, scenario, design, number)
        assert alone in (None, by_the_switch), mutants_of(known.design(design))[number - 1]


@pytest.mark.parametrize("scenario", ["devdax-gup-fast-vs-munmap", "migrate-vs-munmap", "evict-vs-own-pin"])
def test_mutants_of_linux_are_by_the_switch_what_they_are_by_themselves(scenario: str) -> None:
    known = catalogues.load()
    found = by_switch(known, scenario, "linux-6.15")
    compared = 0
    for number in random.Random(scenario).sample(sorted(found), 4):
        alone = by_itself(known, scenario, "linux-6.15", number)
        if alone is not None:
            compared += 1
            assert alone == found[number], mutants_of(known.design("linux-6.15"))[number - 1]
    assert compared > 2


def test_a_part_of_a_condition_is_a_mutant_without_the_whole() -> None:
    """Also where the condition is assigned, and nobody is left who changes it as a whole."""
    known = catalogues.load()
    design = known.design("linux-6.15")
    (part,) = (
        m
        for m in mutants_of(design)
        if (m.function.__name__, m.change.text) == ("evict_inodes", "not inode.freeing")
    )
    bench = trial.Bench(known, known.scenario("close-vs-removal"), design, [part])
    assert bench.switches.steps == {part.number}
    bench.turn(part.number)
    assert bench.judged(LIMITS).rule == "kernel-asserts"


def test_with_no_mutant_switched_on_it_is_the_original() -> None:
    known = toy()
    story, design = known.scenario("toy-unbind-vs-pin"), known.design("toy-2")
    bench = trial.Bench(known, story, design, mutants_of(design))
    bench.turn(0)
    assert bench.judged(LIMITS).verdict == HOLDS
    assert len(bench.engine.states) == check(story, design, known=known.rules).states


def test_a_mutant_does_not_change_what_is_set_up() -> None:
    known = catalogues.load()
    design: Any = known.design("linux-6.15")
    fault = next(m for m in mutants_of(design) if m.function.__name__ == "do_user_addr_fault")
    found: Any = patched(design, fault)
    assert found.do_user_addr_fault is design.do_user_addr_fault
    assert found.once_set_up is not None
    assert found.once_set_up.do_user_addr_fault is not design.do_user_addr_fault


# --- what is noticed ---------------------------------------------------------------------------


def test_a_step_that_is_needed_is_found_with_the_rule_that_breaks() -> None:
    outcomes = run("drain")
    wait = outcome_of(outcomes, "wait_for_completion(dev.done)", "drop")
    assert (wait.state, wait.killer) == (KILLED, "toy-unbind-vs-pin")
    assert wait.found is not None
    assert wait.found.rule == "page-lifetime"
    seen = check(
        toys.ToyUnbindVsPin, toy().design(f"toy-2~{wait.mutant.name}"), known=toy().rules
    )  # as one would look at it
    assert (seen.rule, len(seen.trace)) == (wait.found.rule, wait.found.steps)


def test_a_step_that_nothing_needs_is_found() -> None:
    outcomes = run("unpin", "toy-3")
    clean = outcome_of(outcomes, "page.dirty = False", "drop")
    assert clean.state == SURVIVED
    assert "toy-unbind-vs-pin" in clean.asked
    needed = run("unpin")  # without that step in it
    assert outcome_of(needed, "k.put_page(dev, page)", "drop").state == KILLED


def test_an_atomic_operation_that_is_split_loses_an_update() -> None:
    found = outcome_of(run("put_page"), "atomic_dec_and_test(page._refcount)", "weaken")
    assert found.mutant.words == "not atomic"
    assert found.state == KILLED


def test_what_no_scenario_comes_to_is_no_survivor() -> None:
    outcomes = run("migrate")  # of a scenario that this catalogue does not have
    assert {o.state for o in outcomes.values()} == {UNREACHED}


def test_lines_of_linux_that_are_known_to_be_needed() -> None:
    outcomes = run("memunmap_pages", "linux-6.15", some_of_linux)
    wait = outcome_of(outcomes, "wait_for_completion(pgmap.ref.done)", "drop")
    assert wait.state == KILLED
    assert wait.found is not None
    assert wait.found.rule == "page-lifetime"


def test_the_second_look_of_a_lockless_walk_is_needed() -> None:
    outcomes = run("gup_fast_pte_range", "linux-6.15", some_of_linux)
    looks = [o for o in outcomes.values() if "!= pte" in o.mutant.change.text and o.mutant.kind == "never"]
    assert looks
    assert all(o.state == KILLED for o in looks)


def test_the_outcome_is_the_same_with_two_processes() -> None:
    def told(jobs: int) -> list[Any]:
        return [(o.mutant.name, o.state, o.killer, o.found, o.asked) for o in run(jobs=jobs).values()]

    assert told(1) == told(2)


def test_asserts_are_no_mutants() -> None:
    texts = {m.change.text for m in mutants_of(catalogues.load().design("linux-6.15"))}
    assert not any(text.startswith(("WARN_ON(", "BUG_ON(", "ensure(")) for text in texts)


def test_only_plain_neighbours_are_swapped_and_only_calls_are_skipped() -> None:
    for mutant in mutants_of(catalogues.load().design("linux-6.15")):
        if mutant.kind == SWAP:
            assert "return" not in mutant.change.text
        if mutant.kind == SKIP:
            assert "(" in mutant.change.text


# --- the command line --------------------------------------------------------------------------


def ran(*args: str) -> int:
    return main(list(args), load=toy)


def test_explain_prints_every_line_with_what_needs_it(capsys: Capture) -> None:
    assert ran("explain", "unpin", "--design", "toy-3") == 0
    out = capsys.readouterr().out
    assert "page.dirty = False" in out
    assert "left out: nothing in the catalogue needs it" in out
    assert "needed by" in out
    assert "zonedev check toy-unbind-vs-pin --design toy-3~unpin." in out
    assert all(len(line) <= 80 and line.isascii() for line in out.splitlines())


def test_mutate_counts_all_functions(capsys: Capture) -> None:
    assert ran("mutate", "--design", "toy-3", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    states = [m["state"] for m in found["mutants"]]
    assert found["killed"] == states.count("killed") > 0
    assert found["counted"] == found["killed"] + states.count("survived") + states.count("open")
    assert ran("mutate", "--design", "toy-3") == 0
    out = capsys.readouterr().out
    assert f"{found['killed']} of {found['counted']} mutants killed" in out
    assert "page.dirty = False: left out" in out


def test_a_time_limit_leaves_questions_open(capsys: Capture) -> None:
    assert ran("explain", "unpin", "--max-seconds", "0.001") == 3
    assert "stopped before every scenario was asked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["explain", "unpinn"], "did you mean unpin"),
        (["explain", "unpin", "--design", "toy-9"], "no design 'toy-9'"),
        (["check", "toy-locks", "--design", "toy-2~unpinn.1"], "did you mean unpin"),
        (["check", "toy-locks", "--design", "toy-2~unpin.99"], "zonedev explain unpin"),
        (["check", "toy-locks", "--design", "toy-2~"], "no function ''"),
    ],
)
def test_what_does_not_exist_is_said_in_one_line(capsys: Capture, args: list[str], said: str) -> None:
    assert ran(*args) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


# --- single runs ---------------------------------------------------------------------------------


def by_runs(function: str, text: str, kind: str) -> tuple[str, trial.Judgement] | None:
    """What the single runs say of one mutant of linux-6.15."""
    design = catalogues.load().design("linux-6.15")
    (number,) = (
        m.number
        for m in mutants_of(design)
        if m.function.__name__ == function and m.change.text == text and m.kind == kind
    )
    return runs.difference(with_stories, "linux-6.15", number)


CASES = ("hmm-anon-write", "hmm-anon-read", "hmm-migrate-shared")


def with_stories() -> Catalogue:
    """The catalogue with few scenarios and one suite's cases."""
    known = catalogues.load()
    names = ("truncate-vs-pin", "fsdax-refcounts", "p2pdma-unbind-vs-user", "exclusive-vs-fork")
    cases = tuple(c for c in known.suites["hmm-tests"] if c.name() in CASES)
    return replace(
        known,
        scenarios={n: known.scenarios[n] for n in names},
        suites={"hmm-tests": cases},
    )


def test_a_call_that_does_nothing_is_another_answer_than_that_of_real_kernels() -> None:
    found = by_runs("ftruncate", "k.ext4_setattr(inode, size)", "drop")
    assert found is not None
    name, judged = found
    assert name.startswith("truncate-vs-pin (")
    assert judged.verdict == trial.DIFFERS
    assert "ftruncate" in judged.why
    assert "instead of" in judged.why


def test_the_cases_of_a_suite_are_asked() -> None:
    found = by_runs("hmm_vma_walk_pte", "k.hmm_vma_fault(vma, va, write)", "drop")
    assert found is not None
    assert found[0].startswith("hmm-anon-")


def test_what_a_line_only_saves_is_counted() -> None:
    """Without the condition whoever ends a collection flushes, also where nothing was cleared."""
    found = by_runs("tlb_flush_mmu_tlbonly", "current().gather_range", "always")
    assert found is not None
    name, judged = found
    assert name == "hmm-migrate-shared"
    assert judged.why == "TLB flushes: 1, instead of: TLB flushes: 0"


def test_the_original_is_what_its_runs_say() -> None:
    known = with_stories()
    design = known.design("linux-6.15")
    for run in runs.originals(with_stories, "linux-6.15"):
        assert runs.told(known, run, design) == (run.says, run.steps)
        assert runs.judgement(known, run, design) is None


# --- what is proved harmless ---------------------------------------------------------------------


def test_longer_critical_sections_are_no_survivors_and_nothing_kills_them() -> None:
    swap = outcome_of(run("lock_both"), "unlock(b.lock)", SWAP)
    assert swap.harmless
    assert swap.state == HARMLESS


def test_what_waits_or_frees_makes_no_harmless_swap() -> None:
    design = catalogues.load().design("linux-6.15")
    found = {m.name for m in mutants_of(design) if only_longer(design, m)}
    texts = {m.change.text: m for m in mutants_of(design) if m.function.__name__ == "unlink_anon_vmas"}
    assert texts["up_write(vma.anon_vma.rwsem)"].name not in found  # the next step may free the lock
    assert any(name.startswith("dax_unlock_entry.") for name in found)


# --- who survives --------------------------------------------------------------------------------


def memory_failure_only() -> Catalogue:
    """The scenarios and the cases that memory_failure() is in."""
    known = catalogues.load()
    names = ("memory-failure-vs-truncate", "memory-failure-vs-fault")
    cases = tuple(c for c in known.suites["dax-tests"] if c.name().startswith("dax-poison"))
    return replace(known, scenarios={n: known.scenarios[n] for n in names}, suites={"dax-tests": cases})


def left(found: campaign.Campaign) -> set[survivors.Key]:
    told = [mutants.mutant_object(found, o) for o in found.outcomes]
    return {survivors.key(m) for m in told if m["state"] in survivors.LEFT}


def test_who_survives_of_memory_failure_is_in_the_list() -> None:
    functions = ("mf_generic_kill_procs", "unmap_mapping_of", "dax_lock_folio", "dax_lock_entry_of")
    found = campaign.run(memory_failure_only, "linux-6.15", functions, most=30_000, jobs=1)
    assert left(found) == {k for k in survivors.listed() if k[0] in functions}
    assert left(found)


def test_who_survives_of_all_is_in_the_list(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("whole"):
        pytest.skip("a whole campaign: with --whole")
    found = campaign.run(catalogues.load, "linux-6.15", most=30_000)
    assert left(found) == survivors.listed().keys()


def test_every_survivor_in_the_list_is_a_mutant() -> None:
    known = {
        (m.function.__name__, m.kind, " ".join(m.change.text.split()))
        for m in mutants_of(catalogues.load().design("linux-6.15"))
    }
    assert survivors.listed().keys() <= known
