"""The page that compares finished runs: the parts of a run's page, with a section on scores, one on configurations and
one on cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.core.io import write_json
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, with_interval
from retclip.report.comparison import Comparison, Study, comparison_document
from retclip.report.comparisons import difference, score
from retclip.report.drawing import BLUE, GRAY, ROW, level_line, subplots, use_style
from retclip.report.page import rendered, write_figures, write_tables, write_text
from retclip.report.score_bars import draw_dots
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = """
<p class="kicker">{{ studies | length }} runs</p>
<h1>{{ title }}</h1>
<p class="lead">{{ headline }}</p>
{% for sentence in sentences %}
<p class="note">{{ sentence }}</p>
{% endfor %}
{{ figure("scores") }}
{{ table("scores") }}
{{ table("differences") }}
"""
CONFIGURATIONS = """
<p>Values that differ between the runs are highlighted.</p>
{{ table("configurations") }}
"""
COST = """
<p>Each training run is counted once. Device time is that of the machine it ran on.</p>
{{ table("cost") }}
"""


def build_comparison(found: Comparison, folder: Path) -> None:
    """Writes index.html, comparison.json, figures/ and tables/. Raises ValueError where `folder` holds an index.html
    that is no comparison's."""
    if (folder / "index.html").exists() and not (folder / "comparison.json").exists():
        raise ValueError(f"{folder}: holds an index.html that is no comparison's; give a new or empty folder.")
    sections = {
        "scores": Section("Scores", SCORES),
        "configurations": Section("Configurations", CONFIGURATIONS),
        "cost": Section("Cost", COST),
    }
    metric = wording.metric_name(found.metric)
    tables = {
        "scores": Captioned(f"The answer of each run on test: {metric} with 95 % CIs", _scores_table(found)),
        "differences": Captioned(f"Differences in {metric} on the same test patients, paired", _differences(found)),
        "configurations": Captioned("The tuned configuration of each run", _configurations(found.studies)),
        "cost": Captioned("What each run took", _cost(found.studies)),
    }
    write_json(folder / "comparison.json", comparison_document(found))
    write_tables(tables, folder / "tables")
    use_style()
    figures = write_figures({"scores": _draw_scores(found)}, folder / "figures")
    content = {
        "title": " and ".join(study.name for study in found.studies),
        "run": found.studies[0].run,
        "studies": found.studies,
        "headline": _headline(found),
        "sentences": [
            *(f"{name} is not compared: it has {reason}." for name, reason in found.reasons.items()),
            *found.notes,
        ],
        "wording": wording,
        "captions": {"scores": f"The {metric} on test of each run's answer and baseline, with 95 % CIs."},
        "tables": tables,
        "linked": {},
        "plots": {},
    }
    write_text(folder / "index.html", rendered(sections, figures, content, {}))


def _headline(found: Comparison) -> str:
    """Which run is best among those that may be compared, and whether it differs from the first."""
    first, metric = found.studies[0], wording.metric_name(found.metric)
    if not found.gaps:
        return f"No run can be compared with {first.name}: none has the same patients in the same splits."
    best = max(found.gaps, key=lambda name: found.gaps[name].value or 0.0)
    gap = found.gaps[best]
    by_name = {study.name: study for study in found.studies}
    if gap.value is None or gap.value <= 0:
        return f"No other run scores more than {first.model} in {metric} on test."
    verdict = "not significant at 5 %"
    if gap.between_models and gap.excludes_zero:
        verdict = "between these models; too few seeds to test configurations"
    elif best in found.significant:
        verdict = "statistically significant at 5 % (Holm)"
    return (
        f"{by_name[best].model}, has the highest {metric} on test: {wording.score(gap.value)} above {first.model} "
        f"(95 % CI {wording.interval(gap.low, gap.high)}), {verdict}."
    )


def _draw_scores(found: Comparison) -> "Figure":
    """Answer and baseline of each run, with 95 % CIs beside chance."""
    rows = []
    for study in found.studies:
        baseline = f"{study.name}, baseline, {study.run.search_encoder}"
        rows.append((study.model, score(study.answer, found.metric), BLUE))
        rows.append((baseline, score(study.run.baselines(), found.metric), GRAY))
    figure, axes = subplots(height=ROW * len(rows) + 1.2)
    draw_dots(axes, rows, f"{wording.metric_name(found.metric)} on test")
    level_line(axes, found.studies[0].run.chance(found.metric), vertical=True)
    return figure


def _scores_table(found: Comparison) -> Table:
    rows = []
    for study in found.studies:
        run = study.run
        gain = difference(run.tuned(run.search_encoder), run.baselines(), found.metric)
        rows.append(
            [
                study.name,
                run.answer_encoder,
                str(len(study.answer)),
                with_interval(score(study.answer, found.metric)),
                with_interval(score(run.baselines(), found.metric)),
                with_interval(gain, wording.signed),
                run.search_encoder,
            ]
        )
    heads = ["run", "text encoder", "seeds", "tuned", "baseline", "gain by tuning", "both with"]
    return Table(heads, rows)


def _differences(found: Comparison) -> Table:
    first = found.studies[0]
    rows = []
    for study in found.studies[1:]:
        name = f"{study.model} − {first.model}"
        if study.name in found.reasons:
            rows.append([name, wording.NOTHING, f"not compared: {found.reasons[study.name]}"])
            continue
        gap = found.gaps[study.name]
        verdict = "yes" if study.name in found.significant else "not significant"
        rows.append([name, with_interval(gap, wording.signed), "too few seeds" if gap.between_models else verdict])
    return Table(["difference", wording.metric_name(found.metric), "significant (Holm)"], rows)


def _configurations(studies: list[Study]) -> Table:
    """A row a setting: the text encoder, the image encoder and every hyperparameter."""
    settings: list[tuple[str, list[Any]]] = [("text encoder", [study.run.answer_encoder for study in studies])]
    encoders = [study.run.config["model"]["image_encoder"] for study in studies]
    settings.append(("image encoder", [_image_encoder(one) for one in encoders]))
    settings.append(("image size", [study.run.config["data"]["image_size"] for study in studies]))
    configured = [study.answer[0].trial.configured for study in studies]
    settings += [(label_of(name), [one.get(name) for one in configured]) for name in HYPERPARAMETERS]
    rows = [[name, *(wording.setting(value) for value in values)] for name, values in settings]
    marked = frozenset(position for position, row in enumerate(rows) if len(set(row[1:])) > 1)
    return Table(["setting", *(study.name for study in studies)], rows, marked)


def _image_encoder(settings: dict[str, Any]) -> str:
    return str(settings.get("architecture") or ", ".join(f"{key} {value}" for key, value in settings.items()))


def _cost(studies: list[Study]) -> Table:
    rows = []
    for study in studies:
        trials, seconds = study.cost
        devices = sorted({one.metrics.device for group in study.run.trials().values() for one in group})
        rows.append([study.name, f"{trials:,}", wording.duration(seconds), ", ".join(devices)])
    return Table(["run", "trials", "device time", "device"], rows)
