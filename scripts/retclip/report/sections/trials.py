"""Every trial that has finished, as one table to sort and filter."""

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

TEXT = """
<p>A click on a head sorts; full precision and all scores are in <a href="trials.csv">trials.csv</a>.</p>
{{ table("trials", filtered=true) }}
"""


def trials_table(run: RunFolder) -> Table:
    """Every trial that has finished: stage, id, what differs between them, score and cost."""
    entries = [(stage, finished) for stage, trials in run.trials().items() for finished in trials]
    varied = [name for name in HYPERPARAMETERS if len({str(one.trial.configured[name]) for _, one in entries}) > 1]
    rows = []
    for stage, finished in entries:
        metrics, trial = finished.metrics, finished.trial
        rows.append(
            [
                finished.id,
                wording.STAGE_NAMES[stage],
                metrics.status.replace("_", " "),
                trial.text_encoder,
                str(trial.seed),
                *(wording.setting(trial.configured[name]) for name in varied),
                wording.score(metrics.val.scores[run.metric]),
                wording.score(metrics.val.loss),
                str(metrics.epochs),
                f"{metrics.device_seconds:.0f}",
            ]
        )
    heads = ["trial", "stage", "status", "text encoder", "seed", *map(label_of, varied),
             f"validation {wording.metric_name(run.metric)}", "validation loss", "epochs",
             "device seconds"]  # fmt: skip
    return Table(heads, rows)


def _tables(run: RunFolder) -> dict[str, Captioned]:
    return {"trials": Captioned("Every trial of the run", trials_table(run))}


SECTION = Section("All trials", TEXT, is_ready=lambda run: any(run.trials().values()), tables=_tables)
