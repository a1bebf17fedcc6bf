"""Pools of threads in place of fresh interpreters, which take longer to start than small scans to process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from coronet.phantom import annotated_cohort, cohort
from coronet.preprocessing import prepared_store


@contextlib.contextmanager
def worker_threads() -> Iterator[None]:
    """Prepare and draw cases in this process."""
    with contextlib.ExitStack() as patches:
        for module in (prepared_store, cohort, annotated_cohort):
            patches.enter_context(mock.patch.object(module, "worker_pool", ThreadPoolExecutor))
        yield
