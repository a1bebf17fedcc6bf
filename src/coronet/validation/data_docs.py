"""Great Expectations at work: rules become expectations, results become case names, and pages to browse."""

from __future__ import annotations

import datetime
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.validation.rules import Rule

if TYPE_CHECKING:
    import pandas

_EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
"""Stands for the time of every run, so that the same table gives the same pages."""
_EXTERNAL = re.compile(
    r"<link[^>]*href=[\"']https?://[^>]*>|<script[^>]*src=[\"']https?://[^>]*>\s*</script>"
    r"|<img[^>]*src=[\"']https?://[^>]*>",
    re.IGNORECASE,
)
_MOMENT = re.compile(r"\b\d{8}T\d{6}\.\d{6}Z")
_RANDOM = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1150px; padding: 1rem; color: #222; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; width: 100%; }
td, th { border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: left; vertical-align: top; }
ul, ol { list-style: none; padding-left: 0; }
nav img, .modal, footer, form, label, .btn { display: none; }
.fa-check-circle::before { content: "✔ "; color: #1a7f37; }
.fa-times::before { content: "✘ "; color: #b42318; }
.fa-exclamation-triangle::before { content: "! "; color: #b54708; }
</style></head>"""
_INDEX = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Data Docs</title></head>
<body><h1>Data Docs of the case table</h1><ul>{links}</ul>
<p>Made by Great Expectations. <a href="../index.html">Summary</a></p></body></html>
"""


def evaluate_expectations(
    frame: pandas.DataFrame, rules: Sequence[Rule], *, docs: Path | None = None
) -> dict[str, tuple[str, ...]]:
    """Ask Great Expectations about every rule.

    Args:
        frame: one row a case, with a column ``case`` and the columns of the rules.
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
            site = {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(part.resolve()),
                },
            }
            context.add_data_docs_site("local", site)
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
            batch_parameters={"dataframe": frame[columns]}, run_id=gx.RunIdentifier("validate", _EPOCH)
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
    """Great Expectations, silent on the terminal and towards the network."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations
    from great_expectations.data_context.types import base

    # this module raises its own logger to INFO
    base.logger.setLevel(logging.WARNING)
    return great_expectations


def _expect(rule: Rule) -> Any:
    import great_expectations.expectations as gxe

    shared: dict[str, Any] = {
        "column": rule.column,
        "severity": rule.severity,
        "description": f"{rule.says} Else: {rule.remedy.format(case='CASE')}.",
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
    """Make the pages readable without a network: no external style, script or index."""
    pages = sorted(page for page in folder.rglob("*.html") if page != folder / "index.html")
    links = "".join(
        f'<li><a href="{page.relative_to(folder).as_posix()}">'
        f"{'Results' if 'validations' in page.parts else 'Expectations'}</a></li>"
        for page in pages
    )
    (folder / "index.html").write_text(_INDEX.format(links=links), encoding="utf-8")
    for page in (folder / "index.html", *pages):
        text = _EXTERNAL.sub("", page.read_text(encoding="utf-8"))
        text = _RANDOM.sub("", _MOMENT.sub(f"{_EPOCH:%Y%m%dT%H%M%S.%fZ}", text))
        page.write_text(text.replace("</head>", _STYLE, 1), encoding="utf-8")
