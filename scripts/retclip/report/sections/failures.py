"""Trials that did not run straight to their end."""

from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, TrialCell
from retclip.report.names import trial_names
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

TEXT = """
{% if "failures" in tables %}
<p>A trial that diverges or does not fit into memory is a result; one that was interrupted resumes from its saved
state.</p>
{{ table("failures") }}
{% else %}
<p>None: every trial that has finished ran straight to its end.</p>
{% endif %}
"""


def failures_table(run: RunFolder) -> Table:
    """Trials that did not run straight to their end: diverged, out of memory, stopped early, or broken off."""
    names = trial_names(run)
    rows: list[list[str]] = []
    for stage, trials in run.trials().items():
        for finished in trials:
            metrics = finished.metrics
            if metrics.status == "completed" and metrics.attempts <= 1:
                continue
            resumed = metrics.resumed_from
            rows.append(
                [
                    TrialCell(names[finished.id], finished.id),
                    wording.STAGE_NAMES[stage],
                    metrics.status.replace("_", " "),
                    f"{metrics.epochs} of {finished.trial.hyperparameters['epochs']}",
                    str(metrics.attempts),
                    wording.NOTHING if resumed is None else f"{resumed:g}",
                    wording.duration(metrics.lost_seconds),
                ]
            )
    heads = ["trial", "stage", "status", "epochs", "processes", "resumed at epoch", "device time lost"]
    return Table(heads, rows)


def _tables(run: RunFolder) -> dict[str, Captioned]:
    failures = failures_table(run)
    return {"failures": Captioned("Trials that did not run straight to their end", failures)} if failures.rows else {}


SECTION = Section("Failures", TEXT, tables=_tables)
