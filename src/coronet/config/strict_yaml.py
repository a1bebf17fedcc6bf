"""YAML 1.2 as DVC reads it, with the same library and settings, so that both take the same values.

``010`` is 10, ``1:30`` and ``yes`` are text, ``1e-3`` is a number. A repeated key, a tab as indent, a second
document and unknown tags are errors.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Mapping
from typing import Any

from coronet.errors import ParamsError

_CONFLICT = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?: .*)?$", re.MULTILINE)
"""What git leaves of a merge that it could not finish."""
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}
_DEEPEST = 12  # levels whose line numbers are kept; anchors can make a document that has no end


@dataclasses.dataclass(frozen=True)
class YamlDocument:
    """Plain data, and the line number of each key by its path from the top."""

    value: Any
    lines: Mapping[tuple[str, ...], int]


def parse_yaml(content: bytes, where: str) -> YamlDocument:
    """Parse a document in UTF-8; errors name ``where``.

    Raises:
        ParamsError: another encoding, no YAML 1.2, or a merge conflict; names the line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    text = _decode(content, where)
    if conflict := _CONFLICT.search(text):
        line = text.count("\n", 0, conflict.start()) + 1
        raise ParamsError(
            f'{where}, line {line}: a merge conflict ("{conflict.group(1)}"). Keep one side and remove the '
            "marks."
        )
    try:
        value = YAML(typ="safe").load(text)
        root = YAML(typ="safe").compose(text)
    # values that fit a tag's name but not its form end in Python's own errors
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ParamsError(f"{where}{_place(error)}: no YAML 1.2: {_reason(error)}.") from error
    lines: dict[tuple[str, ...], int] = {}
    _find_lines(root, (), lines)
    return YamlDocument(value, lines)


def _decode(content: bytes, where: str) -> str:
    for mark, name in _OTHER_ENCODINGS.items():
        if content.startswith(mark):
            raise ParamsError(f"{where} is {name}; save it as UTF-8.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ParamsError(f"{where}, line {line}: not UTF-8; save the file as UTF-8.") from error
    return io.StringIO(text, newline=None).read()


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1}"


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    return " ".join(str(reason).split())[:200]


def _find_lines(node: Any, path: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
    if getattr(node, "id", "") != "mapping" or len(path) > _DEEPEST:
        return
    for key, child in node.value:
        name = str(key.value)
        if name == "<<":
            for merged in child.value if child.id == "sequence" else [child]:
                _find_lines(merged, path, lines)
        else:
            # a key of the mapping itself comes before what it merges
            lines[*path, name] = key.start_mark.line + 1
            _find_lines(child, (*path, name), lines)
