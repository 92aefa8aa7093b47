"""The limitations: what a test split of this size does not show."""

from typing import Any

from retclip.report.limitations import limitations, warnings
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

TEXT = """
<ul>
{% for sentence in limitations %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
{% if warnings %}
<aside class="warnings" id="warnings"><h2>Warnings of the stages and the audit</h2>
<ul>
{% for warning in warnings %}
<li>{{ warning }}</li>
{% endfor %}
</ul></aside>
{% endif %}
"""


def _words(run: RunFolder) -> dict[str, Any]:
    return {"limitations": limitations(run), "warnings": warnings(run)}


SECTION = Section("Limitations", TEXT, is_ready=lambda run: run.is_decided and run.audit is not None, words=_words)
