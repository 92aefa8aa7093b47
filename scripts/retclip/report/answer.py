"""What a run may claim, and its result in one paragraph of methods.md."""

from typing import NamedTuple

from retclip.metrics.estimates import Estimate
from retclip.metrics.registry import ZERO_SHOT
from retclip.report import formatting as wording
from retclip.report.comparisons import difference, holm, is_above_chance, judge, score
from retclip.report.encoder_choices import searched_apart
from retclip.report.names import baseline_name
from retclip.report.run_folder import FinalModel, RunFolder
from retclip.report.sections.choice import configuration_table

_ABOVE_NULL = (
    "the tuned configuration's test score is not significantly above permuted class prompts or random ranks "
    "(p = {p:.2g})"
)


class Verdict(NamedTuple):
    """What a run may claim.

    learned: on test, the tuned configuration tells the classes apart better than chance, and better than the negative
    control where there is one. reason: why not, as a clause.
    """

    learned: bool
    reason: str


def verdict(run: RunFolder) -> Verdict:
    """Whether anything was learned from the texts; only zero-shot and retrieval scores can tell."""
    tuned = run.tuned(run.answer_encoder)
    reached, chance = score(tuned, run.test_metric), run.chance(run.test_metric)
    if reached.value is None:
        why = wording.failed(failures(tuned), len(tuned))
        return Verdict(False, f"the tuned configuration has no score on test{f' ({why})' if why else ''}")
    judged = judge(tuned, run.test_metric)
    if judged.is_learned is False:
        return Verdict(False, _ABOVE_NULL.format(p=judged.p_value))
    if judged.is_learned is None and chance is not None and (reached.low is None or reached.low <= chance):
        place = "lies below chance" if reached.high is not None and reached.high < chance else "reaches down to chance"
        return Verdict(False, f"the tuned configuration's interval on test {place} ({wording.score(chance)})")
    controls = run.controls()
    # a control that failed has no score, and so nothing to say
    if controls and not failures(controls):
        gap = difference(run.tuned(run.search_encoder), controls, run.test_metric)
        if not (gap.excludes_zero and (gap.value or 0.0) > 0):
            return Verdict(False, "the same configuration trained on texts shuffled between patients scores no worse")
    return Verdict(True, "")


def failures(finals: list[FinalModel]) -> dict[str, str]:
    """Those of a model's trials that ended without a score: id -> status."""
    return {final.id: final.metrics.status for final in finals if final.failed}


def answer(run: RunFolder) -> list[str]:
    """The result in sentences: the gain, the configuration, what it is measured against, the text encoder, the cost."""
    metric = run.test_metric
    tuned, baselines = run.tuned(run.search_encoder), run.baselines()
    reached, baseline = score(tuned, metric), score(baselines, metric)
    kind = "zero-shot " if metric in ZERO_SHOT else ""
    first = (
        f"On {run.scored_patients:,} test patients, the tuned configuration reaches a {kind}"
        f"{wording.metric_name(metric)} of {_said(reached)}; the baseline reaches {_said(baseline)}, "
        f"both with {run.search_encoder}."
    )
    learned, reason = verdict(run)
    if not learned:
        unknown = reached.value is None
        nothing = (
            "Whether anything was learned is unknown" if unknown else "Nothing was learned that is better than chance"
        )
        return [
            f"{nothing}: {reason}.",
            first,
            _against(run),
            *_control(run),
            *_probe(run, tuned),
            "This run recommends neither a configuration nor a text encoder. Check first that each report belongs to "
            "its images.",
            _cost(run),
        ]
    return [
        first,
        _gain(run, difference(tuned, baselines, metric)),
        _configuration(run),
        _against(run),
        *_control(run),
        _encoder(run),
        _cost(run),
    ]


def _against(run: RunFolder) -> str:
    levels = run.finals[0].evaluation.levels
    largest = levels.majority.get(run.test_metric)
    always = f", and always naming the largest class {wording.score(largest)}" if largest is not None else ""
    return f"Guessing would give {wording.score(levels.chance.get(run.test_metric))}{always}."


def _cost(run: RunFolder) -> str:
    trials = [finished for stage in run.paid().values() for finished in stage]
    seconds = sum(finished.metrics.device_seconds for finished in trials)
    return (
        f"The search and the final models took {wording.count(len(trials), 'trial')} and "
        f"{wording.duration(seconds)} of device time."
    )


def _probe(run: RunFolder, tuned: list[FinalModel]) -> list[str]:
    """Why the linear probe is no consolation: it reads the images alone."""
    whole = [final for final in tuned if not final.failed]
    values = [final.evaluation.linear_probe.get(run.test_metric, {}).get("value") for final in whole]
    known = [value for value in values if value is not None]
    if not known:
        return []
    return [
        f"The linear probe's {wording.score(sum(known) / len(known))} is no sign of the contrary: it is trained on the "
        "labels, and would look as well if every text belonged to another patient."
    ]


