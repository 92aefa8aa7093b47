"""The packages of requirements.lock, each with its version, its hashes, and what needs it."""

import re
from pathlib import Path
from typing import NamedTuple

PACKAGE = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+))?")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
NEEDED_BY = re.compile(r"\s+#(?: via)?\s+(?P<who>\S+(?: \S+)*)")
OURS = "-r envs/requirements.in"


class LockedPackage(NamedTuple):
    """marker: where it is installed, as pip says it; "" for everywhere. needed_by: packages, and OURS."""

    name: str
    version: str
    marker: str
    hashes: list[str]
    needed_by: list[str]


def locked_packages(lock: Path) -> list[LockedPackage]:
    """All of a lock that uv wrote, in its order."""
    found: list[LockedPackage] = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if match := PACKAGE.match(line):
            found.append(LockedPackage(match["name"], match["version"], (match["marker"] or "").strip(), [], []))
        elif match := HASH.search(line):
            found[-1].hashes.append(match[1])
        elif (match := NEEDED_BY.fullmatch(line)) and match["who"] != "via":
            found[-1].needed_by.append(match["who"])
    return found
