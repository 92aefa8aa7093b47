"""What a section of the page is made of: each module of report/sections declares one, as SECTION."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retclip.report.cells import Captioned
from retclip.report.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _none(run: RunFolder) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Section:
    """text: HTML to stand beneath the title, as a Jinja template; it knows run, wording (report.formatting), metric and
    test_metric by name, figure(NAME) and table(NAME), which lay those out, and what `words` gives.

    is_ready: whether what the section shows has finished; before, an interim page leaves it out, and nothing else of it
    is called. figures: name -> draws it, or None where this run has none; templates/sections.yaml has the captions.
    """

    title: str
    text: str
    is_ready: Callable[[RunFolder], bool] = lambda run: True
    figures: Mapping[str, Callable[[RunFolder], "Figure | None"]] = field(default_factory=dict)
    tables: Callable[[RunFolder], dict[str, Captioned]] = _none
    words: Callable[[RunFolder], dict[str, Any]] = _none
