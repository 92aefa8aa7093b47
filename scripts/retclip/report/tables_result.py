"""Tables of the result on test: the winner and the default config, single values, text encoders, classes."""

from typing import Any

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.metrics.registry import METRICS, RETRIEVAL, ZERO_SHOT
from retclip.report import formatting as wording
from retclip.report.cells import Table, with_interval
from retclip.report.comparisons import Estimate, difference, holm, score
from retclip.report.run_folder import Final, RunFolder

# Of all values together, by the RET-CLIP tuning guide, which gives no source for its numbers.
EXPECTED_TOGETHER = "5 to 12 %"
# Of the scores on data from elsewhere, those that a table can hold; results.json has them all.
SHOWN_ELSEWHERE = [name for name, declared in METRICS.items() if declared.in_brief]
SHOWN_RETRIEVAL = [name for name in SHOWN_ELSEWHERE if name in RETRIEVAL]


def winner_vs_default(run: RunFolder) -> Table:
    """Every metric on test that the data can give: winner, default, and the paired difference."""
    winners, baselines = run.winners(run.search_encoder), run.baselines()
    levels = run.finals[0].evaluation["levels"]
    rows = []
    for metric in METRICS:
        winner = score(winners, metric)
        if winner.value is None:
            continue
        gain = difference(winners, baselines, metric)
        rows.append(
            [
                wording.metric_name(metric),
                with_interval(winner),
                with_interval(score(baselines, metric)),
                with_interval(gain, wording.signed),
                wording.score(levels["chance"].get(metric)),
                wording.score(levels["majority"].get(metric)),
            ]
        )
    return Table(["metric on test", "winner", "default", "difference", "chance", "largest class"], rows)


def one_factor(run: RunFolder) -> Table:
    """What each tuned value gains alone, on test, beside what the published guide expects of it."""
    baselines = run.baselines()[:1]
    winner = run.winners(run.search_encoder)
    changed = [*run.ablations().items(), (None, winner[0])]
    rows = []
    for name, final in changed:
        if name is not None and final.trial["configured"][name] == baselines[0].trial["configured"][name]:
            values, gain = "as the default", wording.NOTHING
        else:
            first, second = ([final], baselines) if name else (winner, run.baselines())
            gain = with_interval(difference(first, second, run.test_metric), wording.signed)
            values = "all of the winner's"
            if name:
                old, new = (one.trial["configured"][name] for one in (baselines[0], final))
                values = f"{wording.setting(old)} \N{RIGHTWARDS ARROW} {wording.setting(new)}"
        expected = (HYPERPARAMETERS[name].guide_gain or "") if name else EXPECTED_TOGETHER
        rows.append([label_of(name) if name else "together", values, gain, expected])
    return Table(["hyperparameter", "value", f"gain in {wording.metric_name(run.test_metric)}", "the guide expects"],
                 rows, frozenset([len(rows) - 1]))  # fmt: skip


def encoders(run: RunFolder) -> Table:
    """Per text encoder: validation score, test score, difference from the recommended one, probe, retrieval."""
    recommended = run.recommendation["encoder"]
    metric = run.test_metric
    reference = run.winners(recommended) if recommended else []
    others = [name for name in run.encoders if name != recommended] if reference else []
    gaps = {name: difference(run.winners(name), reference, metric) for name in others}
    real = holm(gaps)
    rows = []
    for name in run.encoders:
        finals = run.winners(name)
        against = with_interval(gaps[name], wording.signed) if name in gaps else wording.NOTHING
        rows.append(
            [
                name,
                wording.setting(finals[0].trial["configured"]["learning_rate"]),
                wording.score(run.recommendation["val_scores"].get(name)),
                _seeds(run.recommendation["seeds"].get(name)),
                with_interval(score(finals, metric)),
                against,
                wording.NOTHING if name not in gaps else "yes" if name in real else "not for sure",
                wording.score(_mean(finals, "linear_probe", metric)),
                *(wording.score(_mean(finals, "retrieval", recall)) for recall in SHOWN_RETRIEVAL),
            ]
        )
    heads = [
        "text encoder",
        "learning rate",
        "validation score",
        "seeds with a score",
        f"test {wording.metric_name(metric)}",
        "against the recommended",
        "differs (Holm)",
        "linear probe",
        *map(wording.metric_name, SHOWN_RETRIEVAL),
    ]
    return Table(heads, rows, frozenset(i for i, name in enumerate(run.encoders) if name == recommended))


