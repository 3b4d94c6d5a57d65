"""Rules for every test: kernel tests need root, and in CI a kernel test that skips has failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
IS_ROOT = os.geteuid() == 0
IS_PURE_V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
TESTS = Path(__file__).resolve().parent
KERNEL = {"kernel", "attacks"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what another kernel must prove; skip kernel tests without root, which CI refuses."""
    for item in items:
        if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).parts[0] in KERNEL:
            item.add_marker(pytest.mark.kernel)
    elsewhere = [item for item in items if item.get_closest_marker("v2") and not IS_PURE_V2]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]
    if IS_ROOT:
        return
    for item in items:
        if item.get_closest_marker("kernel"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """In CI, turn a skipped kernel test into a failure."""
    report: pytest.TestReport = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("kernel"):
        report.outcome = "failed"
        report.longrepr = f"a kernel test may not skip in CI: {report.longrepr}"
    return report
