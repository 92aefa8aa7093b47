"""Tables of the search: what was asked, who ranked where, the recipe, and what other seeds would have chosen."""

from statistics import stdev
from typing import TYPE_CHECKING, Any

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.report import formatting as wording
from retclip.report.cells import Table
from retclip.report.figures_search import varied_hyperparameters
from retclip.report.run_folder import RunFolder
from retclip.report.stability import candidates_of, winning_shares

if TYPE_CHECKING:
    import pandas as pd

# Of a long leaderboard, the page shows the best; the CSV and the table of all trials have the rest.
MOST_ROWS = 25


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


def leaderboard(board: "pd.DataFrame", chosen: str | None) -> Table:
    """Rank, id, what was varied, score, difference from the leader, cost; of a long one the best."""
    varied = varied_hyperparameters(board)
    heads = [
        "rank",
        "trial",
        *map(label_of, varied),
        "score",
        "± SE",
        "behind the leader",
        "cost",
        "note",
    ]
    board = board.head(MOST_ROWS)
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
    rows = [[label_of(name), wording.setting(winner[name]), wording.setting(default[name])] for name in shown]
    changed = frozenset(i for i, name in enumerate(shown) if winner[name] != default[name])
    return Table(["hyperparameter", "winner", "default"], rows, changed)


def trials(run: RunFolder) -> Table:
    """Every training that has finished: stage, id, what differs between them, score and cost."""
    entries = [(stage, training) for stage, trainings in run.trainings().items() for training in trainings]
    varied = [name for name in HYPERPARAMETERS if len({str(one.trial["configured"][name]) for _, one in entries}) > 1]
    rows = []
    for stage, training in entries:
        metrics, trial = training.metrics, training.trial
        rows.append(
            [
                training.id,
                wording.STAGE_NAMES[stage],
                metrics["status"].replace("_", " "),
                trial["text_encoder"],
                str(trial["seed"]),
                *(wording.setting(trial["configured"][name]) for name in varied),
                wording.score(metrics["val"][run.metric]),
                wording.score(metrics["val"]["loss"]),
                str(metrics["epochs"]),
                f"{metrics['device_seconds']:.0f}",
            ]
        )
    heads = ["trial", "stage", "status", "text encoder", "seed", *map(label_of, varied),
             f"validation {wording.metric_name(run.metric)}", "validation loss", "epochs",
             "device seconds"]  # fmt: skip
    return Table(heads, rows)


def seeds(run: RunFolder) -> Table:
    """The finalists' scores by fresh seed, their spread, and how often each wins resampled patients."""
    finalists, shares = candidates_of(run, "confirm"), winning_shares(run, "confirm")
    found = sorted({one.trial["seed"] for members in finalists.values() for one in members})
    rows = []
    for name, members in finalists.items():
        by_seed = {one.trial["seed"]: one.metrics["val"][run.metric] for one in members}
        values = [value for value in by_seed.values() if value is not None]
        spread = f"{stdev(values):.3f}" if len(values) > 1 else wording.NOTHING
        share = wording.percent(shares[name]) if name in shares else wording.NOTHING
        mean = wording.score(sum(values) / len(values)) if values else wording.NOTHING
        rows.append([name, *(wording.score(by_seed.get(seed)) for seed in found), mean, spread, share])
    chosen = run.decisions.get("best", {}).get("id")
    heads = ["finalist", *(f"seed {seed}" for seed in found), "mean", "SD over seeds", "resamples won"]
    return Table(heads, rows, frozenset(i for i, row in enumerate(rows) if row[0] == chosen))


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
        parts.append(f"{label_of(name)}: {str(shown).replace('from_best', 'as Phase 1 chose')}")
    return "; ".join(parts)
