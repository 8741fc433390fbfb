"""Fetches packages of other Debian suites with the host's apt, without touching the host.

apt gets a configuration, an empty package database and list and cache directories of its own, so it
needs no root and installs nothing.  It checks the signature of a suite's index and through that the
hash of every package, and goes on with what was fetched before when it is interrupted.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from zonedev.lab import cache, host
from zonedev.lab.errors import LabError, NothingGoes

#: Is told how far a download is, in percent.
Progress = Callable[[float], None]

# An index is accepted although it is past its Valid-Until: suites that are no longer updated stay as
# they are, and mirrors lag.  That date keeps an attacker from hiding newer packages behind an old but
# signed index.  Here an old kernel is as good as a new one: it runs in an emulated machine that has no
# network, and nothing that is fetched runs on the host.
CONFIGURATION = """\
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Check-Valid-Until "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{place}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{place}";
Dir::State::lists "{place}/lists";
Dir::State::status "{place}/status";
Dir::Cache "{place}/cache";
Dir::Log "{place}";
"""


QUIET = ("-qq", "--option=APT::Status-Fd=1")


@dataclass(frozen=True)
class Package:
    """A package as the index has it."""

    name: str
    version: str
    uri: str
    file: str  # what apt calls it on disk
    size: int  # bytes
    sha256: str

    def complete(self, path: Path) -> bool:
        """Whether this file is the package."""
        if not path.is_file():
            return False
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == self.sha256


@dataclass(frozen=True)
class Mirrors:
    """Where the archive of Debian is, and that of its security updates."""

    main: str
    security: str | None

    def of(self, suite: str) -> str | None:
        return self.security if suite.endswith("-security") else self.main


class Archive:
    """Some suites of the archive, which apt sees as one; `place` is where it keeps its state."""

    def __init__(self, place: Path, suites: Sequence[str], mirrors: Mirrors) -> None:
        self.place, self.suites = place, suites
        for name in ("lists/partial", "cache/archives/partial"):
            (place / name).mkdir(parents=True, exist_ok=True)
        sources = [
            f"deb [signed-by={host.KEYRING}] {mirror} {suite} main\n"
            for suite in suites
            if (mirror := mirrors.of(suite))
        ]
        (place / "sources.list").write_text("".join(sources), encoding="utf-8")
        (place / "status").touch()
        (place / "apt.conf").write_text(
            CONFIGURATION.format(place=place) + connection_settings(), encoding="utf-8"
        )

    def update(self, progress: Progress) -> None:
        """Fetch the index of packages; LabError where it cannot be had."""
        self._run(["apt-get", *QUIET, "--option=APT::Update::Error-Mode=any", "update"], progress)

    def resolve(self, names: Sequence[str]) -> list[Package]:
        """What installing `names` on an empty system would fetch; none where one does not exist."""
        try:
            return parse_uris(self._run(["apt-get", *QUIET, "install", "--print-uris", *names]))
        except LabError as error:
            if "Unable to locate package" in str(error):
                return []
            raise

    def download(self, packages: Sequence[Package], progress: Progress) -> list[Path]:
        """The files of the packages; what an interrupted set-up had fetched is not fetched again."""
        place = self.place / "packages"
        place.mkdir(parents=True, exist_ok=True)
        files = {place / p.file: p for p in packages}
        command = [host.HELPER or "apt-helper", *QUIET, "download-file"]
        missing = [(path, p) for path, p in files.items() if not p.complete(path)]
        for path, p in missing:
            command += [p.uri, str(path), f"SHA256:{p.sha256}"]
        if missing:
            total = sum(p.size for p in packages)
            self._run(command, lambda _: progress(100 * cache.size(place) / total))
        return list(files)

    def _run(self, command: Sequence[str], progress: Progress | None = None) -> str:
        """Run a program of apt and return what it prints; LabError where it fails, with the reason."""
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "APT_CONFIG": str(self.place / "apt.conf"), "LC_ALL": "C.UTF-8"},
            close_fds=False,  # it holds the lock of the set-up too: see cache.locked
        ) as child:
            assert child.stdout is not None
            printed = []
            for line in child.stdout:
                if not line.startswith("dlstatus:"):
                    printed.append(line)
                elif progress:
                    progress(float(line.split(":")[2]))
        if child.returncode:
            raise failure(self.suites[0], printed)
        return "".join(printed)


CONNECTION = ("Acquire::http", "Acquire::ftp", "Acquire::socks", "Acquire::tor", "Acquire::Force")


def connection_settings() -> str:
    """How the host's apt reaches archives: proxies and the like, as lines of a configuration."""
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    return "".join(f"{line}\n" for line in dumped.splitlines() if line.startswith(CONNECTION))


URI = re.compile(
    r"'(?P<uri>[^']+)' (?P<file>(?P<name>[^_ ]+)_(?P<version>[^_ ]+)_[^_ ]+\.deb)"
    r" (?P<size>\d+) SHA256:(?P<sha256>\w+)"
)


def parse_uris(text: str) -> list[Package]:
    """The packages that ``apt-get --print-uris`` lists."""
    return [
        Package(unquote(m["name"]), unquote(m["version"]), m["uri"], m["file"], int(m["size"]), m["sha256"])
        for m in map(URI.match, text.splitlines())
        if m
    ]


UNREACHABLE = ("resolv", "connect", "unreachable", "timed out", "No route")


def failure(suite: str, printed: Sequence[str]) -> LabError:
    """Why apt failed, in one line, with the mend."""
    lines = [line[2:].strip().rstrip(".") for line in printed if line[:2] in ("E:", "W:")]
    for line in lines:
        if any(word in line for word in UNREACHABLE):
            why = line.rpartition("  ")[2]  # after "Failed to fetch URL"
            return NothingGoes(f"the Debian archive cannot be reached: {why}: run again when it can")
    for line in lines:
        if "No space left" in line:
            return NothingGoes(cache.NO_SPACE)
        if "404 " in line or "does not have a Release file" in line:
            option = "--security-mirror" if "-security" in line else "--mirror"
            return LabError(f"{suite}: {line}: give one that has it with {option} URL")
        if "GPG error" in line:
            return LabError(f"{suite}: {line}: apt install debian-archive-keyring, in its newest version")
    return LabError(f"{suite}: {lines[0] if lines else 'apt-get failed and says nothing'}")


def host_mirrors(mirror: str | None = None, security: str | None = None) -> Mirrors:
    """The mirrors that the host's apt is set up for, unless others are given; LabError where none is."""
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    known = parse_targets(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    main = mirror or known.get("Debian")
    if main is None:
        raise NothingGoes(
            "apt knows no Debian archive here: give one with --mirror URL (on Debian: or run apt-get update)"
        )
    return Mirrors(main, security or known.get("Debian-Security"))


def parse_targets(text: str) -> dict[str, str]:
    """The first archive of Debian for each label, out of what ``apt-get indextargets`` prints."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        origin, label, uri = [*line.split("|", 2), "", ""][:3]
        if origin == "Debian" and not uri.startswith("cdrom:"):
            found.setdefault(label, uri)
    return found
