"""The tuned configuration with each text encoder."""

from typing import TYPE_CHECKING, Any

from retclip.metrics.registry import RETRIEVAL
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, with_interval
from retclip.report.comparisons import difference, holm, score
from retclip.report.drawing import subplots
from retclip.report.encoder_choices import (
    boards_of_searches,
    decided_apart,
    decision_of,
    how_tuned,
    p_values,
    searched_apart,
)
from retclip.report.leaderboards import MOST_ROWS, leaderboard_table
from retclip.report.names import trial_names
from retclip.report.run_folder import OWN, FinalModel, RunFolder
from retclip.report.score_bars import draw_scores, rows_by_encoder
from retclip.report.section import Section
from retclip.report.sections.choice import configuration_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_RETRIEVAL = [name for name, declared in RETRIEVAL.items() if declared.in_brief]
TEXT = """
<p>{{ run.recommendation.reason[0] | upper }}{{ run.recommendation.reason[1:] }} decides; test only reports.
The rule: {{ run.recommendation.rule }}.
Differences from the recommended text encoder are tested at 5 % by Holm's rule.
{% if run.seeds_each == 1 %}
Each has one seed, so significance says nothing of other seeds.
{% endif %}</p>
{{ figure("encoders") }}
{{ table("encoders") }}
{% if searched_apart %}
<p>Each text encoder was tuned: {{ searched_apart | join(" and ") }} with as many trials as {{ run.search_encoder }} in
Phase 2{% if run.config.confirm.top_k %}, and as many finalists and fresh seeds{% endif %}.
Phase 1, around whose best all of them searched, was done with {{ run.search_encoder }} alone.
Whether a search learned anything is corrected for its trials, and by Holm's rule for the number of searches.</p>
{{ table("encoder_searches") }}
{% endif %}
{% for name in choices %}
{{ table(name) }}
{% endfor %}
<p class="note">The linear probe scores the image encoder alone.
Only zero-shot and retrieval scores show whether image and text were paired.</p>
"""


def draw_encoders(run: RunFolder) -> "Figure":
    """The tuned configuration with each text encoder on test, with 95 % CIs."""
    rows = rows_by_encoder(run)
    figure, axes = subplots(height=0.5 * len(rows) + 1.4)
    draw_scores(axes, run, rows)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def encoders_table(run: RunFolder) -> Table:
    """Per text encoder: validation score, test score, difference from the recommended one, probe, retrieval."""
    recommended = run.recommendation["encoder"]
    metric = run.test_metric
    reference = run.tuned(recommended) if recommended else []
    others = [name for name in run.encoders if name != recommended] if reference else []
    gaps = {name: difference(run.tuned(name), reference, metric) for name in others}
    significant = holm(gaps)
    rows = []
    for name in run.encoders:
        finals = run.tuned(name)
        against = with_interval(gaps[name], wording.signed) if name in gaps else wording.NOTHING
        rows.append(
            [
                name,
                how_tuned(run, name),
                wording.setting(finals[0].trial.configured["learning_rate"]),
                wording.score(run.recommendation["val_scores"].get(name)),
                _seeds(run.recommendation["seeds"].get(name)),
                with_interval(score(finals, metric)),
                against,
                wording.NOTHING
                if name not in gaps
                else "too few seeds"
                if gaps[name].between_models
                else "yes"
                if name in significant
                else "not significant",
                wording.score(_mean(finals, "linear_probe", metric)),
                *(wording.score(_mean(finals, "retrieval", recall)) for recall in SHOWN_RETRIEVAL),
            ]
        )
    heads = [
        "text encoder",
        "configuration",
        "learning rate",
        "validation score",
        "seeds with a score",
        f"test {wording.metric_name(metric)}",
        "against the recommended",
        "significant (Holm)",
        "linear probe",
        *map(wording.metric_name, SHOWN_RETRIEVAL),
    ]
    return Table(heads, rows, frozenset(i for i, name in enumerate(run.encoders) if name == recommended))


def searches_table(run: RunFolder) -> Table:
    """Per text encoder with a search of its own: how many trials, whether one learned, and what was chosen."""
    names, corrected = trial_names(run), p_values(run)
    rows = []
    for encoder, board in boards_of_searches(run).items():
        decision, p = decision_of(run, encoder), corrected[encoder]
        chosen = names.get(decision["id"], decision["id"])
        rows.append(
            [
                encoder,
                str(len(board)),
                wording.score(board["metric"].max()),
                wording.NOTHING if p is None else f"{p:.2g}",
                f"the baseline: {decision['reason']}" if decision["id"] == "defaults" else chosen,
            ]
        )
    return Table(["text encoder", "trials", "best validation score", "p (Holm)", "chosen"], rows)


def _seeds(counted: dict[str, Any] | None) -> str:
    """How many of the planned seeds have a score; those without count as chance in the validation score."""
    if counted is None:
        return wording.NOTHING
    return f"{counted['planned'] - len(counted['failed'])} of {counted['planned']}"


def _mean(finals: list[FinalModel], part: str, metric: str) -> float | None:
    """Over all seeds; None where one of them failed or has no value, since the others are no fair sample."""
    values = [None if one.failed else getattr(one.evaluation, part).get(metric, {}).get("value") for one in finals]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _choices(run: RunFolder) -> dict[str, Captioned]:
    """What each text encoder tried by itself: learning rates, or a search and its confirmation."""
    names, apart = trial_names(run), searched_apart(run)
    if not decided_apart(run):
        return {
            f"learning_rates_{encoder}": Captioned(
                f"Learning rates that {encoder} tried, by validation", leaderboard_table(board, board["id"][0], names)
            )
            for encoder, board in run.encoder_boards.items()
        }
    found = {}
    for encoder in apart:
        chosen, board = decision_of(run, encoder)["id"], run.encoder_boards[encoder]
        more = f", the best {MOST_ROWS} of {len(board)}" if len(board) > MOST_ROWS else ""
        found[f"search_{encoder}"] = Captioned(
            f"The search with {encoder}: the leaderboard{more}", leaderboard_table(board, chosen, names)
        )
        if f"{OWN}{encoder}" in run.boards:
            fresh = leaderboard_table(run.boards[f"{OWN}{encoder}"], chosen, names)
            found[f"confirm_{encoder}"] = Captioned(f"The confirmation with {encoder}: the leaderboard", fresh)
        found[f"tuned_configuration_{encoder}"] = Captioned(
            f"The configuration tuned with {encoder}; changed values are highlighted",
            configuration_table(run, encoder),
        )
    return found


def _tables(run: RunFolder) -> dict[str, Captioned]:
    what, searches = "The tuned configuration with each text encoder", {}
    if searched_apart(run):
        what = "The configuration tuned with each text encoder"
        searches["encoder_searches"] = Captioned("The search of each text encoder", searches_table(run))
    caption = f"{what}, with {wording.intervals_over(run.seeds_each)}"
    return {"encoders": Captioned(caption, encoders_table(run)), **searches, **_choices(run)}


def _words(run: RunFolder) -> dict[str, Any]:
    return {"searched_apart": searched_apart(run), "choices": list(_choices(run))}


SECTION = Section(
    "Text encoders",
    TEXT,
    is_ready=lambda run: run.is_decided and run.recommendation is not None,
    figures={"encoders": draw_encoders},
    tables=_tables,
    words=_words,
)
