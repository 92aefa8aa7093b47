"""Ranks finished trials and chooses one, on validation data alone, by a rule fixed beforehand.

The rule: rank by the one declared metric; whoever is within one standard error of the leader (of patients, paired,
and seeds together) is tied with it; among the tied, the lower planned cost wins, then the better score. Where the
leader's score is not above what the best of as many trials reaches that learned nothing (metrics.nulls, at 5 %), the
defaults are kept. Of three classes or fewer that cannot be told: then a leader has to beat chance by two standard
errors over patients. A configuration that failed in one of its seeds has no score.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.metrics import nulls
from retclip.metrics.differences import compare
from retclip.metrics.registry import RETRIEVAL
from retclip.search.budget import RANKABLE_STEPS, same_training
from retclip.search.candidates import Candidate, Run
from retclip.search.expected_scores import deciding, estimate_of
from retclip.search.flatness import flatness_of, noise_of
from retclip.search.space import on_border

if TYPE_CHECKING:
    import pandas as pd

TIE_STANDARD_ERRORS = 1.0
CHANCE_STANDARD_ERRORS = 2.0
# How it was judged that the leader learned anything.
BY_PROMPTS = "p_value: the best of all trials under permutations of the class prompts, at 5 %"
BY_RANKS = "p_value: a binomial test of the ranks, times the number of trials, at 5 %"
BY_PATIENTS = "two standard errors over patients above chance; so few classes have too few permutations for a p-value"
RULE = (
    "the highest validation score; ties within one standard error (of patients, paired, and of seeds where there are "
    "several) go to the lower planned cost, then to the better score"
)
RULE_BY_MODEL = (
    "the highest validation score that a Gaussian process over all trials expects; ties within one standard error of "
    "the expected difference go to the lower planned cost, then to the better expected score"
)


def rank(candidates: list[Candidate], metric: str) -> list[Candidate]:
    """Best first; trials without a score last, and configurations that became equal only once, after those.

    Fills in score, standard error and the paired difference to the leader.
    """
    _merge_equals(candidates)
    for candidate in candidates:
        candidate.give_score(metric)
    ranked = sorted(
        candidates,
        key=lambda c: (
            c.same_as is not None,
            c.is_unfinished,
            c.score is None,
            -(c.score or 0.0),
            c.cost,
            _values_in_order(c),
        ),
    )
    leader = ranked[0]
    for candidate in ranked:
        _compare(candidate, leader)
    _judge([candidate for candidate in ranked if candidate.score is not None], metric)
    compared = [candidate for candidate in ranked if candidate.may_be_chosen]
    for candidate, noise in zip(compared, noise_of([candidate.seeds for candidate in compared]), strict=True):
        candidate.noise = noise
    return ranked


def leaderboard(ranked: list[Candidate], metric: str) -> "pd.DataFrame":
    """One row a candidate, in rank order, with its configured hyperparameters."""
    import pandas as pd

    rows = []
    for position, candidate in enumerate(ranked, start=1):
        statuses = sorted({run.metrics.status for run in candidate.runs})
        rows.append(
            {
                "rank": position,
                "id": candidate.id,
                "status": " ".join(statuses),
                **{name: getattr(candidate.runs[0].trial, name) for name in ("kind", "bracket", "rung")},
                "may_be_chosen": candidate.may_be_chosen,
                **candidate.configured,
                "metric": candidate.score,
                "standard_error": candidate.standard_error,
                "difference": candidate.difference,
                "difference_se": candidate.difference_se,
                "noise": candidate.noise,
                "seeds": len(candidate.runs),
                "steps": candidate.runs[0].trial.budget.total_steps,
                "epochs_trained": candidate.runs[0].metrics.epochs,
                "device_seconds": sum(run.metrics.device_seconds for run in candidate.runs),
                "planned_cost": candidate.cost,
                "chance": _chance(candidate, metric),
                "null_low": candidate.judgement.low,
                "null_high": candidate.judgement.high,
                "p_value": candidate.judgement.p_value,
                "note": _note(candidate),
            }
        )
    return pd.DataFrame(rows)


def select(board: "pd.DataFrame", metric: str, defaults: dict[str, Any], space: dict[str, Any]) -> dict[str, Any]:
    """The content of best.json, decided on a leaderboard.

    space: hyperparameter -> values that were tried, or their range, for the warning about a best value on the border.
    """
    scored = board[board["may_be_chosen"]]
    warnings = []
    steps = board["steps"].min(), board["steps"].max()
    if steps[1] < RANKABLE_STEPS:
        warnings.append(
            f"the trials took only {steps[0]} to {steps[1]} optimizer steps: "
            "that shows that everything runs, and cannot rank."
        )
    learned, why_not, judged_by = False, "no candidate has a score in all its seeds", None
    if len(scored):
        leader = scored.iloc[0]
        # single scores are what the null distribution is of
        learned, why_not = _learned(scored.loc[scored["metric"].idxmax()], len(board), metric)
        judged_by = BY_PATIENTS
        if _python(leader["p_value"]) is not None:
            judged_by = BY_RANKS if metric in RETRIEVAL else BY_PROMPTS
    found = flatness_of(scored["metric"].to_numpy(), scored["noise"].to_numpy(dtype=float))
    stage = {
        "estimate": estimate_of(scored),
        "judged_by": judged_by,
        "flatness": found and found._asdict(),
        "borders": {},
    }
    if (by := deciding(scored)) == "expected":
        stage["rule"] = RULE_BY_MODEL
    if not learned:
        reason = f"undecided: using the defaults, since {why_not}"
        kept = {**dict.fromkeys(("metric", "standard_error", "p_value")), "id": "defaults", "configured": defaults}
        return {**_decision(kept, [], metric, reason, [], [*warnings, reason]), **stage}
    tied = scored[
        (scored["difference"].abs() <= TIE_STANDARD_ERRORS * scored["difference_se"].fillna(0.0))
        | (scored["id"] == leader["id"])
    ]
    order = tied.sort_values(["planned_cost", by], ascending=[True, False], kind="stable")
    others = scored[~scored["id"].isin(order["id"])]
    candidates = [_row(row) for _, row in order.iterrows()] + [_row(row) for _, row in others.iterrows()]
    chosen = candidates[0]
    best = "the best score" if by == "metric" else "the best expected score"
    if len(tied) == 1:
        reason = f"{best}, by more than one standard error"
        if leader["seeds"] == 1 and by == "metric":
            reason += " over patients; one seed each"
    elif chosen["id"] == leader["id"]:
        reason = f"{best}; within one standard error of it: {len(tied) - 1}, and none is cheaper"
    else:
        reason = f"within one standard error of {leader['id']}, and cheaper to train"
    borders = {name: chosen["configured"][name] for name in on_border(space, chosen["configured"])}
    for name, value in borders.items():
        warnings.append(f"{name} = {value:g} lies on the border of what was tried; widen the space.")
    ties = [identifier for identifier in order["id"] if identifier != chosen["id"]]
    return {**_decision(chosen, candidates[1:], metric, reason, ties, warnings), **stage, "borders": borders}


def _merge_equals(candidates: list[Candidate]) -> None:
    first: dict[tuple[str, ...], str] = {}
    for candidate in candidates:
        identity = tuple(_identity(run) for run in candidate.runs)
        candidate.same_as = first.get(identity)
        first.setdefault(identity, candidate.id)


def _identity(run: Run) -> str:
    """What ended early on a rung is, promoted, the same training: it takes no step more."""
    trial = run.trial
    if run.metrics.status == "early_stopped":
        trial = replace(trial, budget=replace(trial.budget, stop_epoch=trial.hyperparameters["epochs"]))
    return same_training(trial)


def _compare(candidate: Candidate, leader: Candidate) -> None:
    if candidate.score is None or leader.score is None:
        return
    candidate.difference = candidate.score - leader.score
    candidate.difference_se = 0.0
    if candidate is not leader:
        candidate.difference_se = compare(candidate.seeds, leader.seeds).standard_error


def _judge(scored: list[Candidate], metric: str) -> None:
    """Whether each learned anything, corrected for all that have a score: whoever is best is the best of these."""
    tables = [[run.predictions for run in candidate.runs] for candidate in scored]
    chances = [_chance(candidate, metric) for candidate in scored]
    classes = sorted(scored[0].runs[0].trial.class_prompts) if scored else []
    for candidate, judgement in zip(scored, nulls.judge(metric, tables, chances, classes), strict=True):
        candidate.judgement = judgement


def _learned(leader: "pd.Series", looked_at: int, metric: str) -> tuple[bool, str]:
    """Whether the leader of a leaderboard learned anything, and why not, as a clause."""
    p_value = _python(leader["p_value"])
    if p_value is not None:
        why_not = (
            f"the best {metric}, {leader['metric']:.3f}, is not significantly above what the best of {looked_at} "
            f"trials reaches without learning (p = {p_value:.2g})"
        )
        return p_value <= nulls.ERROR_RATE, why_not
    # of an unknown error (NaN) nothing is known to be above chance
    above = bool(leader["metric"] - leader["chance"] > CHANCE_STANDARD_ERRORS * leader["standard_error"])
    return above, f"no trial beats chance by two standard errors (best {metric}: {leader['metric']:.3f})"


def _chance(candidate: Candidate, metric: str) -> float | None:
    """What guessing scores, on average over its runs."""
    return _mean([run.metrics.val.levels.chance.get(metric) for run in candidate.runs])


def _values_in_order(candidate: Candidate) -> str:
    return repr([candidate.configured[name] for name in HYPERPARAMETERS])


def _note(candidate: Candidate) -> str:
    failed = [f"{run.trial.id} {run.metrics.status}" for run in candidate.runs if run.failed]
    if failed and len(candidate.runs) > 1:
        return f"{len(failed)} of {len(candidate.runs)} seeds failed: {', '.join(failed).replace('_', ' ')}"
    if candidate.same_as:
        return f"equal to {candidate.same_as} after the budget's adjustments"
    if candidate.is_unfinished:
        return f"stopped on its rung after {candidate.runs[0].metrics.epochs} epochs"
    cuts = candidate.runs[0].trial.budget.cuts
    return "; ".join(f"{cut.key} adjusted to {cut.used}" for cut in cuts)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _row(row: "pd.Series") -> dict[str, Any]:
    values = {name: _python(row[name]) for name in HYPERPARAMETERS}
    error = _python(row["standard_error"])
    modeled = {"expected": _python(row["expected"])} if "expected" in row else {}
    return {
        **modeled,
        "id": row["id"],
        "configured": values,
        "metric": float(row["metric"]),
        "standard_error": error,
        "p_value": _python(row["p_value"]),
    }


def _python(value: Any) -> Any:
    """A table's cell as JSON knows it: numpy scalars become Python's, an empty cell null."""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return None
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    return value


def _decision(
    chosen: dict[str, Any],
    others: list[dict[str, Any]],
    metric: str,
    reason: str,
    ties: list[str],
    warnings: list[str],
) -> dict[str, Any]:
    return {
        **chosen,
        "metric_name": metric,
        "rule": RULE,
        "reason": reason,
        "ties": ties,
        "warnings": warnings,
        "runners_up": others,
        "candidates": [chosen, *others],
    }
