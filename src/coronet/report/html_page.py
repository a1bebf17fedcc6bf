"""Pages: templates filled into one HTML file that needs nothing beside it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.files import write_text
from coronet.imaging.slice_names import slice_span
from coronet.text import counted

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number with its name, a note and its unit, as text."""

    name: str
    value: str
    note: str = ""
    unit: str = ""


_TEMPLATES = Path(__file__).parent / "templates"
_PARTS = {"style": "css", "script": "js"}


def write_page(path: Path, template: str, **context: Any) -> None:
    """Fill a template of ``templates`` and write it atomically; whatever is put in is escaped."""
    parts = {name: (_TEMPLATES / f"page.{end}").read_text("utf-8") for name, end in _PARTS.items()}
    write_text(path, _environment().get_template(template).render(**parts, **context))


@functools.cache
def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, signed=signed, readable=readable, slice_span=lambda span: slice_span(*span)
    )
    return environment


def network_facts(
    model: str, encoder: str, cases: Mapping[str, int], fingerprint: str, weights_sha256: str
) -> list[tuple[str, str]]:
    """Rows on what a network is and how many cases of each source it learned from."""
    sources = (
        ", ".join(counted(count, f"{source} case") for source, count in sorted(cases.items()))
        or "unknown cases"
    )
    name = model.capitalize()
    return [
        (f"{name} network", f"{encoder}, learned from {sources}"),
        (f"{name} fingerprint", fingerprint or "none"),
        (f"{name} weights, sha256", weights_sha256),
    ]


def number(value: float | None, digits: int = 0, *, sign: str = "") -> str:
    """A number with thousands parted by thin spaces; a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:{sign}z,.{digits}f}".replace(",", "\u2009").replace("-", "−")


def signed(value: float | None, digits: int = 0) -> str:
    """A number that always shows its sign."""
    return number(value, digits, sign="+")


def readable(label: str) -> str:
    """A risk group's label with the signs of print: ``101–300``, ``≥ 400``."""
    return label.replace("-", "–").replace(">=", "≥\u2009").replace(">", ">\u2009")
