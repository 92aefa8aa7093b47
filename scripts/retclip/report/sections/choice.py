"""The choice: the recipe, and how a score stops flattering on its way to the test."""

from typing import Any

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table
from retclip.report.comparisons import score
from retclip.report.leaderboards import leaderboard_of
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

TEXT = """
<p>The rule, fixed beforehand: {{ run.decisions.best.rule }}.
Chosen: {{ run.decisions.best.id }}, {{ run.decisions.best.reason }}.</p>
{{ table("recipe") }}
{% if "leaderboard_confirm" in tables %}
{{ table("leaderboard_confirm") }}
{% endif %}
<p>A score that was the reason for a choice flatters. The winner's, step by step:</p>
<dl>{% for name, value in optimism %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>{% endfor %}</dl>
"""


def recipe_table(run: RunFolder) -> Table:
    """The winner's hyperparameters beside the default config's; what was tuned is marked."""
    winner = run.winners(run.search_encoder)[0].trial.configured
    default = run.baselines()[0].trial.configured
    shown = [name for name in HYPERPARAMETERS if name in winner]
    rows = [[label_of(name), wording.setting(winner[name]), wording.setting(default[name])] for name in shown]
    changed = frozenset(i for i, name in enumerate(shown) if winner[name] != default[name])
    return Table(["hyperparameter", "winner", "default"], rows, changed)


def optimism(run: RunFolder) -> list[tuple[str, str]]:
    """The winner's score from the search to the test: each step is less flattered by having been chosen."""
    best = run.decisions["best"]
    searched = [
        candidate["metric"]
        for candidate in run.decisions["phase2"]["candidates"]
        if candidate["configured"] == best["configured"] and candidate["metric"] is not None
    ]
    winners = run.winners(run.search_encoder)
    scores = [final.score(run.metric) for final in winners]
    known = [value for value in scores if value is not None]
    steps = [("one of the best trials of Phase 2, on validation", value) for value in searched[:1]]
    if "confirm" in run.boards and best["metric"] is not None:
        steps.append(("fresh seeds of the chosen one, on validation", best["metric"]))
    if len(known) == len(scores):
        steps.append(("final training, on validation", sum(known) / len(known)))
    test = score(winners, run.test_metric).value
    if test is not None and run.test_metric == run.metric:
        steps.append(("final training, on test", test))
    return [(name, wording.score(value)) for name, value in steps]


def _tables(run: RunFolder) -> dict[str, Captioned]:
    recipe = Captioned("The recipe; what tuning changed is set off", recipe_table(run))
    return {"recipe": recipe, **leaderboard_of(run, "confirm")}


def _words(run: RunFolder) -> dict[str, Any]:
    return {"optimism": optimism(run)}


SECTION = Section("The choice", TEXT, is_ready=lambda run: run.is_decided, tables=_tables, words=_words)
