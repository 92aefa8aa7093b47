"""Where the page answers an item of TRIPOD+AI or CLAIM."""

from typing import Any

from retclip.report.checklist import checklist
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

TEXT = """
<p>Where this page answers an item of TRIPOD+AI or CLAIM. Numbers are those of the 2024 statements; words are ours.</p>
<div class="scroll"><table>
<thead><tr>{% for head in ("item", "asks for", "answer") %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for entry in checklist %}
<tr><th scope="row">{{ entry.where }}</th><td>{{ entry.item }}</td>
<td>
{%- if entry.anchor %}<a href="#{{ entry.anchor }}">{{ entry.answer }}</a>
{%- else %}{{ entry.answer }}{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
"""


def _words(run: RunFolder) -> dict[str, Any]:
    return {"checklist": checklist(run)}


SECTION = Section("Reporting checklist", TEXT, is_ready=lambda run: not run.interim, words=_words)
