"""The report's tables: rows of cells that a person reads, ready for the template."""

from typing import TYPE_CHECKING, Any, NamedTuple

from retclip.core.config import HYPERPARAMETERS
from retclip.core.scores import METRICS, RETRIEVAL
from retclip.report import wording
from retclip.report.comparisons import Estimate, difference, holm, score
from retclip.report.figures import varied_hyperparameters
from retclip.report.inputs import Final, RunFolder

if TYPE_CHECKING:
    import pandas as pd


# Of the RET-CLIP tuning guide, which gives no source for them; None: all values together.
EXPECTED_GAINS = {
    "learning_rate": "2 to 5 %",
    "batch_size": "1 to 3 %",
    "warmup_steps": "1 to 2 %",
    "temperature": "1 to 2 %",
    None: "5 to 12 %",
}


class Table(NamedTuple):
    """Column heads and rows of text; the rows at `marked` are set off. The first column names the row."""

    heads: list[str]
    rows: list[list[str]]
    marked: frozenset[int] = frozenset()


def data(run: RunFolder) -> Table:
    """Patients, samples and pictures per split."""
    rows = [
        [split, *(f"{entry[key]:,}" for key in ("patients", "samples", "images"))]
        for split, entry in run.audit["splits"].items()
    ]
    return Table(["split", "patients", "samples", "pictures"], rows)


def tokens(run: RunFolder) -> Table:
    """What each tokenizer makes of the reports."""
    rows = [
        [
            name,
            f"{entry['vocabulary']:,}",
            f"{entry['length_quantiles']['median']:.0f}",
            f"{entry['length_quantiles']['q95']:.0f}",
            wording.percent(entry["truncated"]),
            wording.percent(entry["unknown"]),
        ]
        for name, entry in run.audit["tokens"].items()
    ]
    heads = [
        "text encoder",
        "vocabulary",
        "median tokens",
        "95 % of texts below",
        "texts cut",
        "unknown tokens",
    ]
    return Table(heads, rows)


def findings(run: RunFolder) -> Table:
    """What the audit counted: rows, texts, pictures, copies, sides."""
    audit = run.audit
    texts, quality, copies = audit["texts"], audit["quality"], audit["duplicates"]
    swapped = audit["sides"]["swapped"]
    near = "not looked for" if audit["near_duplicates"] == "ignore" else f"{copies['near']['groups']:,} groups"
    rows = [
        ["rows that could not be used", f"{len(audit['quarantined']):,}"],
        ["patients in two splits", f"{audit['patients_in_two_splits']:,}"],
        ["pictures of one eye in several samples", near],
        ["of these in several splits", f"{copies['near']['across_splits']:,}"],
        ["one photograph as both eyes", f"{copies['both_eyes']['count']:,}"],
        ["eyes swapped, by the optic disc", "cannot be told" if swapped is None else f"{swapped['count']:,}"],
        *([f"{kind} pictures", f"{entry['count']:,}"] for kind, entry in quality.items()),
        *([f"{kind} texts", f"{entry['count']:,}"] for kind, entry in texts.items()),
    ]
    return Table(["what", "found"], rows)


def shortcuts(run: RunFolder) -> Table:
    """How well each property that is no retina tells the classes apart."""
    rows = []
    for feature, entry in run.audit["shortcuts"].items():
        worst = max(entry["by_class"], key=lambda label: entry["by_class"][label])
        giveaways = "; ".join(f"{g['column']} = {g['value']}: {g['class']}" for g in entry["giveaways"][:2]) or "none"
        rows.append(
            [feature, wording.score(entry["auroc"]), f"{worst} {wording.score(entry['by_class'][worst])}", giveaways]
        )
    return Table(["property", "AUROC, mean of classes", "easiest class", "values that give a class away"], rows)


def asked(config: dict[str, Any]) -> Table:
    """What the config asked of each stage."""
    rows = [
        ["Phase 1", *_stage(config["phase1"]), _space(config["phase1"]["space"])],
        ["Phase 2", *_stage(config["phase2"]), _space(config["phase2"]["space"])],
        [
            "Final",
            *_stage(config["final"]),
            f"{wording.count(config['final']['seeds'], 'seed')} per text encoder, and the default config",
        ],
    ]
    if config["confirm"]["top_k"]:
        seeds = wording.count(config["confirm"]["seeds"], "fresh seed")
        confirm = f"the best {config['confirm']['top_k']} of Phase 2, {seeds} each"
        rows.insert(2, ["Confirmation", *_stage(config["phase2"]), confirm])
    return Table(["stage", "training samples", "epochs", "tried"], rows)


