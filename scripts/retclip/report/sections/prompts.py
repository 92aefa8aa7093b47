"""How far the tuned model's score hangs on its class prompts, on validation."""

from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.metrics.prompt_document import ClassPrompt, PromptSensitivity
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table
from retclip.report.drawing import BLUE, GRAY, GREEN, SMALL, nothing, subplots, whiskers
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = """
<p>{{ spread }}</p>
<p>What a prompt adds is the score with all prompts less that without it.
Choose prompts on validation, as here, and never on test.</p>
{{ figure("prompts") }}
{{ table("templates") }}
{{ table("prompts") }}
<p>To score prompts of your own in seconds:</p>
<pre><code>python scripts/try_prompts.py --model-dir {{ model }} --prompts mine.yaml</code></pre>
"""


def draw_prompts(run: RunFolder) -> "Figure":
    """The ensemble with its 95 % CI, its random halves, and each single template."""
    found = _found(run)
    value = found.ensemble["value"]
    if value is None:
        return nothing("no validation sample is labeled")
    names = ["all prompts", "random halves", *(f"template {i}" for i in range(1, len(found.templates) + 1))]
    figure, axes = subplots(height=0.42 * len(names) + 1.0)
    rows = {name: len(names) - 1 - position for position, name in enumerate(names)}
    whiskers(axes, rows["all prompts"], value, found.ensemble["low"], found.ensemble["high"], color=BLUE, linewidth=2)
    axes.scatter(value, rows["all prompts"], color=BLUE, s=42, zorder=3)
    axes.scatter(found.halves, [rows["random halves"]] * len(found.halves), color=GRAY, s=22, alpha=0.6)
    for position, one in enumerate(found.templates, 1):
        axes.scatter(one.value, rows[f"template {position}"], color=GREEN, s=42)
    for name, shown in zip(names, (value, None, *(one.value for one in found.templates)), strict=True):
        if shown is not None:
            axes.annotate(wording.score(shown), (1.0, rows[name]), xycoords=("axes fraction", "data"), xytext=(4, 0),
                          textcoords="offset points", va="center", fontsize=SMALL)  # fmt: skip
    axes.axvline(value, color=BLUE, linewidth=1, alpha=0.4)
    axes.set_yticks(list(rows.values()), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(f"{wording.metric_name(found.metric)} on validation", loc="right")
    axes.grid(axis="y", visible=False)
    return figure


def templates_table(run: RunFolder) -> Table:
    """Each single template, beside all prompts."""
    found = _found(run)
    whole = found.ensemble["value"] or 0.0
    rows = [
        [f"template {position}", one.template, wording.score(one.value), wording.signed(one.value - whole)]
        for position, one in enumerate(found.templates, 1)
    ]
    return Table(["", "sentence", "score", "against all prompts"], rows)


def prompts_table(run: RunFolder) -> Table:
    """Per class the prompt that helps most and the one that hurts most; a class whose prompts all help has the one that
    helps least."""
    found = _found(run)
    rows = []
    for label in dict.fromkeys(one.label for one in found.prompts):
        own = sorted((one for one in found.prompts if one.label == label), key=_adds)
        rows.append([label, *_cells(own[-1]), *_cells(own[0])])
    heads = ["class", "helps most", "adds", "adds to recall", "hurts most, or helps least", "adds", "adds to recall"]
    return Table(heads, rows)


def _adds(one: ClassPrompt) -> tuple[float, float]:
    return one.adds, one.adds_recall or 0.0


def _cells(one: ClassPrompt) -> list[str]:
    return [one.prompt, wording.signed(one.adds), wording.signed(one.adds_recall)]


def _found(run: RunFolder) -> PromptSensitivity:
    assert run.prompts is not None
    return run.prompts


def _words(run: RunFolder) -> dict[str, Any]:
    found = _found(run)
    value, spread = found.ensemble["value"], "No validation sample is labeled, so that no prompt can be scored."
    if value is not None:
        low, high = np.min(found.halves), np.max(found.halves)
        metric = wording.metric_name(found.metric)
        spread = (
            f"With all class prompts, the tuned configuration with {run.search_encoder} has a {metric} of "
            f"{wording.score(value)} on validation. With random halves of them it has {wording.score(low)} to "
            f"{wording.score(high)}."
        )
    return {"spread": spread, "model": f"results/{run.config['run']}/final/{run.tuned(run.search_encoder)[0].id}/model"}


def _tables(run: RunFolder) -> dict[str, Captioned]:
    with_encoder = f"the tuned configuration with {run.search_encoder}{run.shown_seed}"
    return {
        "templates": Captioned(f"One template for all classes, on validation: {with_encoder}", templates_table(run)),
        "prompts": Captioned(f"What prompts add on validation: {with_encoder}", prompts_table(run)),
    }


SECTION = Section(
    "Prompts",
    TEXT,
    is_ready=lambda run: run.is_decided and run.prompts is not None,
    figures={"prompts": draw_prompts},
    tables=_tables,
    words=_words,
)
