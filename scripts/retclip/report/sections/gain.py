"""Tuned configuration and baseline on test: every score, other views of the same models, and one value at a time."""

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.metrics.registry import METRICS
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, estimated, with_interval
from retclip.report.comparisons import difference, score
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

# Of all values together, by the RET-CLIP tuning guide, which gives no source for its numbers.
EXPECTED_TOGETHER = "5 to 12 %"
TEXT = """
<p>Both are trained at full budget with {{ run.search_encoder }}.
Intervals are 95 % CIs over test {{ wording.drawn(run.seeds_each) }}; differences are paired.</p>
{{ table("tuned_vs_baseline") }}
{% if run.finals[0].evaluation.retrieval_omitted %}
<p class="note">Retrieval is not reported: {{ run.finals[0].evaluation.retrieval_omitted }}.</p>
{% endif %}
{{ table("other_views") }}
{% if "one_factor" in tables %}
{{ table("one_factor") }}
{% endif %}
"""


def tuned_vs_baseline_table(run: RunFolder) -> Table:
    """Every metric on test that the data can give: tuned, baseline, and the paired difference."""
    tuned, baselines = run.tuned(run.search_encoder), run.baselines()
    levels = run.finals[0].evaluation.levels
    rows = []
    for metric in METRICS:
        reached = score(tuned, metric)
        if reached.value is None:
            continue
        gain = difference(tuned, baselines, metric)
        rows.append(
            [
                wording.metric_name(metric),
                with_interval(reached),
                with_interval(score(baselines, metric)),
                with_interval(gain, wording.signed),
                wording.score(levels.chance.get(metric)),
                wording.score(levels.majority.get(metric)),
            ]
        )
    return Table(["metric on test", "tuned", "baseline", "difference", "chance", "largest class"], rows)


def other_views_table(run: RunFolder) -> Table:
    """Other views of the tuned configuration and the baseline: single template, probe, calibration, ranks, labels."""
    columns = [run.tuned(run.search_encoder)[0].evaluation, run.baselines()[0].evaluation]
    heads = ["other view", "tuned", "baseline"]
    if run.initial is not None:
        columns.append(run.initial)
        heads.append("initial weights, untouched")
    metric = run.test_metric
    name = wording.metric_name(metric)
    views = [
        (name, [one.zero_shot.get(metric) for one in columns]),
        (f"{name} by one template a class", [one.zero_shot_single_template.get(metric) for one in columns]),
        (f"{name} of a supervised linear probe", [one.linear_probe.get(metric) for one in columns]),
        *(
            (label, [getattr(one.calibration, key) if one.calibration else None for one in columns])
            for key, label in (
                ("expected_calibration_error", "expected calibration error"),
                ("expected_if_calibrated", "the same of a perfectly calibrated model"),
                ("debiased_calibration_error", "calibration error, debiased"),
            )
        ),
        ("quadratic kappa over ordered classes", [one.quadratic_kappa for one in columns]),
        *(
            (f"{label}, all labels", [getattr(one.multi_label, key) if one.multi_label else None for one in columns])
            for key, label in (("macro_auroc", "macro AUROC"), ("macro_average_precision", "mean average precision"))
        ),
    ]
    rows = [[label, *(estimated(value) for value in values)] for label, values in views if any(values)]
    return Table(heads, rows)


def one_factor_table(run: RunFolder) -> Table:
    """What each tuned value gains alone, on test, beside what the published guide expects of it."""
    baselines = run.baselines()[:1]
    tuned = run.tuned(run.search_encoder)
    changed = [*run.ablations().items(), (None, tuned[0])]
    rows = []
    for name, final in changed:
        if name is not None and final.trial.configured[name] == baselines[0].trial.configured[name]:
            values, gain = "as the default", wording.NOTHING
        else:
            first, second = ([final], baselines) if name else (tuned, run.baselines())
            gain = with_interval(difference(first, second, run.test_metric), wording.signed)
            values = "all tuned values"
            if name:
                old, new = (one.trial.configured[name] for one in (baselines[0], final))
                values = f"{wording.setting(old)} \N{RIGHTWARDS ARROW} {wording.setting(new)}"
        expected = (HYPERPARAMETERS[name].guide_gain or "") if name else EXPECTED_TOGETHER
        rows.append([label_of(name) if name else "together", values, gain, expected])
    return Table(["hyperparameter", "value", f"gain in {wording.metric_name(run.test_metric)}", "the guide expects"],
                 rows, frozenset([len(rows) - 1]))  # fmt: skip


def _tables(run: RunFolder) -> dict[str, Captioned]:
    found = {
        "tuned_vs_baseline": Captioned(
            f"Every score on test that these data can give, both with {run.search_encoder}, with "
            f"{wording.intervals_over(run.seeds_each)}",
            tuned_vs_baseline_table(run),
        ),
        "other_views": Captioned(
            f"Other views of the same models on test, with {run.search_encoder}{run.shown_seed}", other_views_table(run)
        ),
    }
    if run.ablations():
        found["one_factor"] = Captioned(
            f"Ablation: the baseline with one tuned value, against the baseline, both with {run.search_encoder}; one "
            "seed each, so other seeds may differ by more",
            one_factor_table(run),
        )
    return found


SECTION = Section("Tuned and baseline", TEXT, is_ready=lambda run: run.is_decided, tables=_tables)
