"""One self-contained page: the answer first, then how it came about; figures inline, no script, no network."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.files import atomic
from retclip.core.scores import ZERO_SHOT
from retclip.report import tables, wording
from retclip.report.comparisons import Estimate, difference, holm, score
from retclip.report.figures import FIGURES, use_style
from retclip.report.inputs import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"


def build_report(run: RunFolder, config: dict[str, Any], page: Path, figures: Path) -> None:
    """Writes the page, and each figure as `figures`/{name}.svg."""
    drawn = draw_figures(run)
    figures.mkdir(parents=True, exist_ok=True)
    for name, svg in drawn.items():
        with atomic(figures / f"{name}.svg") as path:
            path.write_text(svg, encoding="utf-8")
    with atomic(page) as path:
        path.write_text(render(run, config, drawn), encoding="utf-8")


def draw_figures(run: RunFolder) -> dict[str, str]:
    """name -> SVG text of every figure."""
    use_style()
    return {name: _svg(draw(run), name) for name, draw in FIGURES.items()}


def render(run: RunFolder, config: dict[str, Any], figures: dict[str, str]) -> str:
    """The page as HTML text. figures: name -> SVG text."""
    import yaml
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.jinja").render(
        title=config["run"],
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        figures={name: Markup(_inline(svg, name)) for name, svg in figures.items()},
        answer=answer(run),
        tiles=tiles(run),
        warnings=warnings(run),
        run=run,
        tables=tables,
        wording=wording,
        metric=wording.metric_name(run.metric),
        test_metric=wording.metric_name(run.test_metric),
        optimism=optimism(run),
        config=config,
        config_text=yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100),
        versions=run.finals[0].metrics["versions"],
    )


def answer(run: RunFolder) -> list[str]:
    """The result in sentences: the gain, the recipe, what it is measured against, the text encoder, the cost."""
    metric = run.test_metric
    winners, baselines = run.winners(run.search_encoder), run.baselines()
    winner, baseline = score(winners, metric), score(baselines, metric)
    gain = difference(winners, baselines, metric)
    levels = run.finals[0].evaluation["levels"]
    counts = run.finals[0].evaluation["counts"]
    patients = counts["scored_patients"] or counts["patients"]
    kind = "zero-shot " if metric in ZERO_SHOT else ""
    largest = levels["majority"].get(metric)
    against = f", and always naming the largest class {wording.score(largest)}" if largest is not None else ""
    trainings = [training for stage in run.paid().values() for training in stage]
    seconds = sum(training.metrics["device_seconds"] for training in trainings)
    return [
        f"On {patients:,} test patients whom no choice has seen, the tuned recipe reaches a {kind}"
        f"{wording.metric_name(metric)} of {_said(winner)}; the default config reaches {_said(baseline)}.",
        _gain(gain, run.decisions["best"]["id"] == "defaults"),
        _recipe(run),
        f"Guessing would give {wording.score(levels['chance'].get(metric))}{against}.",
        *_control(run),
        _encoder(run),
        f"The search and the final models took {wording.count(len(trainings), 'training')} and "
        f"{wording.duration(seconds)} of device time.",
    ]


def tiles(run: RunFolder) -> list[tuple[str, str, str]]:
    """(what, number, how sure) of the numbers to be seen first."""
    metric = run.test_metric
    winners, baselines = run.winners(run.search_encoder), run.baselines()
    rows = (
        ("tuned winner", score(winners, metric), wording.score),
        ("default config", score(baselines, metric), wording.score),
        ("gain by tuning", difference(winners, baselines, metric), wording.signed),
    )
    return [(name, write(value.value), wording.interval(value.low, value.high)) for name, value, write in rows]


def warnings(run: RunFolder) -> list[str]:
    """What a reader has to know before believing: from the choice of each stage, then from the audit."""
    found = [
        f"{wording.STAGE_NAMES[stage]}: {warning}"
        for stage in ("phase1", "phase2")
        for warning in run.decisions[stage]["warnings"]
    ]
    found += [warning for warning in run.decisions["best"]["warnings"] if not any(warning in line for line in found)]
    for control in (final for final in run.finals if final.kind == "control"):
        estimate = score([control], run.test_metric)
        chance = control.evaluation["levels"]["chance"].get(run.test_metric)
        if estimate.low is not None and chance is not None and not estimate.low <= chance <= (estimate.high or 1.0):
            found.append(f"The control with shuffled texts scores {_said(estimate)}, not chance: look for a leak.")
    return [*found, *run.audit["warnings"]]


def optimism(run: RunFolder) -> list[tuple[str, str]]:
    """The winner's score from the search to the test: each step is less flattered by having been chosen."""
    best = run.decisions["best"]
    searched = [
        candidate["metric"]
        for candidate in run.decisions["phase2"]["candidates"]
        if candidate["hyperparameters"] == best["hyperparameters"] and candidate["metric"] is not None
    ]
    winners = run.winners(run.search_encoder)
    final = [final.metrics["val"][run.metric] for final in winners]
    steps = [("one of the best trials of Phase 2, on validation", value) for value in searched[:1]]
    if "confirm" in run.boards and best["metric"] is not None:
        steps.append(("fresh seeds of the chosen one, on validation", best["metric"]))
    if all(value is not None for value in final):
        steps.append(("final training, on validation", sum(final) / len(final)))
    test = score(winners, run.test_metric).value
    if test is not None and run.test_metric == run.metric:
        steps.append(("final training, on test", test))
    return [(name, wording.score(value)) for name, value in steps]


