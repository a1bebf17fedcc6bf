"""Frozen dataclasses out of plain YAML or JSON data; what does not fit is named, with the nearest key."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from coronet.errors import ParamsError


def build(kind: Any, value: Any, *, where: str) -> Any:
    """Make a value of type ``kind`` out of plain YAML data.

    Args:
        kind: a dataclass, a tuple type, ``int``, ``float``, ``str`` or ``bool``.
        value: what YAML gave.
        where: the place to name in an error, such as ``params.yaml: heart.loss``.

    Raises:
        ParamsError: unknown or missing key, or a value of the wrong type.
    """
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _build_tuple(typing.get_args(kind), value, where)
    if origin in (typing.Union, types.UnionType):
        choices = typing.get_args(kind)
        if value is None and type(None) in choices:
            return None
        return build(next(choice for choice in choices if choice is not type(None)), value, where=where)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ParamsError(f"{where} must be {kind.__name__}, not {value!r}.")


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ParamsError(f"{where} must hold keys and values, not {value!r}.")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.0)[0]
            raise ParamsError(f"{where}: there is no key «{key}»; the nearest is «{near}».")
    missing = [
        name
        for name, field in fields.items()
        if name not in value
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ParamsError(f"{where}: the key «{missing[0]}» is missing.")
    joint = "." if where.count(":") else ": "
    return kind(**{key: build(hints[key], item, where=f"{where}{joint}{key}") for key, item in value.items()})


def _build_tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ParamsError(f"{where} must be a list, not {value!r}.")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(build(items[0], item, where=where) for item in value)
    if len(items) != len(value):
        raise ParamsError(f"{where} must have {len(items)} values, not {len(value)}.")
    return tuple(build(kind, item, where=where) for kind, item in zip(items, value, strict=True))
