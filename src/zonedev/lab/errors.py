"""What keeps the lab from working: one line each, with the mend."""

from __future__ import annotations

from zonedev.lang.errors import ZonedevError


class LabError(ZonedevError):
    """The lab lacks something: no verdict, exit code 3."""


class NothingGoes(LabError):
    """No network, no mirror, or no space: what else there is to fetch would fail for the same reason."""
