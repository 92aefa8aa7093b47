"""The numbers of the report for machines, and the steps by which a score stops flattering."""

from typing import Any

from retclip.metrics.registry import METRICS
from retclip.report import formatting as wording
from retclip.report.answer import answer, verdict
from retclip.report.comparisons import Estimate, difference, holm, score
from retclip.report.limitations import limits, warnings
from retclip.report.run_folder import Final, RunFolder
from retclip.report.stability import winning_shares
from retclip.report.tables_run import commits, machines


def results(run: RunFolder) -> dict[str, Any]:
    """The content of results.json, in full precision: what was chosen, what it scores, and what it cost."""
    winners, baselines = run.winners(run.search_encoder), run.baselines()
    controls = run.controls()
    recommended = run.recommendation["encoder"] if run.recommendation else None
    gaps = {
        name: difference(run.winners(name), run.winners(recommended), run.test_metric)
        for name in run.encoders
        if recommended and name != recommended
    }
    paid = [training for trainings in run.paid().values() for training in trainings]
    everything = [training for trainings in run.trainings().values() for training in trainings]
    return {
        "run": run.config["run"],
        "answer": " ".join(answer(run)),
        "learned_from_texts": verdict(run).learned,
        "metric": {"choice": run.metric, "test": run.test_metric},
        "recipe": {key: run.decisions["best"][key] for key in ("id", "hyperparameters", "reason", "rule", "ties")},
        "winner": _scores(winners),
        "default": _scores(baselines),
        "gain": {metric: _plain(difference(winners, baselines, metric)) for metric in METRICS},
        "control": _scores(controls) if controls else None,
        "levels": run.finals[0].evaluation["levels"],
        "counts": run.finals[0].evaluation["counts"],
        "encoders": {
            "recommended": recommended,
            "scores": {name: _plain(score(run.winners(name), run.test_metric)) for name in run.encoders},
            "validation": run.recommendation["val_scores"] if run.recommendation else {},
            "against_recommended": {name: _plain(gap) for name, gap in gaps.items()},
            "different_by_holm": holm(gaps),
        },
        "external": [
            {
                "place": one.place,
                "winner": one.winner.id,
                **{
                    key: one.evaluation[key]
                    for key in ("counts", "zero_shot", "retrieval", "multi_label", "quadratic_kappa", "levels")
                },
                "overlap": one.evaluation.get("overlap"),
            }
            for one in run.external
        ],
        "per_class": winners[0].evaluation["per_class"],
        "stability": {stage: winning_shares(run, stage) for stage in ("phase2", "confirm")},
        "cost": {
            "trainings": len(paid),
            "device_seconds": sum(training.metrics["device_seconds"] for training in paid),
            "lost_seconds": sum(training.metrics["lost_seconds"] for training in paid),
        },
        "test_openings": run.test_openings,
        "opened": run.opened,
        "warnings": warnings(run),
        "limits": limits(run),
        "seed": run.config["seed"],
        "data": run.fingerprint["sha256"] if run.fingerprint else None,
        "versions": winners[0].metrics["versions"],
        "code": sorted({training.metrics["code"] for training in everything}),
        "commits": commits(everything),
        "machines": machines(everything),
    }


def optimism(run: RunFolder) -> list[tuple[str, str]]:
    """The winner's score from the search to the test: each step is less flattered by having been chosen."""
    best = run.decisions["best"]
    searched = [
        candidate["metric"]
        for candidate in run.decisions["phase2"]["candidates"]
        if candidate["hyperparameters"] == best["hyperparameters"] and candidate["metric"] is not None
    ]
    winners = run.winners(run.search_encoder)
    final = [final.metrics["val"][run.metric] for final in winners]
    steps = [("one of the best trials of Phase 2, on validation", value) for value in searched[:1]]
    if "confirm" in run.boards and best["metric"] is not None:
        steps.append(("fresh seeds of the chosen one, on validation", best["metric"]))
    if all(value is not None for value in final):
        steps.append(("final training, on validation", sum(final) / len(final)))
    test = score(winners, run.test_metric).value
    if test is not None and run.test_metric == run.metric:
        steps.append(("final training, on test", test))
    return [(name, wording.score(value)) for name, value in steps]


def _scores(finals: list[Final]) -> dict[str, Any]:
    return {metric: _plain(score(finals, metric)) for metric in METRICS}


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "p_value": estimate.p_value}