def _configuration(run: RunFolder) -> str:
    """What tuning changed, as values."""
    table = configuration_table(run)
    rows = [table.rows[position] for position in sorted(table.marked)]
    changed = [f"{name} {value} (default {default})" for name, value, default in rows]
    return f"The configuration: {', '.join(changed)}." if changed else "The configuration is the baseline."


def _gain(run: RunFolder, gain: Estimate) -> str:
    if run.decisions["best"]["id"] == "defaults":
        return (
            "No trial was shown to have learned anything, so the baseline was kept: this run has nothing to recommend."
        )
    if gain.value is None:
        return "The two cannot be compared: one of them has no score."
    alone = run.seeds_each == 1
    verdict = "not statistically significant at 5 %"
    if gain.excludes_zero:
        verdict = "statistically significant at 5 %" + (
            " for these two trials; one seed each says nothing of other seeds"
            if alone
            else f" between these models; {gain.seeds} seeds each are too few to say it of their configurations"
            if gain.between_models
            else ""
        )
    return (
        f"Tuning with {run.search_encoder} changed the score by {wording.signed(gain.value)} (95 % CI "
        f"{wording.interval(gain.low, gain.high)}, paired over {'patients' if alone else 'patients and seeds'}): "
        f"{verdict}."
    )


def _control(run: RunFolder) -> list[str]:
    """The tuned configuration beside the negative control, where there is one."""
    controls = run.controls()
    if not controls:
        return []
    if failures(controls):
        why = wording.failed(failures(controls), len(controls))
        return [f"The control on texts shuffled between patients has no score and shows nothing: {why}."]
    reached, chance = score(controls, run.test_metric), run.chance(run.test_metric)
    gap = difference(run.tuned(run.search_encoder), controls, run.test_metric)
    verdict = "the tuned configuration is no better: nothing was learned from the texts"
    if gap.excludes_zero and (gap.value or 0.0) > 0:
        verdict = "the tuned configuration is better, so the texts taught it"
    level = ""
    if reached.low is not None and chance is not None:
        level = ", above chance" if is_above_chance(controls, run.test_metric, chance) else ", not above chance"
    return [
        f"Trained on texts shuffled between patients, the same configuration scores {_said(reached)}{level}; {verdict}."
    ]


def _encoder(run: RunFolder) -> str:
    if run.recommendation is None:
        return "Which text encoder to take is known when all final models have been evaluated."
    recommended = run.recommendation["encoder"]
    if recommended is None:
        return "No text encoder can be recommended: no final model ended with a score."
    others = [name for name in run.encoders if name != recommended]
    if not others:
        return f"The only text encoder is {recommended}."
    counted = run.recommendation["seeds"][recommended]
    why = wording.failed(counted["failed"], counted["planned"])
    named = f"{recommended} ({why}; counted as chance)" if why else recommended
    gaps = {name: difference(run.tuned(name), run.tuned(recommended), run.test_metric) for name in others}
    unknown = [name for name, gap in gaps.items() if gap.value is None]
    real = [f"{name} ({wording.signed(gaps[name].value)})" for name in holm(gaps)]
    verdict = f"on test, {' and '.join(real)} differ{'s' if len(real) == 1 else ''} from it significantly at 5 %"
    if not real:
        verdict = "on test, no other differs from it significantly at 5 %"
    if any(gap.between_models for gap in gaps.values()):
        verdict = f"on test, {wording.count(run.seeds_each, 'seed')} each cannot show whether another differs from it"
    if unknown:
        verdict += f"; {' and '.join(unknown)} cannot be compared with it there, for want of a score in each seed"
    return f"By validation, the text encoder to take is {named}; {verdict}.{_over_baseline(run, recommended)}"


def _over_baseline(run: RunFolder, recommended: str) -> str:
    """What the recommended text encoder has over the baseline, where that is no gain by tuning alone."""
    gap = difference(run.tuned(recommended), run.baselines(), run.test_metric)
    if recommended == run.search_encoder or gap.value is None:
        return ""
    distance = wording.distance(gap.value, gap.low, gap.high, baseline_name(run))
    which = "the configuration tuned with it" if recommended in searched_apart(run) else "the tuned configuration"
    return f" With {recommended}, {which} is {distance}; part of this is the text encoder."


def _said(estimate: Estimate) -> str:
    if estimate.low is None:
        return wording.score(estimate.value)
    return f"{wording.score(estimate.value)} (95 % CI {wording.interval(estimate.low, estimate.high)})"
