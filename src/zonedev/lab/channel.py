"""Lines to and from a guest, and the requests that its agent answers (see lab/guest/agent.c)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from zonedev.lang.errors import ZonedevError

READY = "zonedev: ready 1"
SAFE = "/-._~:,+=@"  # besides letters and digits, what needs no percent sign in an argument
SEND_SECONDS = 10.0


class CallFailed(ZonedevError):
    """A call in the guest failed: `error` is the errno's name, or SIGBUS or SIGSEGV."""

    def __init__(self, what: str, error: str) -> None:
        super().__init__(f"{what}: {error}")
        self.error = error


class Wire:
    """A socket that carries lines."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._rest = b""
        self.closed = False
        end.settimeout(SEND_SECONDS)

    def fileno(self) -> int:
        return self._end.fileno()

    @property
    def rest(self) -> str:
        """What has come of a line that has not ended."""
        return text(self._rest)

    def receive(self) -> list[str]:
        """The lines that have come, without waiting."""
        try:
            data = self._end.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.closed = True
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [text(line) for line in lines]

    def send(self, line: str, fds: Sequence[int] = ()) -> bool:
        """Send a line, with file descriptors; False where nobody takes it."""
        data = line.encode() + b"\n"
        try:
            if fds:
                data = data[socket.send_fds(self._end, [data], fds) :]
            self._end.sendall(data)
        except OSError:
            return False
        return True


def text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r")


@dataclass(eq=False)
class Request:
    """Something asked of the agent."""

    number: int
    task: str
    op: str
    args: tuple[str, ...]
    values: list[str] | None = None  # None until it is done
    error: str | None = None  # the errno's name, where it failed

    @property
    def done(self) -> bool:
        """Whether it was answered, one way or the other."""
        return self.values is not None or self.error is not None

    @property
    def value(self) -> str:
        """The answer's first word; "" where there is none yet."""
        return self.values[0] if self.values else ""

    def __str__(self) -> str:
        return f"{self.task} {' '.join((self.op, *self.args))}"


@dataclass
class Agent:
    """The requests that are on their way, by number, and which answer belongs to which."""

    wire: Wire
    ready: bool = False
    noise: list[str] = field(default_factory=list)  # lines that answer nothing
    _number: int = 0
    _open: dict[int, Request] = field(default_factory=dict)

    def ask(self, task: str, op: str, *args: object) -> Request:
        """Send a request; a blank in an argument goes as %20."""
        self._number += 1
        request = Request(self._number, task, op, tuple(str(a) for a in args))
        self._open[self._number] = request
        words = [str(self._number), task, op, *(quote(a, safe=SAFE) for a in request.args)]
        self.wire.send(" ".join(words))
        return request

    def answer(self, line: str) -> None:
        """Take a line from the guest."""
        number, _, rest = line.partition(" ")
        sign, _, value = rest.partition(" ")
        request = self._open.get(int(number)) if number.isascii() and number.isdigit() else None
        if line.endswith(READY):  # the port may have had some noise before it
            self.ready = True
        elif request is None or sign not in ("=", "!"):
            self.noise.append(line)
        else:
            del self._open[request.number]
            if sign == "=":
                request.values = [unquote(word) for word in value.split(" ")]
            else:
                request.error = value.strip() or "EIO"
