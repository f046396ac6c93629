"""Options and fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile("default")

ROOT = Path(__file__).parent.parent
SLOW = "slow: runs with --slow (make test-slow)"
OPT_IN = "opt-in: "
"""How the reason starts where a test is skipped for want of what nibble does not ask for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of real test data")
    parser.addoption(
        "--require-data", action="store_true", help="fail where tests are skipped for want of data or packages"
    )
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=SLOW))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With --require-data, a test that was skipped fails the run, but for slow and opt-in ones."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--require-data"):
        return
    skipped = [str(report.longrepr) for report in reporter.stats.get("skipped", [])]
    lacking = [reason for reason in skipped if SLOW not in reason and OPT_IN not in reason]
    if lacking:
        reporter.write_line(f"\n{len(lacking)} skipped for want of data or packages (-rs lists them)", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def data(request: pytest.FixtureRequest) -> Path:
    """The folder of real weights, graphs and pictures; the test is skipped where it is absent."""
    folder: Path = request.config.getoption("--data")
    if folder.is_dir():
        return folder
    if request.config.getoption("--require-data"):
        pytest.fail(f"{folder} is required here and absent")
    pytest.skip(f"real data not found: {folder}")
