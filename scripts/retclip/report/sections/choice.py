"""The choice: the tuned configuration, and the optimistic bias of its score on the way to the test."""

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
Chosen: {{ names[run.decisions.best.id] }} <small>{{ run.decisions.best.id }}</small>,
{{ run.decisions.best.reason }}.</p>
{{ table("tuned_configuration") }}
{% if "leaderboard_confirm" in tables %}
{{ table("leaderboard_confirm") }}
{% endif %}
<p>A score that a choice was made by has an optimistic bias.
The score of the tuned configuration with {{ run.search_encoder }}, step by step:</p>
<dl>{% for name, value in optimistic_bias %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>{% endfor %}</dl>
"""


def configuration_table(run: RunFolder, encoder: str | None = None) -> Table:
    """The tuned configuration beside the baseline; changed values are marked. encoder: None for the search's."""
    tuned_model = run.tuned(encoder or run.search_encoder)[0].trial.configured
    default = run.baselines()[0].trial.configured
    shown = [name for name in HYPERPARAMETERS if name in tuned_model]
    rows = [[label_of(name), wording.setting(tuned_model[name]), wording.setting(default[name])] for name in shown]
    changed = frozenset(i for i, name in enumerate(shown) if tuned_model[name] != default[name])
    return Table(["hyperparameter", "tuned", "baseline"], rows, changed)


def optimistic_bias(run: RunFolder) -> list[tuple[str, str]]:
    """The tuned configuration's score from the search to the test: each step has less optimistic bias."""
    best = run.decisions["best"]
    searched = [
        candidate["metric"]
        for candidate in run.decisions["phase2"]["candidates"]
        if candidate["configured"] == best["configured"] and candidate["metric"] is not None
    ]
    tuned = run.tuned(run.search_encoder)
    scores = [final.score(run.metric) for final in tuned]
    known = [value for value in scores if value is not None]
    steps = [("one of the best trials of Phase 2, on validation", value) for value in searched[:1]]
    expected = [
        candidate["expected"]
        for candidate in run.decisions["phase2"]["candidates"]
        if candidate["configured"] == best["configured"] and candidate.get("expected") is not None
    ]
    steps += [("the same, as a model of all trials expects it", value) for value in expected[:1]]
    if "confirm" in run.boards and best["metric"] is not None:
        steps.append(("fresh seeds of the chosen one, on validation", best["metric"]))
    if len(known) == len(scores):
        steps.append(("final model, on validation", sum(known) / len(known)))
    test = score(tuned, run.test_metric).value
    if test is not None and run.test_metric == run.metric:
        steps.append(("final model, on test", test))
    return [(name, wording.score(value)) for name, value in steps]


def _tables(run: RunFolder) -> dict[str, Captioned]:
    tuned = Captioned("The tuned configuration; changed values are highlighted", configuration_table(run))
    return {"tuned_configuration": tuned, **leaderboard_of(run, "confirm")}


def _words(run: RunFolder) -> dict[str, Any]:
    return {"optimistic_bias": optimistic_bias(run)}


SECTION = Section("The choice", TEXT, is_ready=lambda run: run.is_decided, tables=_tables, words=_words)
