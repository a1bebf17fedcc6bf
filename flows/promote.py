"""The gate, and a manual approval before the champion changes. ``python flows/promote.py --help``

Where the gate's verdict is PROMOTE, the flow run waits in Prefect's pages until the form there is answered.
It holds no lock meanwhile, and nothing moves before the answer, so a run that is killed leaves all as it was.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import conductor

from prefect import flow, get_run_logger, pause_flow_run
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed, State
from pydantic import Field

from coronet.config import MODELS

if TYPE_CHECKING:
    from coronet.registry.verdict import Verdict

PROMOTED, KEPT = "Promoted", "Not promoted"
POLL_SECONDS = 2


class Decision(RunInput):
    """The form in Prefect's pages."""

    approve: bool = Field(default=False, description="Make the challenger champion.")
    name: str = Field(min_length=1, description="Who approves; it goes to the promotion log.")


@flow(name="promote")
def promote(model: str, first: bool = False, patience_hours: float = 168.0) -> State[Any]:
    """Evaluate the challenger; where the gate allows it, wait for a manual approval.

    Args:
        model: heart or calcium.
        first: there is no champion yet, and the challenger shall be the first.
        patience_hours: how long to wait for the answer.
    """
    from coronet.registry import promotion

    def request_approval(verdict: Verdict) -> str | None:
        show(verdict)
        pages = PREFECT_API_URL.value().removesuffix("/api")
        get_run_logger().info('Answer the form: %s/runs/flow-run/%s ("Resume")', pages, flow_run.id)
        form = Decision.with_initial_data(description=_text(verdict))
        decision = pause_flow_run(
            wait_for_input=form, timeout=round(patience_hours * 3600), poll_interval=POLL_SECONDS
        )
        answer = "approves" if decision.approve else "rejects"
        get_run_logger().info("%s %s %s/%d", decision.name, answer, model, verdict.version)
        return decision.name if decision.approve else None

    with conductor.tracked():
        try:
            done = promotion.promote(model, first=first, approve=request_approval)
        except FlowPauseTimeout:
            return Failed(message=f"No answer in {patience_hours:g} hours; nothing has changed.")
        except Exception as error:
            return conductor.failure(error)
    if done.moved:
        verdict = f"{done.verdict.headline}. " if done.verdict else "Finished what was killed before. "
        return Completed(
            name=PROMOTED, message=f"{verdict}{model}/{done.champion} is champion. Commit promotions.jsonl."
        )
    if not done.verdict.promoted:
        show(done.verdict)
    answer = "not approved" if done.verdict.promoted else done.verdict.headline
    champion = f"{model}/{done.champion} stays champion" if done.champion else f"{model} has no champion"
    return Completed(name=KEPT, message=f"{answer}; {champion}. Commit promotions.jsonl.")


def show(verdict: Verdict) -> None:
    """The verdict's tables and picture as artifacts."""
    from coronet.registry.verdict_picture import draw_verdict

    create_markdown_artifact(
        _text(verdict), key="verdict", description=f"{verdict.model}: {verdict.headline}"
    )
    with tempfile.TemporaryDirectory(prefix="coronet-verdict-") as folder:
        picture = Path(folder) / "verdict.png"
        draw_verdict(picture, verdict)
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
    create_image_artifact(f"data:image/png;base64,{data}", key="verdict-picture")


def _text(verdict: Verdict) -> str:
    return f"```\n{verdict.text()}\n```"


def main() -> None:
    """Run the flow; the exit code is 2 where it failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--first", action="store_true", help="make the first champion; floors alone decide")
    parser.add_argument(
        "--patience-hours", type=float, default=168.0, metavar="H", help="to wait for an answer (168)"
    )
    chosen = vars(parser.parse_args())
    sys.exit(conductor.conduct(lambda: promote(**chosen, return_state=True)))


if __name__ == "__main__":
    main()
