"""What zonedev uses of Ray, in this process: calls are made at once, and all that is sent is copied."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class Ref:
    def __init__(self, value: Any) -> None:
        self.sent = pickle.dumps(value)

    @property
    def value(self) -> Any:
        return pickle.loads(self.sent)


class Method:
    def __init__(self, function: Callable[..., Any], answers: int = 1) -> None:
        self.function, self.answers = function, answers

    def options(self, num_returns: int) -> Method:
        return Method(self.function, num_returns)

    def remote(self, *args: Any) -> Any:
        found = self.function(*[a.value if isinstance(a, Ref) else Ref(a).value for a in args])
        if self.answers == 1:
            return Ref(found)
        assert len(found) == self.answers
        return [Ref(answer) for answer in found]


class Actor:
    def __init__(self, made: Any) -> None:
        self.made = made

    def __getattr__(self, name: str) -> Method:
        return Method(getattr(self.made, name))


class Maker:
    def __init__(self, cls: type, machines: int) -> None:
        self.cls, self.machines, self.made = cls, machines, 0

    def options(self, **given: Any) -> Maker:
        return self

    def remote(self, *args: Any) -> Actor:
        actor = Actor(self.cls(*[a.value if isinstance(a, Ref) else a for a in args]))
        number, self.made = self.made % self.machines, self.made + 1
        actor.made.machine = lambda: f"machine {number}"
        return actor


class TaskError(Exception):
    cause: BaseException | None = None


class FakeRay:
    """`machines`: on how many of them the actors are spread."""

    exceptions = SimpleNamespace(RayTaskError=TaskError, RayActorError=TaskError, RayError=TaskError)

    def __init__(self, machines: int = 1) -> None:
        self.machines = machines

    def remote(self, **given: Any) -> Callable[[type], Maker]:
        return lambda cls: Maker(cls, self.machines)

    def put(self, value: Any) -> Ref:
        return Ref(value)

    def get(self, refs: Any) -> Any:
        return [r.value for r in refs] if isinstance(refs, list) else refs.value

    def kill(self, actor: Actor) -> None:
        del actor.made
