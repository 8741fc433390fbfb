"""One search spread over a Ray cluster: each partition of the states has a process of its own.

The driver here leads the search from level to level, as that of the native engine does, whose
counts, verdicts and paths are the same.  It has none of the states.  What partitions send each
other goes from one to the other.
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from typing import Any

from zonedev.explore import llvmgen
from zonedev.explore import native_kernels as k
from zonedev.explore.cache import Cache
from zonedev.explore.cluster_back import FarLoops, FarTrace, cannot_finish
from zonedev.explore.native import NativeEngine
from zonedev.explore.native_checkpoint import Checkpoint
from zonedev.explore.native_loops import Loops
from zonedev.explore.native_search import Search, wanted
from zonedev.explore.native_shortest import Fails, Place, Trace
from zonedev.explore.on import connect
from zonedev.explore.partition import Model, Partition, Standing
from zonedev.explore.partition_back import Back
from zonedev.explore.result import Exploration, Limits, Question, Report, Stop
from zonedev.lang.errors import ZonedevError
from zonedev.lang.transition import TransitionSystem

LOST = "a process that held states was lost, or its machine: check again, with more memory or more --workers"


class Process:
    """What runs on the cluster: a partition, and after the search its sweeps."""

    def __init__(self, *about: Any) -> None:
        self.partition = Partition(*about)

    def search(self, name: str, *args: Any) -> Any:
        return alone(getattr(self.partition, name)(*args))

    def machine(self) -> str:
        """Which machine this is."""
        return str(import_module("ray").get_runtime_context().get_node_id())

    def look_back(self, levels: list[int], tasks: int) -> None:
        self.back = Back(self.partition, levels, tasks)

    def sweep(self, name: str, *args: Any) -> Any:
        return alone(getattr(self.back, name)(*args))


def alone(answer: Any) -> Any:
    """Ray takes a tuple for as many answers, but a tuple of one for one that is a tuple."""
    return answer[0] if isinstance(answer, tuple) and len(answer) == 1 else answer


class ClusterEngine(NativeEngine):
    """The native engine, with `workers` processes on a Ray cluster instead of threads.

    `on` is what --on names.  ZonedevError: the cluster cannot be had, or a process was lost.
    """

    def __init__(self, ts: TransitionSystem, workers: int, on: str, cache: Cache | None = None) -> None:
        super().__init__(ts, 1, cache)
        self.workers, self.on = workers, on

    def explore(
        self,
        question: Question = Question(),  # noqa: B008
        limits: Limits = Limits(),  # noqa: B008
        report: Report | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Exploration:
        """As the native engine; there are no checkpoints of a cluster."""
        if checkpoint is not None:
            raise ZonedevError("a search on a cluster takes no checkpoints: leave --checkpoint or --on out")
        if question.everything:
            raise ZonedevError(
                "a search on a cluster ends at a violation: leave --all-violations or --on out"
            )
        search = Cluster(self, question, limits, report)
        try:
            return search.run()
        finally:
            search.close()


class Cluster(Search):
    """One exploration.  Its store has the counts of the partitions, and no states."""

    def __init__(
        self, engine: ClusterEngine, question: Question, limits: Limits, report: Report | None
    ) -> None:
        self.ray = connect(engine.on, engine.workers)
        super().__init__(engine, question, limits, report, None)
        ts = engine.ts
        text = llvmgen.generate(ts)
        model = Model(ts.digest or text, text, ts.words, engine.most, ts.initial())
        self.processes: list[Any] = []
        self.answers: list[list[Any]] = [[] for _ in range(self.workers)]
        self.bytes = 0
        self.looking_back = False
        try:
            self.begin(model)
        except BaseException:
            self.close()
            raise

    def begin(self, model: Model) -> None:
        """Start the processes, each with its share of the memory."""
        made = self.ray.remote(num_cpus=1)(Process).options(scheduling_strategy="SPREAD")
        shared, finish = self.ray.put(model), self.question.finish
        self.processes = processes = [
            made.remote(shared, me, self.workers, finish) for me in range(self.workers)
        ]
        machines = self.get([p.machine.remote() for p in processes])
        neighbours = Counter(machines)
        own = None if self.limits.memory is None else self.limits.memory // self.workers
        self.get(
            [p.search.remote("allow", own, neighbours[m]) for p, m in zip(processes, machines, strict=True)]
        )

    def close(self) -> None:
        for process in self.processes:
            self.ray.kill(process)
        super().close()

    # --- what partitions are told, and tell each other -----------------------------------------

    def get(self, answers: Any) -> Any:
        """The answers; what went wrong over there goes wrong here."""
        lost = self.ray.exceptions.RayActorError
        try:
            return self.ray.get(answers)
        except self.ray.exceptions.RayTaskError as error:
            cause = error
            while isinstance(cause, self.ray.exceptions.RayTaskError) and cause.cause is not None:
                cause = cause.cause
            if isinstance(cause, Stop) and self.limits.memory is not None:
                cause = Stop(f"--max-memory {self.limits.memory}")
            if isinstance(cause, lost):
                raise ZonedevError(LOST) from None
            raise cause from None
        except self.ray.exceptions.RayError:
            raise ZonedevError(LOST) from None

    def all(self, kind: str, name: str, *args: Any) -> list[Any]:
        """The answers of all partitions to the same call."""
        return list(self.get([getattr(p, kind).remote(name, *args) for p in self.processes]))

    def each_of(self, kind: str, name: str, answers: int, args: list[list[Any]]) -> list[list[Any]]:
        """Call all partitions, with arguments of their own; so many answers from each, to pass on."""
        called = [
            getattr(p, kind).options(num_returns=answers).remote(name, *own)
            for p, own in zip(self.processes, args, strict=True)
        ]
        return [[c] for c in called] if answers == 1 else [list(c) for c in called]

    def exchange(self, ask: str, tell: str, conclude: str, *args: Any) -> list[Any]:
        """A piece of a sweep: all ask all, and conclude from what they are told."""
        asked = self.each_of("sweep", ask, self.workers, [list(args)] * self.workers)
        told = self.each_of("sweep", tell, self.workers, turned(asked))
        return list(self.get([c[0] for c in self.each_of("sweep", conclude, 1, turned(told))]))

    # --- the search ----------------------------------------------------------------------------

    def start(self) -> None:
        self.update(self.all("search", "start"))
        self.levels.append(list(self.at))
        self.ends = self.counts()

    def round(self) -> None:
        """Every partition expands some of its states, and takes in what the others have found."""
        args = [[end, *heard] for end, heard in zip(self.ends, self.answers, strict=True)]
        sent = self.each_of("search", "expand", self.workers + 1, args)
        back = self.each_of("search", "take_in", self.workers + 1, turned([s[:-1] for s in sent]))
        for me, now in enumerate(self.get([s[-1] for s in sent])):
            self.wrong += [
                (me, state, ending)
                for state, code in now.wrong
                if (ending := wanted(code, self.question)) is not None
            ]
        self.update(self.get([b[-1] for b in back]))
        self.answers = turned([b[:-1] for b in back])

    def update(self, standings: list[Standing]) -> None:
        """Take over the counts."""
        self.bytes = sum(now.bytes for now in standings)
        for me, now in enumerate(standings):
            self.at[me] = now.at
            for field, value in (
                (k.COUNT, now.count),
                (k.TRANSITIONS, now.transitions),
                (k.ENDS, now.ends),
                (k.BROKEN, now.broken),
            ):
                self.store.ctx.set(me, field, value)

    def used(self) -> int:
        return self.bytes

    # --- looking back --------------------------------------------------------------------------

    def look_back(self) -> None:
        """Prepare for sweeps; nothing is searched any more."""
        if not self.looking_back:
            self.looking_back = True
            self.get([c[0] for c in self.each_of("search", "hear", 1, self.answers)])
            tasks = len(self.engine.ts.tasks)
            self.get(
                [
                    p.look_back.remote([begins[me] for begins in self.levels], tasks)
                    for me, p in enumerate(self.processes)
                ]
            )

    def trace(self) -> Trace:
        self.look_back()
        return FarTrace(self)

    def failing(self, level: int) -> dict[Place, Fails]:
        self.look_back()
        found: dict[Place, Fails] = {}
        for me, process in enumerate(self.processes):
            steps = self.get(process.sweep.remote("breaking", level, self.at[me]))
            found.update({(me, number): fails for number, fails in steps.items()})
        return found

    def cannot_finish(self) -> tuple[list[tuple[int, int]], int]:
        self.look_back()
        return cannot_finish(self)

    def loops(self) -> Loops:
        return FarLoops(self)


def turned(rows: list[list[Any]]) -> list[list[Any]]:
    """What each has for all others, as what each gets from all others."""
    return [list(column) for column in zip(*rows, strict=True)]
