"""The table of faults, printed at the end: how often each was injected, and survived."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from reliability.faults import Entries, commands


@pytest.fixture(scope="session")
def entries() -> Entries:
    return Entries()


@pytest.fixture(scope="session")
def jobs(small_run, small_config, tmp_path_factory) -> dict[str, tuple[str, list[str]]]:
    """rule -> entry and flags of one of its jobs in the small run; cache_features, which it does without, included."""
    frozen = tmp_path_factory.mktemp("frozen") / "text.yaml"
    frozen.write_text("model: {freeze: text}")
    return {**commands(small_run, *small_config, frozen), **commands(small_run, *small_config)}


@pytest.fixture
def injected(record_property) -> Callable[..., object]:
    """with injected("kill -9", "a training run"): ... counts one more, survived if the block ends well."""

    @contextmanager
    def count(fault: str, victim: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            record_property("fault", (f"{fault}: {victim}", 0))
            raise
        record_property("fault", (f"{fault}: {victim}", 1))

    return count


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    times, survived, fuzzed = Counter(), Counter(), Counter()
    for report in (
        r for reports in terminalreporter.stats.values() for r in reports if isinstance(r, pytest.TestReport)
    ):
        for name, value in report.user_properties if report.when == "teardown" else ():
            if name == "fault":
                times[value[0]] += 1
                survived[value[0]] += value[1]
            elif name == "fuzz":
                fuzzed[value[0]] += value[1]
    if times:
        terminalreporter.section("faults")
        for fault in sorted(times):
            terminalreporter.line(f"{fault:<70} injected {times[fault]:>4}   survived {survived[fault]:>4}")
        terminalreporter.line(f"{'all':<70} injected {times.total():>4}   survived {survived.total():>4}")
    if fuzzed:
        terminalreporter.section("fuzz")
        for kind, cases in sorted(fuzzed.items()):
            terminalreporter.line(f"{kind:<70} cases {cases:>7}")
        terminalreporter.line(f"{'all':<70} cases {fuzzed.total():>7}")
