"""What `zonedev matrix --suite` has."""

from __future__ import annotations

from zonedev.scenarios.base import Case
from zonedev.scenarios.dax_tests import DAX_TESTS
from zonedev.scenarios.hmm_tests import HMM_TESTS

SUITES: dict[str, tuple[type[Case], ...]] = {"hmm-tests": HMM_TESTS, "dax-tests": DAX_TESTS}
