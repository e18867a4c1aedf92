import pytest

from tests.zoo.report import REPORT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REPORT.rows or REPORT.notes:
        terminalreporter.section("the zoo")
        for line in REPORT.lines():
            terminalreporter.write_line(line)
