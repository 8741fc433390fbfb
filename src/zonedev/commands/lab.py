"""zonedev lab setup and status: real kernels, fetched and ready to boot."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zonedev.commands.context import OK, UNDETERMINED, Context, complain, show
from zonedev.lab import cache, hmm_suite, host, kernels, userland
from zonedev.lab.errors import LabError, NothingGoes
from zonedev.lab.host import Tool
from zonedev.lab.kernels import STOCK, LabKernel, Stock
from zonedev.report.json import SCHEMA_VERSION, dump
from zonedev.report.progress import Reporter

if TYPE_CHECKING:
    from zonedev.lab.setup import Setup


def lab(context: Context) -> int:
    return setup(context) if context.options.action == "setup" else status(context)


def setup(context: Context) -> int:
    """Fetch what is missing, and say what is there; exit code 3 where something cannot be had.

    A kernel that cannot be had does not keep the others from being fetched.
    """
    from zonedev.lab.archive import host_mirrors  # not for every command to load
    from zonedev.lab.setup import Setup

    o = context.options
    wanted = kernels.chosen(o.kernel)
    tools = host.tools()
    lacking = [tool for tool in tools if tool.version is None]
    for tool in lacking:
        complain(f"the lab needs {tool.name} {tool.purpose}: {tool.mend}")
    if lacking:
        return UNDETERMINED
    try:
        with cache.locked("debian", waiting, shared=True) as place, Reporter("lab") as reporter:
            mirrors = functools.cache(lambda: host_mirrors(o.mirror, o.security_mirror))
            work = Setup(place, mirrors, reporter.stage, o.update)
            work.userland()
            missed = [stock for stock in wanted if not fetched(work, stock, o.debug_info)]
            if o.test_hmm:
                missed += [
                    stock for stock in wanted if stock not in missed and not tested(work, stock, o.kernel)
                ]
            work.done()
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise LabError(
            cache.NO_SPACE if full else f"{error.filename or cache.root()}: {error.strerror}"
        ) from None
    return max(report(context, tools), UNDETERMINED if missed else OK)


def fetched(work: Setup, stock: Stock, debug_info: bool) -> bool:
    """Whether a kernel could be had; says why not."""
    try:
        work.kernel(stock, debug_info)
    except NothingGoes:
        raise
    except LabError as error:
        complain(str(error))
        return False
    return True


def tested(work: Setup, stock: Stock, named: Sequence[str]) -> bool:
    """Whether the kernel's hmm-tests could be had; says why not.

    What a kernel cannot run is no failure, unless the kernels were named.
    """
    if why := hmm_suite.obstacle(stock.name):
        if named:
            complain(why)
        else:
            print(f"zonedev: {why}", file=sys.stderr)
        return not named
    from zonedev.lab import hmm_setup  # not for every command to load

    try:
        hmm_setup.fetch(work, stock)
    except NothingGoes:
        raise
    except LabError as error:
        complain(str(error))
        return False
    return True


def waiting() -> None:
    print("zonedev: another set-up is at work: waiting for it", file=sys.stderr)


def status(context: Context) -> int:
    """Say what is there; exit code 3 where no kernel can be booted yet."""
    return report(context, host.tools())


def report(context: Context, tools: Sequence[Tool]) -> int:
    present = {name: kernels.installed(name) for name in STOCK}
    programs = userland.place().is_file()
    ready = any(present.values()) and programs and all(tool.version for tool in tools)
    if context.json:
        show(dump(json_object(present, tools, programs, ready)))
    else:
        for name, kernel in present.items():
            show(f"kernel  {name:<6} {described(kernel) if kernel else missing(name)}")
        show(f"guest   programs: {'ready' if programs else 'not set up (zonedev lab setup)'}")
        tests = ", ".join(name for name, kernel in present.items() if kernel and hmm_suite.installed(kernel))
        show(
            f"guest   hmm-tests: {(tests and 'for ' + tests) or 'not set up (zonedev lab setup --test-hmm)'}"
        )
        for tool in tools:
            show(f"host    {tool.name}: {tool.version or 'missing: ' + tool.mend}")
        show(f"cache   {cache.root()}: {mebibytes(cache.size(cache.root()))}")
    return OK if ready else UNDETERMINED


def missing(name: str) -> str:
    return f"not set up (zonedev lab setup --kernel {name})"


def described(kernel: LabKernel) -> str:
    debug = mebibytes(cache.size(kernel.vmlinux)) if kernel.vmlinux else "none"
    size = mebibytes(package_size(kernel))
    return f"{kernel.version:<12} {size:>7}  debug info: {debug:<7}  rules: {kernel.design}"


def package_size(kernel: LabKernel) -> int:
    """Bytes of the image and its modules."""
    return sum(cache.size(part) for part in (kernel.image, kernel.modules) if part)


def mebibytes(size: int) -> str:
    return f"{-(-size >> 20)} MiB"


def json_object(
    present: dict[str, LabKernel | None], tools: Sequence[Tool], programs: bool, ready: bool
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "ready": ready,
        "kernels": [
            {"name": name, "installed": False, "design": STOCK[name].design}
            if k is None
            else {
                "name": name,
                "installed": True,
                "design": k.design,
                "release": k.release,
                "version": k.version,
                "bytes": package_size(k),
                "debug_info_bytes": cache.size(k.vmlinux) if k.vmlinux else 0,
                "test_hmm": hmm_suite.installed(k) is not None,
            }
            for name, k in present.items()
        ],
        "programs": programs,
        "host": [{"name": t.name, "version": t.version, "mend": t.mend} for t in tools],
        "cache": {"path": str(cache.root()), "bytes": cache.size(cache.root())},
    }
