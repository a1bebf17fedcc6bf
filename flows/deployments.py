"""One server with Prefect's pages, and the flows to be started from there. ``make prefect``

Schedules are off until they are switched on in the pages, and stay as they were set there.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import prefect_server

from prefect import Flow, serve
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL, temporary_settings

from batch import batch
from coronet import terminal
from coronet.files import exclusive
from coronet.process import check_port
from pipeline import pipeline
from promote import promote
from search import search

logger = logging.getLogger("coronet")
PORT = 4200
NIGHTLY, INBOX = "0 2 * * *", "*/10 * * * *"


def deployments() -> list[RunnerDeployment]:
    """All flows; at most one run of each at a time."""
    return [
        deployment(pipeline, "nightly", "Everything brought up to date, and registered.", cron=NIGHTLY),
        deployment(
            batch, "inbox", "What lies in inbox/ is scored.", cron=INBOX, models="champion", quiet_s=60.0
        ),
        deployment(search, "search", "Better parameters are searched for."),
        deployment(promote, "promote", "The gate, and manual approval."),
    ]


def deployment(
    flow: Flow, name: str, description: str, *, cron: str = "", **parameters: object
) -> RunnerDeployment:
    """A flow with its schedule, which is active only where it was switched on before."""
    schedules = [Cron(cron, slug=name, active=_switched_on(f"{flow.name}/{name}"))] if cron else []
    return flow.to_deployment(
        name,
        description=description,
        schedules=schedules,
        parameters=parameters,
        concurrency_limit=1,
    )


def _switched_on(name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            return any(item.active for item in client.read_deployment_by_name(name).schedules)
        except ObjectNotFound:
            return False


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help=f"on 127.0.0.1 ({PORT})")
    port = parser.parse_args().port
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.exit(terminal.run_app(lambda: _serve(port)))


def _serve(port: int) -> None:
    check_port(port)
    Path("inbox").mkdir(exist_ok=True)
    with (
        exclusive(prefect_server.HOME / "serving" / ".lock"),
        prefect_server.serving(port) as address,
        prefect_server.registered(address),
        temporary_settings({PREFECT_API_URL: address}),
    ):
        logger.info("Prefect's pages: http://127.0.0.1:%d", port)
        serve(*deployments(), pause_on_shutdown=False, print_starting_message=False)


if __name__ == "__main__":
    main()
