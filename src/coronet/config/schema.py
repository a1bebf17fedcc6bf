"""Frozen dataclasses out of plain YAML or JSON data, with all faults in one error.

Fields say what they allow: ``Annotated[float, Range(0, 1)]``. A dataclass may add ``rules``, a method that
yields what does not fit together.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import reprlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from coronet.errors import ParamsError
from coronet.text import nearest

Path = tuple[str, ...]
_VERBS = ("is ", "must ", "names ")  # how a fault begins that goes on from the key's name
_INVALID = object()


@dataclasses.dataclass(frozen=True)
class InRange:
    """Numbers from ``low`` to ``high``; ``open_low`` and ``open_high`` leave the ends out."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def fault(self, value: float) -> str:
        """What is wrong, or nothing."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return "" if above and below else f"is {value}; it must be {self}"

    def __str__(self) -> str:
        low = f"above {self.low:.10g}" if self.open_low else f"at least {self.low:.10g}"
        return f"{low} and {'below' if self.open_high else 'at most'} {self.high:.10g}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of a few names."""

    names: tuple[str, ...]
    hint: str = ""

    def fault(self, value: str) -> str:
        """What is wrong, or nothing."""
        if value in self.names:
            return ""
        known = " or ".join(filter(None, [", ".join(self.names[:-1]), self.names[-1]]))
        return f'"{value}" is not allowed{nearest(value, self.names)} ({self.hint or known})'


@dataclasses.dataclass(frozen=True)
class Rising:
    """A pair (lowest, highest); ``equal`` allows both to be the same."""

    equal: bool = False

    def fault(self, value: tuple[float, float]) -> str:
        """What is wrong, or nothing."""
        low, high = value
        if low < high or (self.equal and low == high):
            return ""
        return f"is [{low:g}, {high:g}]; the first must be {'at most' if self.equal else 'below'} the second"


@dataclasses.dataclass(frozen=True)
class Items:
    """A list of one to ``most`` items, of which no two are alike where they must be ``distinct``."""

    most: int = 1000
    distinct: bool = False

    def fault(self, value: tuple[Any, ...]) -> str:
        """What is wrong, or nothing."""
        if not 1 <= len(value) <= self.most:
            return f"names {len(value)}; it must name at least one and at most {self.most}"
        twice = [item for item in value if value.count(item) > 1] if self.distinct else []
        return f'names "{twice[0]}" twice' if twice else ""


@dataclasses.dataclass(frozen=True)
class ParamFault:
    """What is wrong with the value at ``path``; ``key`` is one below it that a line number is wanted for."""

    path: Path
    text: str
    key: Path = ()

    def __str__(self) -> str:
        joint = " " if self.text.startswith(_VERBS) else ": "
        return f"{'.'.join(self.path)}{joint if self.path else ''}{self.text}"


class FaultyParams(ParamsError):
    """Parameters with one fault or more."""

    def __init__(
        self,
        faults: Sequence[ParamFault],
        where: str = "",
        line_of: Callable[[Path], int | None] | None = None,
    ) -> None:
        self.faults = tuple(faults)
        lines = (line_of((*fault.path, *fault.key)) if line_of else None for fault in self.faults)
        listed = [
            (f"line {line}" if line else "", str(fault)) for line, fault in zip(lines, faults, strict=True)
        ]
        if len(listed) == 1:
            line, text = listed[0]
            place = ", ".join(filter(None, [where, line]))
            super().__init__(f"{place}: {text}." if place else f"{text}.")
            return
        head = f"{where}: {len(listed)} faults" if where else f"{len(listed)} faults"
        super().__init__("\n".join([head, *(f"  {': '.join(filter(None, item))}" for item in listed)]))


class CheckedValue:
    """Base of dataclasses that check fields and rules whenever one is made, `dataclasses.replace` included.

    Raises:
        FaultyParams: when made with values that are not allowed.
    """

    def __post_init__(self) -> None:
        faults: list[ParamFault] = []
        kind: Any = type(self)
        for name, hint in _hints(kind).items():
            if not dataclasses.is_dataclass(hint):
                _build(hint, getattr(self, name), (name,), faults)
        if not faults:
            faults = [ParamFault(tuple(filter(None, key.split("."))), text) for key, text in self.rules()]
        if faults:
            place = type(self).__name__.removesuffix("Params").lower()
            raise FaultyParams([dataclasses.replace(item, path=(place, *item.path)) for item in faults])

    def rules(self) -> Iterator[tuple[str, str]]:
        """Dotted field (or none), and how it does not fit the others."""
        yield from ()


def build(kind: Any, value: Any, *, where: str) -> Any:
    """Make a dataclass ``kind`` out of plain YAML data; errors name ``where``, such as ``params.yaml``.

    Raises:
        FaultyParams: unknown or missing keys, values of the wrong type or out of range; all of them.
    """
    faults: list[ParamFault] = []
    built = _build(kind, value, (), faults)
    if faults:
        raise FaultyParams(faults, where)
    return built


def _build(kind: Any, value: Any, path: Path, faults: list[ParamFault]) -> Any:
    """The value, or `_INVALID` after its faults were noted."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        plain, *limits = typing.get_args(kind)
        built = _build(plain, value, path, faults)
        found = (item.fault(built) for item in limits if built is not _INVALID)
        return next((_note(faults, path, fault) for fault in found if fault), built)
    if origin in (typing.Union, types.UnionType):
        choice = next(item for item in typing.get_args(kind) if item is not type(None))
        return None if value is None else _build(choice, value, path, faults)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, path, faults)
    if origin is tuple:
        return _build_tuple(typing.get_args(kind), value, path, faults)
    return _build_plain(kind, value, path, faults)


def _build_plain(kind: type, value: Any, path: Path, faults: list[ParamFault]) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        return number if math.isfinite(number) else _note(faults, path, f"is {number}; it must be finite")
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    return _note(faults, path, f"must be {kind.__name__}, not {reprlib.repr(value)}")


def _build_dataclass(kind: Any, value: Any, path: Path, faults: list[ParamFault]) -> Any:
    if not isinstance(value, Mapping):
        return _note(faults, path, f"must hold keys and values, not {reprlib.repr(value)}")
    before = len(faults)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            known = nearest(str(key), fields) or f" ({', '.join(fields)} are known)"
            _note(faults, path, f'there is no key "{key}"{known}', key=(str(key),))
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            _note(faults, path, f'the key "{name}" is missing')
    hints = _hints(kind)
    built = {
        name: _build(hints[name], value[name], (*path, name), faults) for name in fields if name in value
    }
    if len(faults) > before:
        return _INVALID
    try:
        return kind(**built)
    except FaultyParams as error:
        # their first place is the name of the dataclass
        faults += [dataclasses.replace(item, path=(*path, *item.path[1:])) for item in error.faults]
        return _INVALID


def _build_tuple(items: tuple[Any, ...], value: Any, path: Path, faults: list[ParamFault]) -> Any:
    if not isinstance(value, list | tuple):
        return _note(faults, path, f"must be a list, not {reprlib.repr(value)}")
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        return _note(faults, path, f"must have {len(items)} values, not {len(value)}")
    built = tuple(_build(kind, item, path, faults) for kind, item in zip(items, value, strict=True))
    return _INVALID if any(item is _INVALID for item in built) else built


def _note(faults: list[ParamFault], path: Path, text: str, *, key: Path = ()) -> Any:
    faults.append(ParamFault(path, text, key))
    return _INVALID


@functools.cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)
