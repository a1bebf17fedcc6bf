"""Pages: templates filled into one HTML file that needs nothing beside it."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.files import write_text

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
    environment.filters.update(number=number, signed=signed, readable=readable)
    return environment


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
