"""Every trial that has finished: one table to sort and filter, and a part of the page for each of the best."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.core.trial import Trial
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, TrialCell
from retclip.report.names import trial_names
from retclip.report.run_folder import FinishedTrial, RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    import pandas as pd

# So many of the best have a part of the page; trials.csv and the folders have the rest.
MOST_SHOWN = 120
# The rule whose log holds what a trial printed.
RULES = {"phase1": "train_phase1_trial", "phase2": "train_phase2_trial", "confirm": "train_confirm_trial",
         "encoders": "train_encoder_trial", "final": "train_final"}  # fmt: skip
COMMAND = "snakemake --cores all --configfile my.yaml --force results/{run}/{stage}/{trial}/metrics.json"
# Of a curve's drawing, in its own units.
CURVE = (240, 60)
TEXT = """
<p>A click on a head sorts, one on a trial leads to its configuration, curve, log and command.
Full precision and all scores are in <a href="trials.csv">trials.csv</a>.</p>
{{ table("trials", filtered=true) }}
{% for trial in shown %}
<details class="trial" id="trial-{{ trial.id }}"><summary>{{ trial.name }} <small>{{ trial.id }}</small></summary>
<p>{{ trial.stage }}: {{ trial.status }}; validation {{ metric }} {{ wording.score(trial.score) }}.</p>
{% if trial.curve %}
<svg class="curve" viewBox="-4 -4 248 68" role="img" aria-label="validation {{ metric }} after each epoch"
><polyline points="{{ trial.curve }}"/></svg>
{% endif %}
<dl>{% for name, value in trial.configuration %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>{% endfor %}</dl>
<p>Log: <code>{{ trial.log }}</code>. To run it again:</p>
<pre>{{ trial.command }}</pre>
</details>
{% endfor %}
"""


class Shown(NamedTuple):
    """A trial's part of the page. curve: points of a polyline, "" where there is none. log: below the run's folder."""

    id: str
    name: str
    stage: str
    status: str
    score: float | None
    curve: str
    configuration: list[tuple[str, str]]
    log: str
    command: str


def trials_table(run: RunFolder) -> Table:
    """Every trial that has finished: what it is called, stage, score and cost."""
    names = trial_names(run)
    rows: list[list[str]] = []
    for stage, trials in run.trials().items():
        for one in trials:
            metrics = one.metrics
            rows.append(
                [
                    TrialCell(names[one.id], one.id),
                    wording.STAGE_NAMES[stage],
                    metrics.status.replace("_", " "),
                    one.trial.text_encoder,
                    str(one.trial.seed),
                    wording.score(metrics.val.scores[run.metric]),
                    wording.score(metrics.val.loss),
                    str(metrics.epochs),
                    f"{metrics.device_seconds:.0f}",
                ]
            )
    heads = ["trial", "stage", "status", "text encoder", "seed", f"validation {wording.metric_name(run.metric)}",
             "validation loss", "epochs", "device seconds"]  # fmt: skip
    return Table(heads, rows)


def shown_trials(run: RunFolder) -> list[Shown]:
    """The final models and the best trials, in the order of the stages."""
    names, kept = trial_names(run), set(_kept(run))
    return [
        Shown(
            one.id,
            names[one.id],
            wording.STAGE_NAMES[stage],
            one.metrics.status.replace("_", " "),
            one.metrics.val.scores[run.metric],
            curve_of(one.history, run.metric),
            configuration_of(one.trial),
            f"logs/{RULES[stage]}/{one.id}.log",
            COMMAND.format(run=run.config["run"], stage=stage, trial=one.id),
        )
        for stage, trials in run.trials().items()
        for one in trials
        if one.id in kept
    ]


def configuration_of(trial: Trial) -> list[tuple[str, str]]:
    """(label, value) of each hyperparameter as it was trained with; where a budget cut it, beside a full run's."""
    configuration = []
    for name in HYPERPARAMETERS:
        used, configured = (wording.setting(values[name]) for values in (trial.hyperparameters, trial.configured))
        configuration.append((label_of(name), used if used == configured else f"{used} ({configured} in a full run)"))
    return configuration


def curve_of(history: "pd.DataFrame", metric: str) -> str:
    """The score after each epoch as points of a polyline in a box of CURVE, zero at its bottom and one at its top."""
    if metric not in history:
        return ""
    values = history[metric].to_numpy(dtype=float)
    places = np.flatnonzero(np.isfinite(values))
    if len(places) < 2:
        return ""
    width, height = CURVE
    return " ".join(f"{width * k / (len(values) - 1):.1f},{height * (1 - values[k]):.1f}" for k in places)


def _kept(run: RunFolder) -> list[str]:
    """The ids of the trials that have a part of the page."""

    def rank(one: FinishedTrial) -> float:
        score = one.metrics.val.scores[run.metric]
        return float("inf") if score is None else -score

    finals = [one.id for one in run.finals]
    chosen = [decision["id"] for decision in run.decisions.values()]
    searched = sorted((one for trials in run.searched.values() for one in trials), key=rank)
    return [*finals, *chosen, *(one.id for one in searched)][: MOST_SHOWN + len(finals)]


def _tables(run: RunFolder) -> dict[str, Captioned]:
    return {"trials": Captioned("Every trial of the run", trials_table(run), file="trials.csv")}


def _words(run: RunFolder) -> dict[str, Any]:
    return {"shown": shown_trials(run)}


SECTION = Section("All trials", TEXT, is_ready=lambda run: any(run.trials().values()), tables=_tables, words=_words)
