"""The numbers of the report for machines."""

from typing import Any

from retclip.core.documents import plain
from retclip.metrics.estimates import Estimate
from retclip.metrics.registry import METRICS
from retclip.report.answer import answer, verdict
from retclip.report.comparisons import difference, holm, score
from retclip.report.limitations import limits, warnings
from retclip.report.run_folder import Final, RunFolder
from retclip.report.sections.provenance import commits, machines
from retclip.report.stability import winning_shares


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
        "recipe": {key: run.decisions["best"][key] for key in ("id", "configured", "reason", "rule", "ties")},
        "winner": _scores(winners),
        "default": _scores(baselines),
        "gain": {metric: _plain(difference(winners, baselines, metric)) for metric in METRICS},
        "control": _scores(controls) if controls else None,
        "levels": plain(run.finals[0].evaluation.levels),
        "counts": plain(run.finals[0].evaluation.counts),
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
                    key: plain(getattr(one.evaluation, key))
                    for key in ("counts", "zero_shot", "retrieval", "multi_label", "quadratic_kappa", "levels")
                },
                "overlap": plain(one.evaluation.overlap),
            }
            for one in run.external
        ],
        "per_class": plain(winners[0].evaluation.per_class),
        "stability": {stage: winning_shares(run, stage) for stage in ("phase2", "confirm")},
        "cost": {
            "trainings": len(paid),
            "device_seconds": sum(training.metrics.device_seconds for training in paid),
            "lost_seconds": sum(training.metrics.lost_seconds for training in paid),
        },
        "test_openings": run.test_openings,
        "opened": run.opened,
        "warnings": warnings(run),
        "limits": limits(run),
        "seed": run.config["seed"],
        "data": run.fingerprint["sha256"] if run.fingerprint else None,
        "versions": winners[0].metrics.versions,
        "code": sorted({training.metrics.code for training in everything}),
        "commits": commits(everything),
        "machines": machines(everything),
    }


def _scores(finals: list[Final]) -> dict[str, Any]:
    return {metric: _plain(score(finals, metric)) for metric in METRICS}


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "p_value": estimate.p_value}
