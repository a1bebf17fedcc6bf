"""How all flows run: with a server, and with what becomes of runs that were killed.

Import it before prefect; see `prefect_server`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import prefect_server

from coronet import terminal
from coronet.errors import Unreachable
from guard import die_with_parent

if TYPE_CHECKING:
    from prefect.states import State

logger = logging.getLogger("coronet")


@contextlib.contextmanager
def tracked() -> Iterator[None]:
    """Hold a lock file for the flow run of this block, and mark runs whose process is gone as crashed.

    Prefect cannot tell a run whose process was killed from one that works; the system frees its lock.
    """
    import filelock
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run
    from prefect.states import Crashed

    if "PREFECT__FLOW_RUN_ID" in os.environ:
        # Started by `make prefect`: killed with it, since the server to report to ends as well.
        die_with_parent(os.getppid())
    folder = prefect_server.HOME / "running"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.lock"):
        with contextlib.suppress(filelock.Timeout), filelock.FileLock(path, timeout=0):
            with get_client(sync_client=True) as client:
                crashed = Crashed(message="Its process was ended from outside; the next run resumes.")
                client.set_flow_run_state(path.stem, crashed, force=True)
            path.unlink()
    own = folder / f"{flow_run.id}.lock"
    with filelock.FileLock(own):
        yield
        own.unlink()


def conduct(flow: Callable[[], State]) -> int:
    """Run a flow with a server and log how it ended; the exit code is 2 where it failed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return terminal.run_app(lambda: _conduct(flow))


def _conduct(flow: Callable[[], State]) -> int:
    import httpx
    from prefect.settings import PREFECT_API_URL, temporary_settings

    address = prefect_server.server()
    try:
        with temporary_settings({PREFECT_API_URL: address}):
            state = flow()
    except (httpx.TransportError, RuntimeError) as error:
        # Prefect raises the second from the first
        if not isinstance(error.__cause__ or error, httpx.TransportError):
            raise
        raise Unreachable(
            f"Prefect's server ended while the flow ran ({error}); run the flow again, and it resumes."
        ) from error
    if not state.is_completed():
        logger.error("coronet: %s", state.message)
        return 2
    return 0


def failure(error: Exception) -> State:
    """The state of a flow or task that failed for a reason a user can change.

    Raises:
        Exception: the error itself, where it is a fault of the program.
    """
    from prefect.states import Failed

    reason = terminal.explain(error)
    if reason is None:
        raise error
    return Failed(message=reason)