def leaderboard(board: "pd.DataFrame", chosen: str) -> Table:
    """Rank, id, what was varied, score, difference from the leader, cost."""
    varied = varied_hyperparameters(board)
    heads = [
        "rank",
        "trial",
        *map(wording.hyperparameter_name, varied),
        "score",
        "± SE",
        "behind the leader",
        "cost",
        "note",
    ]
    rows = []
    for _, row in board.iterrows():
        behind = wording.NOTHING
        if row["rank"] > 1 and row["difference"] == row["difference"]:
            behind = f"{wording.signed(row['difference'])} ± {wording.score(row['difference_se'])}"
        note = "" if row["note"] != row["note"] else row["note"]
        status = "" if row["status"] == "completed" else row["status"].replace("_", " ")
        rows.append(
            [
                str(row["rank"]),
                row["id"],
                *(wording.setting(row[name]) for name in varied),
                wording.score(row["metric"]),
                wording.score(row["standard_error"]),
                behind,
                wording.duration(row["device_seconds"]),
                "; ".join(filter(None, (status, note))),
            ]
        )
    return Table(heads, rows, frozenset(i for i, name in enumerate(board["id"]) if name == chosen))


def recipe(run: RunFolder) -> Table:
    """The winner's hyperparameters beside the default config's; what was tuned is marked."""
    winner = run.winners(run.search_encoder)[0].trial["configured"]
    default = run.baselines()[0].trial["configured"]
    shown = [name for name in HYPERPARAMETERS if name in winner]
    rows = [
        [wording.hyperparameter_name(name), wording.setting(winner[name]), wording.setting(default[name])]
        for name in shown
    ]
    changed = frozenset(i for i, name in enumerate(shown) if winner[name] != default[name])
    return Table(["hyperparameter", "winner", "default"], rows, changed)


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
                _with_interval(winner),
                _with_interval(score(baselines, metric)),
                _with_interval(gain, wording.signed),
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
            gain = _with_interval(difference(first, second, run.test_metric), wording.signed)
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
        against = _with_interval(gaps[name], wording.signed) if name in gaps else wording.NOTHING
        rows.append(
            [
                name,
                wording.setting(finals[0].trial["configured"]["learning_rate"]),
                wording.score(run.recommendation["val_scores"].get(name)),
                _with_interval(score(finals, metric)),
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


def cost(run: RunFolder) -> Table:
    """Trainings per stage, and the device time that they used, saved and lost."""
    stages = run.paid()
    rows = []
    for stage, trainings in stages.items():
        rows.append([wording.STAGE_NAMES[stage], *_cost(trainings)])
    everything = [training for trainings in stages.values() for training in trainings]
    rows.append(["all", *_cost(everything)])
    heads = ["stage", "trainings", "device time", "saved by stopping early", "lost in broken attempts", "devices",
             "samples per second", "failed"]  # fmt: skip
    return Table(heads, rows, frozenset([len(rows) - 1]))


def _saved(training: Any) -> float:
    """Device seconds of the epochs that early stopping or a rung spared a training that went well."""
    metrics = training.metrics
    if metrics["status"] not in ("completed", "early_stopped") or not metrics["epochs"]:
        return 0.0
    spared = metrics["trial"]["hyperparameters"]["epochs"] - metrics["epochs"]
    return metrics["device_seconds"] / metrics["epochs"] * max(0, spared)


def _cost(trainings: list[Any]) -> list[str]:
    speeds = sorted(t.metrics["samples_per_second"] for t in trainings if t.metrics["samples_per_second"])
    broken = sum(t.metrics["status"] in ("diverged", "out_of_memory") for t in trainings)
    return [
        str(len(trainings)),
        wording.duration(sum(t.metrics["device_seconds"] for t in trainings)),
        wording.duration(sum(_saved(t) for t in trainings)),
        wording.duration(sum(t.metrics["lost_seconds"] for t in trainings)),
        ", ".join(sorted({t.metrics["device"] for t in trainings})),
        f"{speeds[len(speeds) // 2]:,.0f} (median)" if speeds else wording.NOTHING,
        str(broken),
    ]


def _stage(stage: dict[str, Any]) -> tuple[str, str]:
    samples = stage.get("train_samples")
    return f"{samples:,}" if samples else "all", str(stage["epochs"])


def _space(space: dict[str, Any]) -> str:
    parts = []
    for name, values in space.items():
        shown = values
        if isinstance(values, list):
            shown = ", ".join(map(wording.setting, values))
        elif isinstance(values, dict):
            shown = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())
        parts.append(f"{wording.hyperparameter_name(name)}: {str(shown).replace('from_best', 'as Phase 1 chose')}")
    return "; ".join(parts)


def _with_interval(estimate: Estimate, write: Any = wording.score) -> str:
    if estimate.low is None:
        return write(estimate.value)
    return f"{write(estimate.value)} ({wording.interval(estimate.low, estimate.high)})"


def _mean(finals: list[Final], part: str, metric: str) -> float | None:
    values = [final.evaluation[part].get(metric, {}).get("value") for final in finals]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
