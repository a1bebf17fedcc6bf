"""Great Expectations at work: rules become expectations, results become case names, and pages to browse."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.validate.rule import Rule

if TYPE_CHECKING:
    import pandas

EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
"""Stands for the time of every run, so that the same table gives the same pages."""
EXTERNAL = re.compile(
    r"<link[^>]*href=[\"']https?://[^>]*>|<script[^>]*src=[\"']https?://[^>]*>\s*</script>"
    r"|<img[^>]*src=[\"']https?://[^>]*>",
    re.IGNORECASE,
)
STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1150px; padding: 1rem; color: #222; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; width: 100%; }
td, th { border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: left; vertical-align: top; }
.nav, .list-group, ul { list-style: none; padding-left: 0; }
.navbar img, .modal, .collapse:not(.show), .alert-dismissible, footer, .sr-only { display: none; }
.fa-check-circle::before, .text-success::before { content: "✔ "; color: #1a7f37; }
.fa-times::before, .text-danger::before { content: "✘ "; color: #b42318; }
</style></head>"""


def evaluate(
    frame: pandas.DataFrame, rules: Sequence[Rule], *, docs: Path | None = None
) -> dict[str, tuple[str, ...]]:
    """Ask Great Expectations about every rule.

    Args:
        frame: one row a case, with a column ``case`` and the columns of the rules.
        rules: what to ask.
        docs: folder for the Data Docs, replaced if it exists; None writes none.

    Returns:
        For each rule by name the cases that fail it; for a rule about the cohort, ``cohort`` where it fails.
    """
    gx = _library()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    actions = []
    part = Path(tempfile.mkdtemp(dir=docs.parent, prefix=".part-")) if docs else None
    try:
        if part:
            context.add_data_docs_site("local", _site(part))
            actions = [gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=["local"])]
        asset = context.data_sources.add_pandas("cohort").add_dataframe_asset("cases")
        suite = context.suites.add(gx.ExpectationSuite(name="cases", expectations=list(map(_expect, rules))))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(
                name="cases", data=asset.add_batch_definition_whole_dataframe("all"), suite=suite
            )
        )
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name="gate",
                validation_definitions=[definition],
                actions=actions,
                result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["case"]},
            )
        )
        columns = ["case", *dict.fromkeys(rule.column for rule in rules if rule.column != "case")]
        done = checkpoint.run(
            batch_parameters={"dataframe": frame[columns]}, run_id=gx.RunIdentifier("validate", EPOCH)
        )
        if part and docs:
            _stand_alone(part)
            part.chmod(0o755)
            shutil.rmtree(docs, ignore_errors=True)
            part.replace(docs)
    finally:
        if part:
            shutil.rmtree(part, ignore_errors=True)
    (result,) = done.run_results.values()
    return {
        item["expectation_config"]["meta"]["rule"]: _failing(item)
        for item in result.to_json_dict()["results"]
    }


def _library() -> Any:
    """Great Expectations with everything that would leave this machine turned off."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations

    return great_expectations


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(folder.resolve()),
        },
    }


def _expect(rule: Rule) -> Any:
    import great_expectations.expectations as gxe

    shared = {
        "column": rule.column,
        "severity": rule.severity,
        "description": f"{rule.says} Else: {rule.mends}.",
        "meta": {"rule": rule.name},
    }
    if rule.patients:
        return gxe.ExpectColumnUniqueValueCountToBeBetween(min_value=rule.patients, **shared)
    if rule.allowed:
        return gxe.ExpectColumnValuesToBeInSet(value_set=list(rule.allowed), **shared)
    return gxe.ExpectColumnValuesToBeBetween(min_value=rule.low, max_value=rule.high, **shared)


def _failing(item: dict[str, Any]) -> tuple[str, ...]:
    if item["success"]:
        return ()
    rows = item["result"].get("unexpected_index_list")
    return tuple(sorted(row["case"] for row in rows)) if rows else ("cohort",)


def _stand_alone(folder: Path) -> None:
    """Make the pages readable without a network, to which they would turn for style and scripts."""
    for page in folder.rglob("*.html"):
        text = EXTERNAL.sub("", page.read_text(encoding="utf-8"))
        page.write_text(text.replace("</head>", STYLE, 1), encoding="utf-8")
