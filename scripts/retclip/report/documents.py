"""The numbers of the report for machines."""

from typing import Any

from retclip.core.documents import plain
from retclip.metrics.estimates import Estimate
from retclip.metrics.registry import METRICS
from retclip.report.answer import answer, verdict
from retclip.report.comparisons import difference, holm, score
from retclip.report.encoder_choices import boards_of_searches, decision_of, p_values, searched_apart
from retclip.report.first_screen import collapsed, headline, points
from retclip.report.limitations import limitations, warnings
from retclip.report.more_data import more_data
from retclip.report.run_folder import FinalModel, RunFolder
from retclip.report.sections.provenance import commits, machines
from retclip.report.stability import winning_shares


def results(run: RunFolder) -> dict[str, Any]:
    """The content of results.json, in full precision: what was chosen, what it scores, and what it cost."""
    tuned, baselines = run.tuned(run.search_encoder), run.baselines()
    controls = run.controls()
    recommended = run.recommendation["encoder"] if run.recommendation else None
    gaps = {
        name: difference(run.tuned(name), run.tuned(recommended), run.test_metric)
        for name in run.encoders
        if recommended and name != recommended
    }
    paid = [finished for trials in run.paid().values() for finished in trials]
    everything = [finished for trials in run.trials().values() for finished in trials]
    return {
        "run": run.config["run"],
        "answer": headline(run),
        "collapsed_classes": [one._asdict() for one in collapsed(run)],
        "next": [point.text for point in points(run)],
        "result": " ".join(answer(run)),
        "learned_from_texts": verdict(run).learned,
        "metric": {"choice": run.metric, "test": run.test_metric},
        "tuned_configuration": {
            key: run.decisions["best"][key] for key in ("id", "configured", "reason", "rule", "ties")
        },
        "tuned": _scores(tuned),
        "baseline": _scores(baselines),
        "gain": {metric: plain_estimate(difference(tuned, baselines, metric)) for metric in METRICS},
        "over_baseline": plain_estimate(difference(run.tuned(run.answer_encoder), baselines, run.test_metric)),
        "text_encoders_compared": {
            "gain": {"tuned": run.search_encoder, "baseline": run.search_encoder},
            "over_baseline": {"tuned": run.answer_encoder, "baseline": run.search_encoder},
            "per_class": run.answer_encoder,
        },
        "negative_control": _scores(controls) if controls else None,
        "levels": plain(run.finals[0].evaluation.levels),
        "reference_models": plain(run.references.models) if run.references else [],
        "more_data": _more_data(run) if run.subsets() else None,
        "counts": plain(run.finals[0].evaluation.counts),
        "prompts": plain(run.prompts) if run.prompts else None,
        "encoders": {
            "recommended": recommended,
            "scores": {name: plain_estimate(score(run.tuned(name), run.test_metric)) for name in run.encoders},
            "validation": run.recommendation["val_scores"] if run.recommendation else {},
            "against_recommended": {name: plain_estimate(gap) for name, gap in gaps.items()},
            "different_by_holm": holm(gaps),
            **({"searches": _searches(run)} if searched_apart(run) else {}),
        },
        "external": [
            {
                "data_set": one.name,
                "model": one.model.id,
                **{
                    key: plain(getattr(one.evaluation, key))
                    for key in ("counts", "zero_shot", "retrieval", "multi_label", "quadratic_kappa", "levels")
                },
                "overlap": plain(one.evaluation.overlap),
            }
            for one in run.external
        ],
        "per_class": plain(run.tuned(run.answer_encoder)[0].evaluation.per_class),
        "stability": {stage: winning_shares(run, stage) for stage in ("phase2", "confirm")},
        "cost": {
            "trials": len(paid),
            "device_seconds": sum(finished.metrics.device_seconds for finished in paid),
            "lost_seconds": sum(finished.metrics.lost_seconds for finished in paid),
        },
        "test_set_evaluations": run.test_set_evaluations,
        "evaluated_on_test": run.evaluated_on_test,
        "warnings": warnings(run),
        "limitations": limitations(run),
        "seed": run.config["seed"],
        "data": run.fingerprint["sha256"] if run.fingerprint else None,
        "versions": tuned[0].metrics.versions,
        "code": sorted({finished.metrics.code for finished in everything}),
        "commits": commits(everything),
        "machines": machines(everything),
    }


def _searches(run: RunFolder) -> dict[str, Any]:
    """Text encoder -> what its search chose, and whether that had learned anything."""
    corrected, told = p_values(run), ("id", "configured", "reason", "rule", "ties")
    return {
        encoder: {**{key: decision_of(run, encoder)[key] for key in told}, "trials": len(board),
                  "p_value_by_holm": corrected[encoder]}
        for encoder, board in boards_of_searches(run).items()
    }  # fmt: skip


def _more_data(run: RunFolder) -> dict[str, Any]:
    told = more_data(run)
    return {
        "scores": {str(size): plain_estimate(score(group, run.test_metric)) for size, group in told.groups.items()},
        "gain_of_twice_the_patients": plain_estimate(told.gain) if told.gain else None,
        "told": told.sentence,
    }


def _scores(finals: list[FinalModel]) -> dict[str, Any]:
    return {metric: plain_estimate(score(finals, metric)) for metric in METRICS}


def plain_estimate(estimate: Estimate) -> dict[str, float | None]:
    """What files say of it."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "p_value": estimate.p_value}
