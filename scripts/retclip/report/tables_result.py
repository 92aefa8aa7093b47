"""Tables of the result on test: the winner and the default config, single values, text encoders, classes."""

from retclip.core.scores import METRICS, RETRIEVAL
from retclip.report import wording
from retclip.report.cells import Table, with_interval
from retclip.report.comparisons import difference, holm, score
from retclip.report.inputs import Final, RunFolder

# Of the RET-CLIP tuning guide, which gives no source for them; None: all values together.
EXPECTED_GAINS = {
    "learning_rate": "2 to 5 %",
    "batch_size": "1 to 3 %",
    "warmup_steps": "1 to 2 %",
    "temperature": "1 to 2 %",
    None: "5 to 12 %",
}


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
        rows.append(
            [wording.hyperparameter_name(name) if name else "together", values, gain, EXPECTED_GAINS.get(name, "")]
        )
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
                with_interval(score(finals, metric)),
                against,
                wording.NOTHING if name not in gaps else "yes" if name in real else "not for sure",
                wording.score(_mean(finals, "linear_probe", metric)),
                *(wording.score(_mean(finals, "retrieval", recall)) for recall in RETRIEVAL if recall.endswith("_5")),
            ]
        )
    heads = [
        "text encoder",
        "learning rate",
        "validation score",
        f"test {wording.metric_name(metric)}",
        "against the recommended",
        "differs (Holm)",
        "linear probe",
        *(wording.metric_name(recall) for recall in RETRIEVAL if recall.endswith("_5")),
    ]
    return Table(heads, rows, frozenset(i for i, name in enumerate(run.encoders) if name == recommended))


def per_class(run: RunFolder) -> Table:
    """Per class on test: winner's and default's recall and AUROC."""
    winner, baseline = run.winners(run.search_encoder)[0], run.baselines()[0]
    rows = []
    for ours, theirs in zip(winner.evaluation["per_class"], baseline.evaluation["per_class"], strict=True):
        keys = ("precision", "recall", "f1", "auroc", "average_precision")
        rows.append(
            [
                ours["class"],
                f"{ours['count']:,}",
                *(wording.score(ours[key]) for key in keys),
                wording.score(theirs["recall"]),
            ]
        )
    heads = [
        "class",
        "test samples",
        "precision",
        "recall",
        "F1",
        "AUROC",
        "average precision",
        "default's recall",
    ]
    return Table(heads, rows)


def _mean(finals: list[Final], part: str, metric: str) -> float | None:
    values = [final.evaluation[part].get(metric, {}).get("value") for final in finals]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
