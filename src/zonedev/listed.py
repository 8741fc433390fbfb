"""The packages of designs, scenarios and rules, called: what there is."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class Listed(ModuleType):
    """A package that is called for a list of what it has: ``zonedev.designs()``.

    The package and the function of the API have one name, and whoever imports the package
    puts it in place of the function.
    """

    def __call__(self) -> Any:
        from zonedev import api  # here, since a package does not need what lists it

        return getattr(api, self.__name__.rpartition(".")[2])()


def listed(package: str) -> None:
    """Make a package that is being imported one that can be called."""
    sys.modules[package].__class__ = Listed
