"""Ray: where a campaign or a search runs on other machines, or in processes here as it would there."""

from __future__ import annotations

import os
import socket
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import zonedev
from zonedev.lang.errors import ZonedevError

LOCAL = "local"
PATIENCE = 10.0  # seconds
STORE = 1 << 30  # bytes for what processes here send each other


def address_of(on: str) -> str:
    """The address that `--on` names: that of RAY_ADDRESS, or this machine, where it names none."""
    if on == "ray":
        return os.environ.get("RAY_ADDRESS") or LOCAL
    if on.startswith("ray://"):
        return on
    kind, equals, address = on.partition("=")
    if kind == "ray" and equals and address:
        return address
    raise ZonedevError(f"{on!r} is no cluster: write ray, ray=HOST:PORT or ray://HOST:PORT")


def connect(on: str, cores: int = 1) -> ModuleType:
    """The module ray, connected to a cluster with so many cores; ZonedevError where that cannot be."""
    address = address_of(on)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray = import_module("ray")
    except ImportError:
        raise ZonedevError(f"--on {on} needs Ray: pip install 'zonedev[ray]'") from None
    if not ray.is_initialized():
        options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if address == LOCAL:
            options |= {"num_cpus": max(cores, os.cpu_count() or 1), "include_dashboard": False}
            options |= {"object_store_memory": STORE}
        else:  # the machines there run what is here
            options["runtime_env"] = {"py_modules": [str(Path(zonedev.__file__).parent)]}
        try:
            knock(address)
            ray.init(address=address, **options)
        except (OSError, ValueError, RuntimeError) as error:
            why = (str(error).strip() or type(error).__name__).partition("\n")[0]
            raise ZonedevError(f"--on {on}: no Ray cluster answers at {address}: {why}") from None
    there = cores_of(ray)
    if cores > there:
        raise ZonedevError(f"--on {on}: the cluster has {there} cores: ask for no more --workers")
    return ray


def knock(address: str) -> None:
    """OSError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()


def cores(on: str) -> int:
    """The cores of all machines of a cluster."""
    return cores_of(connect(on))


def cores_of(ray: ModuleType) -> int:
    return int(ray.cluster_resources().get("CPU", 0))
