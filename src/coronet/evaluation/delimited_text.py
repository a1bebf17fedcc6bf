"""Tables of delimited text as spreadsheets and statistics programs write them, read without guessing."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from coronet.errors import InputError
from coronet.text import counted

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_ENCODINGS = (
    # the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_LONGEST_FIELD = 1 << 20


@dataclasses.dataclass(frozen=True)
class DelimitedTable:
    """A table with a heading, every row of which has as many fields as the heading."""

    path: Path  # the file
    delimiter: str  # what lies between fields: comma, semicolon or tab
    # the heading, in Unicode's composed form, without blanks around; a name may be empty
    columns: tuple[str, ...]
    # line number in the file and fields of every row; blank rows are left out
    rows: tuple[tuple[int, list[str]], ...]


def read_delimited(path: Path) -> DelimitedTable:
    """Read a table of fields between commas, semicolons or tabs, in UTF-8, or in UTF-16 or -32 with its mark.

    Quotes, byte order marks, any line ends, blank lines and Excel's line ``sep=;`` are understood.

    Raises:
        InputError: no such file, another encoding, no heading, a heading that is not clear, quotes that do
            not match, or a row with more or fewer fields than the heading.
    """
    path = Path(path)
    text = _decode(path)
    delimiter = ""
    head, line_end, rest = text.partition("\n")
    if head.lower().startswith("sep=") and len(head.rstrip("\r")) == 5:
        # the line stays as a blank one, so that line numbers are those of the file
        delimiter, text = head[4], line_end + rest
        if delimiter not in _DELIMITERS:
            raise InputError(
                f'{path}: its fields are divided by "{delimiter}"; use commas, semicolons or tabs.'
            )
    delimiter = delimiter or _find_delimiter(text, path)
    records = _records(text, delimiter, path)
    _, heading = next(records, (0, []))
    columns = tuple(unicodedata.normalize("NFC", name) for name in heading)
    if len(columns) < 2:
        raise InputError(
            f"{path} is no table: its first line has one field. It must be a heading with a name for each "
            f"column, divided by {' or '.join(_DELIMITERS.values())}."
        )
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InputError(f'{path} has several columns "{twice[0]}"; give each a name of its own.')
    rows = tuple(records)
    for line, fields in rows:
        if len(fields) != len(columns):
            raise InputError(f"{path}, line {line}: {_misfit(columns, len(fields), delimiter)}")
    return DelimitedTable(path, delimiter, columns, rows)


def _misfit(columns: tuple[str, ...], count: int, delimiter: str) -> str:
    hint = "Give every column a heading and every row a field for each."
    if delimiter == "," and count > len(columns):
        hint += " Numbers with decimal commas need quotes, or semicolons between the fields."
    return f"{counted(count, 'field')}, but the heading has {len(columns)} ({', '.join(columns)}). {hint}"


def _decode(path: Path) -> str:
    if not path.exists():
        raise InputError(f"{path} is absent.")
    if not path.is_file():
        raise InputError(f"{path} is no file; give a table of delimited text (CSV).")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if content.startswith(b"PK\x03\x04") or content.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(f"{path} is a workbook; save its sheet as CSV UTF-8.")
    encoding = next((name for mark, name in _ENCODINGS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}: not {encoding.removesuffix('-sig').upper()}. Save the table as CSV UTF-8."
        ) from error
    if "\0" in text:
        raise InputError(f"{path} holds NUL characters; save the table as CSV UTF-8.")
    if not text.strip():
        raise InputError(f"{path} is empty.")
    return text


def _find_delimiter(text: str, path: Path) -> str:
    """What divides the heading; rows are not asked, since numbers may hold commas."""
    unquoted = re.sub(r'"[^"]*"', "", text)
    heading = next(filter(str.strip, unquoted.splitlines()), "")
    found = [delimiter for delimiter in _DELIMITERS if delimiter in heading]
    if len(found) > 1:
        raise InputError(
            f"{path}: the heading can be divided by {' or by '.join(_DELIMITERS[item] for item in found)}; "
            "put names that hold one of them into quotes."
        )
    return found[0] if found else ","


def _records(text: str, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row that is not blank, blanks around fields taken off."""
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    line = 1
    try:
        for fields in reader:
            stripped = [field.strip() for field in fields]
            if any(stripped):
                yield line, stripped
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {line}: the quotes of this row do not match ({error}). Close them, or double a "
            "quote that belongs to the text."
        ) from error