def external(run: RunFolder) -> Table:
    """Per data set from elsewhere and winner: its size, and the scores that it can give, each beside chance there."""
    documents = [one.evaluation for one in run.external]
    chances = [one["levels"]["chance"] for one in documents]
    views = [
        (
            wording.metric_name(metric),
            [one["zero_shot" if metric in ZERO_SHOT else "retrieval"].get(metric) for one in documents],
            [one.get(metric) for one in chances],
        )
        for metric in SHOWN_ELSEWHERE
    ]
    views += [
        (
            "macro AUROC, all labels",
            [(one["multi_label"] or {}).get("macro_auroc") for one in documents],
            [0.5] * len(documents),
        ),
        ("quadratic kappa over ordered classes", [one["quadratic_kappa"] for one in documents], [0.0] * len(documents)),
    ]
    views = [view for view in views if any(value and value["value"] is not None for value in view[1])]
    heads = ["data from elsewhere", "winner", "samples", "patients", "of them in train or val", "scored"]
    rows = []
    for position, one in enumerate(run.external):
        counts = one.evaluation["counts"]
        overlap = one.evaluation.get("overlap")
        shared = f"{overlap['left_out']['patients']:,}" if overlap else wording.NOTHING
        row = [one.place, one.winner.id, *(f"{counts[key]:,}" for key in ("samples", "patients"))]
        row += [shared, f"{counts['scored']:,}"]
        for _, values, levels in views:
            value = values[position]
            row += [_estimated(value), wording.score(levels[position]) if value else wording.NOTHING]
        rows.append(row)
    return Table([*heads, *(head for name, *_ in views for head in (name, f"{name} by chance"))], rows)


def per_class(run: RunFolder) -> Table:
    """Per class on test: how it is named, how it is told from the rest, and the default config's recall."""
    winner, baseline = run.winners(run.search_encoder)[0], run.baselines()[0]
    rows = []
    for ours, theirs in zip(winner.evaluation["per_class"], baseline.evaluation["per_class"], strict=True):
        rows.append(
            [
                ours["class"],
                f"{ours['count']:,}",
                f"{ours['patients']:,}",
                *(wording.score(ours[key]) for key in ("precision", "recall", "f1")),
                wording.score(theirs["recall"]),
                _of(ours, "auroc"),
                wording.score(ours["average_precision"]),
                _of(ours, "sensitivity"),
                _of(ours, "specificity"),
            ]
        )
    heads = [
        "class",
        "test samples",
        "patients",
        "precision",
        "recall",
        "F1",
        "default's recall",
        "AUROC",
        "average precision",
        "sensitivity",
        "specificity",
    ]
    return Table(heads, rows)


def other_views(run: RunFolder) -> Table:
    """The winner and the default config seen otherwise: one template, the probe, calibration, ranks, several labels."""
    columns = [run.winners(run.search_encoder)[0].evaluation, run.baselines()[0].evaluation]
    heads = ["seen otherwise", "winner", "default"]
    if run.initial is not None:
        columns.append(run.initial)
        heads.append("initial weights, untouched")
    metric = run.test_metric
    name = wording.metric_name(metric)
    views = [
        (name, [one["zero_shot"].get(metric) for one in columns]),
        (f"{name} by one template a class", [one["zero_shot_single_template"].get(metric) for one in columns]),
        (f"{name} of a supervised linear probe", [one["linear_probe"].get(metric) for one in columns]),
        (
            "expected calibration error",
            [(one["calibration"] or {}).get("expected_calibration_error") for one in columns],
        ),
        ("quadratic kappa over ordered classes", [one["quadratic_kappa"] for one in columns]),
        *(
            (f"{label}, all labels", [(one["multi_label"] or {}).get(key) for one in columns])
            for key, label in (("macro_auroc", "macro AUROC"), ("macro_average_precision", "mean average precision"))
        ),
    ]
    rows = [[label, *(_estimated(value) for value in values)] for label, values in views if any(values)]
    return Table(heads, rows)


def subgroups(run: RunFolder) -> Table:
    """The winner's score in groups of test patients; groups of few patients have none."""
    metric = run.test_metric
    rows = [
        [
            f"{entry['variable']}: {entry['group']}",
            f"{entry['patients']:,}",
            f"{entry['units']:,}",
            "too few patients" if entry["scores"] is None else _estimated(entry["scores"].get(metric)),
        ]
        for entry in run.winners(run.search_encoder)[0].evaluation["subgroups"]
    ]
    return Table(["group", "patients", "samples", wording.metric_name(metric)], rows)


def _seeds(counted: dict[str, Any] | None) -> str:
    """How many of the planned seeds have a score; those without count as chance in the validation score."""
    if counted is None:
        return wording.NOTHING
    return f"{counted['planned'] - len(counted['failed'])} of {counted['planned']}"


def _of(row: dict[str, Any], key: str) -> str:
    """A value of a class with its interval."""
    return with_interval(Estimate(row[key], row[f"{key}_low"], row[f"{key}_high"]))


def _estimated(document: dict[str, Any] | None) -> str:
    if document is None:
        return wording.NOTHING
    return with_interval(Estimate(document["value"], document["low"], document["high"]))


def _mean(finals: list[Final], part: str, metric: str) -> float | None:
    """Over all seeds; None where one of them failed or has no value, since the others are no fair sample."""
    values = [None if one.failed else one.evaluation[part].get(metric, {}).get("value") for one in finals]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
