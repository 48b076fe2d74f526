"""A cluster of Ray: the one that is asked for, or one on this machine alone.

Nodes need the same version of Pulmoscope and of Python; nothing is sent to them but tasks. A worker computes in one
thread, as there are as many workers as processors. A cluster on this machine is started with one logical processor
more than there are: tasks that wait for a disk or a network leave theirs to another, and nothing can hang for all
being taken.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from pulmoscope.core.errors import PulmoscopeError, ResourceError
from pulmoscope.core.threads import ONE_THREAD

CLIENT_PORT = 10001
"""Where a cluster takes drivers from other machines, unless it was told otherwise (Ray's documents, «Ray Client»)."""
OBJECT_STORE = 256 * 2**20
"""bytes that a cluster on this machine keeps objects in: tasks here pass names and figures, no images."""
STARTS = 3
"""Times that a cluster on this machine is started: Ray gives up after 30 s, which a busy machine may exceed."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to Ray's makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else every driver is told of a change to come
}


@contextmanager
def connect(on: str, variables: dict[str, str] | None = None) -> Iterator[Any]:
    """Ray, connected to a cluster for as long as the block lasts; a connection that is already there is used.

    Args:
        on: ``ray``: the cluster that the environment variable RAY_ADDRESS names, else one on this machine, which
            ends with the block; ``ray://HOST[:PORT]``: one that takes drivers there.
        variables: environment variables of the workers, beside those of one thread, or in their place.

    Yields:
        The module ``ray``.

    Raises:
        PulmoscopeError: ``on`` names no cluster.
        ResourceError: Ray is not installed, or the cluster can't be reached or started.
    """
    address = address_of(on)
    if find_spec("ray") is None:
        raise ResourceError("--on ray: Ray is not installed; pip install 'pulmoscope[scale]'")
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    if address == "local":
        _ask_for_token()
    import ray

    if ray.is_initialized():
        yield ray
        return
    _init(ray, address, on, {**ONE_THREAD, **(variables or {})})
    try:
        yield ray
    finally:
        ray.shutdown()


def _ask_for_token() -> None:
    """Have a cluster on this machine ask for a token, unless the user has decided: its ports are open to others.

    Ray reads the variables when it is imported. To set them later would have nodes ask what the driver doesn't know.
    """
    if "RAY_AUTH_MODE" in os.environ or "ray" in sys.modules:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _init(ray: Any, address: str, on: str, variables: dict[str, str]) -> None:
    """Connect to a cluster, or start one on this machine.

    Raises:
        ResourceError: it can't be reached or started.
    """
    # Where a worker dies, Ray tells of it on stdout, which is for results; what it means for them is told by ours.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    local = {
        "num_cpus": (os.cpu_count() or 1) + 1,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE,
    }
    for left in reversed(range(STARTS if address == "local" else 1)):
        try:
            ray.init(
                address,
                runtime_env={"env_vars": variables},
                logging_level=logging.CRITICAL,
                log_to_driver=False,
                **(local if address == "local" else {}),
            )
            return
        except Exception as error:  # of any class: a node that takes too long to start is a plain Exception
            if not left:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                if address != "local" and os.environ.get("RAY_AUTH_MODE") != "token":
                    reason += "; if it asks for a token, set RAY_AUTH_MODE=token"
                raise ResourceError(
                    f"--on {on}: the cluster could not be reached or started ({reason})"
                ) from error


def address_of(on: str) -> str:
    """What Ray calls the cluster that ``--on`` names.

    Raises:
        PulmoscopeError: it names none.
    """
    if on == "ray":
        return os.environ.get("RAY_ADDRESS") or "local"
    host, _, port = on.removeprefix("ray://").partition(":")
    if not on.startswith("ray://") or not host or (port and not port.isdecimal()):
        raise PulmoscopeError(f"--on takes ray or ray://HOST[:PORT] (found: {on})")
    return f"ray://{host}:{port or CLIENT_PORT}"
