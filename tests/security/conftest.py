"""The table of attacks, printed at the end: what each may take, what it took, and what was said."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "teardown":
                rows += [value for name, value in report.user_properties if name == "attack"]
    if not rows:
        return
    terminalreporter.section("attacks")
    for room, name, most_seconds, most_megabytes, seconds, megabytes, said in sorted(rows):
        bounds = f"{seconds:5.1f} of {most_seconds:3.0f} s {megabytes:5} of {most_megabytes:4} MB"
        terminalreporter.line(f"{room.removesuffix('_attacks'):<8} {name[:58]:<58} {bounds}  {said[:110]}")
    terminalreporter.line(f"{len(rows)} attacks")
