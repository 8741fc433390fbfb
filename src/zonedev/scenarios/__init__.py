"""The catalogue."""

from __future__ import annotations

from zonedev.scenarios.base import Scenario
from zonedev.scenarios.devdax_unbind_vs_pin import DevdaxUnbindVsPin

SCENARIOS: dict[str, type[Scenario]] = {s.name(): s for s in (DevdaxUnbindVsPin,)}
