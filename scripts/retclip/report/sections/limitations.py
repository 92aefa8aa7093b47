"""What can be concluded from a test split of this size, and what cannot."""

from typing import Any

from retclip.report.limitations import limits
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

TEXT = """
<ul>
{% for sentence in limits %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
"""


def _words(run: RunFolder) -> dict[str, Any]:
    return {"limits": limits(run)}


SECTION = Section(
    "What can be concluded", TEXT, is_ready=lambda run: run.is_decided and run.audit is not None, words=_words
)
