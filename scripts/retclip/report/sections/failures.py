"""Trainings that did not run straight to their end."""

from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

TEXT = """
{% if "failures" in tables %}
<p>A training that diverges or does not fit into memory is a result; one that was broken off goes on from its saved
state.</p>
{{ table("failures") }}
{% else %}
<p>None: every training that has finished ran straight to its end.</p>
{% endif %}
"""


def failures_table(run: RunFolder) -> Table:
    """Trainings that did not run straight to their end: diverged, out of memory, stopped early, or broken off."""
    rows = []
    for stage, trainings in run.trainings().items():
        for training in trainings:
            metrics = training.metrics
            if metrics.status == "completed" and metrics.attempts <= 1:
                continue
            resumed = metrics.resumed_from
            rows.append(
                [
                    training.id,
                    wording.STAGE_NAMES[stage],
                    metrics.status.replace("_", " "),
                    f"{metrics.epochs} of {training.trial.hyperparameters['epochs']}",
                    str(metrics.attempts),
                    wording.NOTHING if resumed is None else f"{resumed:g}",
                    wording.duration(metrics.lost_seconds),
                ]
            )
    heads = ["trial", "stage", "status", "epochs", "processes", "taken up at epoch", "device time lost"]
    return Table(heads, rows)


def _tables(run: RunFolder) -> dict[str, Captioned]:
    failures = failures_table(run)
    return (
        {"failures": Captioned("Trainings that did not run straight to their end", failures)} if failures.rows else {}
    )


SECTION = Section("Failures", TEXT, tables=_tables)