def _recipe(run: RunFolder) -> str:
    """What tuning changed, as values."""
    table = tables.recipe(run)
    rows = [table.rows[position] for position in sorted(table.marked)]
    changed = [f"{name} {value} (default {default})" for name, value, default in rows]
    return f"The recipe: {', '.join(changed)}." if changed else "The recipe is the default config."


def _gain(gain: Estimate, kept_defaults: bool) -> str:
    if kept_defaults:
        return (
            "No trial beat chance by two standard errors, so the default config was kept: "
            "this run has nothing to recommend."
        )
    if gain.value is None:
        return "The two cannot be compared: one of them has no score."
    verdict = "a real difference" if gain.is_real else "not distinguishable from no difference at all"
    return (
        f"Tuning changed the score by {wording.signed(gain.value)} (95 % interval "
        f"{wording.interval(gain.low, gain.high)}, paired over patients): {verdict}."
    )


def _control(run: RunFolder) -> list[str]:
    """The winner beside the same recipe trained on shuffled texts, where that was asked for."""
    controls = [final for final in run.finals if final.kind == "control"]
    if not controls:
        return []
    gap = difference(run.winners(run.search_encoder), controls, run.test_metric)
    learned = gap.is_real and (gap.value or 0.0) > 0
    verdict = "so the texts taught it" if learned else "which does not differ: nothing was learned from the texts"
    return [
        "Trained on texts shuffled between patients, the same recipe scores "
        f"{_said(score(controls, run.test_metric))}, {verdict}."
    ]


def _encoder(run: RunFolder) -> str:
    recommended = run.recommendation["encoder"]
    if recommended is None:
        return "No text encoder can be recommended: no final training ended with a score."
    others = [name for name in run.encoders if name != recommended]
    if not others:
        return f"The only text encoder is {recommended}."
    gaps = {name: difference(run.winners(name), run.winners(recommended), run.test_metric) for name in others}
    real = [f"{name} ({wording.signed(gaps[name].value)})" for name in holm(gaps)]
    verdict = f"on test, {' and '.join(real)} differ{'s' if len(real) == 1 else ''} from it for real"
    if not real:
        verdict = "on test, none of the others differs from it for sure"
    return f"By validation, the text encoder to take is {recommended}; {verdict}."


def _said(estimate: Estimate) -> str:
    if estimate.low is None:
        return wording.score(estimate.value)
    return f"{wording.score(estimate.value)} (95 % interval {wording.interval(estimate.low, estimate.high)})"


def _svg(figure: "Figure", name: str) -> str:
    import matplotlib
    import matplotlib.pyplot as plt

    # ids that follow from the name alone, so that the same run gives the same bytes
    with matplotlib.rc_context({"svg.hashsalt": name}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return buffer.getvalue()


def _inline(svg: str, name: str) -> str:
    """The <svg> element with ids of its own, so that many can stand in one page."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'\bid="', f'id="{name}-', element)
    element = re.sub(r"url\(#", f"url(#{name}-", element)
    element = re.sub(r'href="#', f'href="#{name}-', element)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', r'<svg \1width="100%"', element, count=1).replace(
        "<svg ", '<svg role="img" aria-hidden="true" ', 1
    )
