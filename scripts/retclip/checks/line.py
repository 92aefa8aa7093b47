"""One line of a check's page: what was looked at, how it is, what was found, and what to do."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from retclip.core.logs import log

OK, SLOW, BROKEN, NOT_RUN = "ok", "slow", "broken", "not run"
# of what an error of a library says
MOST_CHARACTERS = 200


@dataclass(frozen=True)
class Line:
    """state: OK, SLOW, BROKEN or NOT_RUN. found: with its numbers and units; of NOT_RUN, why. to_do: of SLOW and
    BROKEN."""

    name: str
    state: str
    found: str
    to_do: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in check_gpu.json."""
        return asdict(self)


def checked(name: str, check: Callable[[str], Line]) -> Line:
    """What `check` finds; BROKEN with the error where it fails in whatever way: the other checks go on."""
    log(f"checking {name}")
    try:
        return check(name)
    except Exception as error:
        said = " ".join(str(error).split())[:MOST_CHARACTERS]
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return Line(name, BROKEN, f"{kind}{said}", "mend this before a run is started here")


def page(lines: list[Line], title: str) -> str:
    """The lines as a person reads them in a terminal, the verdict last."""
    width = max(len(line.name) for line in lines)
    rows = [title, ""]
    for line in lines:
        rows.append(f"{line.state:<8}{line.name:<{width}}  {line.found}")
        if line.to_do:
            rows.append(f"{'':<{8 + width}}  -> {line.to_do}")
    return "\n".join([*rows, "", verdict(lines)])


def verdict(lines: list[Line]) -> str:
    """One sentence on all lines."""
    count = {state: sum(line.state == state for line in lines) for state in (OK, SLOW, BROKEN, NOT_RUN)}
    told = ", ".join(f"{number} {state}" for state, number in count.items() if number)
    if count[BROKEN]:
        return f"{told}. Do not start a run here before what is broken is mended."
    return f"{told}. A run can start here{', at the speed above' if count[SLOW] else ''}."
