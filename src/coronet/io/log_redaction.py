"""Header values kept out of logs.

Libraries that parse headers quote them in warnings and log records: pydicom says ``Invalid value for VR UI``
and adds the value, which may name the patient. `warnings.catch_warnings` does not help where several threads
read, and no log level does where all records are asked for. So these libraries are silent for good in
a process that reads scans; what is wrong with a file, Coronet's own errors say without its values.
"""

from __future__ import annotations

import functools
import logging
import re
import warnings

_LIBRARIES = ("pydicom", "highdicom", "nibabel", "nrrd", "PIL")
"""Libraries whose loggers are silent, those below them included."""

_MODULES = re.compile(r"(pydicom|highdicom|nibabel|nrrd|PIL|coronet\.(?:io|dataset))(\.|$)")
"""Modules whose warnings are not shown: the libraries, and those that call them."""


class _Nothing(logging.Filter):
    """Lets no record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False


_NOTHING = _Nothing()


def silence_libraries() -> None:
    """Drop every warning and log record of the libraries that parse headers.

    To be called before each use of them, when they are imported: their loggers may be new, and
    logging or warnings may have been set up anew.
    """
    for logger in _loggers(len(logging.root.manager.loggerDict)):
        logger.propagate = False
        if _NOTHING not in logger.filters:
            logger.addFilter(_NOTHING)
            # Without any handler, warnings of a logger that is made later would go to standard error.
            logger.addHandler(logging.NullHandler())
    ours = ("ignore", None, Warning, _MODULES, 0)
    if not warnings.filters or warnings.filters[0] != ours:
        warnings.filterwarnings("ignore", module=_MODULES.pattern)


@functools.lru_cache(maxsize=1)
def _loggers(known: int) -> tuple[logging.Logger, ...]:
    """Loggers of `_LIBRARIES` while ``known`` loggers exist, and new ones for those that have none."""
    below = tuple(f"{name}." for name in _LIBRARIES)
    names = [name for name in logging.root.manager.loggerDict if name.startswith(below)]
    return tuple(map(logging.getLogger, [*_LIBRARIES, *names]))
