"""A type checker sees through the API: it takes what is right, and refuses what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import user_code
import zonedev as z

ROOT = Path(__file__).resolve().parents[1]

WRONG = """\
import zonedev as z
z.check(1)
z.check("evict-vs-pin", engine="fast")
z.check("evict-vs-pin", "linux-6.1", {"pages": 1})
z.check("evict-vs-pin").trace[0].functon
z.matrix("evict-vs-pin")["evict-vs-pin"]
z.designs()[1]
z.nothing
"""


def test_a_user_is_told_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", "tests/user_code.py", wrong],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    lines = {int(e.split("wrong.py:")[1].split(":")[0]) for e in errors if "wrong.py:" in e}
    assert [e for e in errors if "wrong.py:" not in e] == []
    assert lines == set(range(2, 9)), done.stdout + done.stderr


def test_what_the_checker_takes_runs() -> None:
    user_code.main()
    assert z.check(user_code.PinVsUnbind).rule == "page-lifetime"
    assert user_code.counts(z.check("evict-vs-pin", "linux-6.1")) == {"page0._refcount": "1025"}
