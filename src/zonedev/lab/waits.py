"""Whether a task of the guest is blocked: asleep, in one place, and not about to go on by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from zonedev.lab.channel import Request
from zonedev.lab.console import plain

#: Functions that wait for something that comes by itself: a grace period, a worker, a timer, a disk.
SELF_ENDING = frozenset(
    (
        "__wait_rcu_gp",
        "wait_rcu_gp",
        "synchronize_rcu",
        "synchronize_rcu_expedited",
        "synchronize_rcu_normal",
        "synchronize_rcu_tasks",
        "synchronize_srcu",
        "__synchronize_srcu",
        "synchronize_srcu_expedited",
        "rcu_barrier",
        "srcu_barrier",
        "percpu_ref_switch_to_atomic_sync",
        "flush_work",
        "__flush_work",
        "flush_delayed_work",
        "flush_workqueue",
        "__flush_workqueue",
        "drain_workqueue",
        "cancel_work_sync",
        "cancel_delayed_work_sync",
        "async_synchronize_cookie_domain",
        "wait_for_device_probe",
        "kthread_stop",
        "kthread_park",
        "stop_one_cpu",
        "stop_machine_cpuslocked",
        "__stop_cpus",
        "call_usermodehelper_exec",
        "msleep",
        "msleep_interruptible",
        "usleep_range_state",
        "do_nanosleep",
        "submit_bio_wait",
        "folio_wait_bit_common",
        "wait_on_page_bit",
        "wait_on_buffer",
        "__wait_on_buffer",
        "jbd2_log_wait_commit",
        "jbd2_log_do_checkpoint",
        "xfs_log_force",
        "xfs_log_force_seq",
        "xfs_buf_iowait",
    )
)
ASLEEP = frozenset("DSI")


@dataclass(frozen=True)
class Where:
    """What a task is doing: /proc's one letter for its state, wchan, and its stack, innermost first."""

    state: str
    wchan: str
    stack: tuple[str, ...]

    @classmethod
    def parse(cls, words: Sequence[str]) -> Where:
        """From the agent's words: STATE WCHAN FRAME,FRAME,..., "-" where there is none."""
        state, wchan, frames = (*words, *("-",) * 3)[:3]
        names = (plain(frame.split("+")[0]) for frame in frames.split(",") if frame not in ("", "-"))
        return cls(state, "" if wchan in ("-", "0") else wchan, tuple(names))

    @property
    def asleep(self) -> bool:
        return self.state in ASLEEP

    @property
    def ends_by_itself(self) -> bool:
        """Whether it waits for what comes without anybody's doing."""
        return not SELF_ENDING.isdisjoint((*self.stack, self.wchan))

    def __str__(self) -> str:
        return f"{self.state} in {' < '.join(self.stack[:4]) or self.wchan or 'user space'}"


EXITED = Where("X", "", ())


@dataclass(frozen=True)
class Patience:
    """How long a task has to stay in one place to count as blocked (seconds).

    A guest on a busy host runs slowly, so the place has to be seen a number of times too: each
    look is an answer of the agent, for which the guest had to run.
    """

    still: float = 1.0
    self_ending: float = 10.0  # where it waits for what should come by itself
    looks: int = 5
    every: float = 0.1  # between two looks
    total: float = 120.0  # that a request may neither return nor block


PATIENCE = Patience()


@dataclass
class Watch:
    """A request that is watched until it is answered or counts as blocked."""

    request: Request
    patience: Patience = PATIENCE
    last: Where | None = None
    _begun: float | None = field(default=None, repr=False)
    _since: float = 0.0
    _looks: int = 0
    _now: float = 0.0

    def look(self, where: Where, now: float) -> None:
        """Take note of where the task is at a time."""
        self._begun = now if self._begun is None else self._begun
        if where != self.last:
            self.last, self._since, self._looks = where, now, 0
        self._looks += 1
        self._now = now

    @property
    def verdict(self) -> Where | None:
        """Where it is blocked; None where it is not, or not yet."""
        if self.request.done or self.last is None or not self.last.asleep:
            return None
        still = self.patience.self_ending if self.last.ends_by_itself else self.patience.still
        stayed = self._now - self._since >= still and self._looks >= self.patience.looks
        return self.last if stayed else None

    @property
    def undecided(self) -> bool:
        return not self.request.done and self.verdict is None

    @property
    def expired(self) -> bool:
        """Whether it has been neither for too long."""
        begun = self._begun if self._begun is not None else self._now
        return self.undecided and self._now - begun > self.patience.total
