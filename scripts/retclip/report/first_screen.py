"""The first screen: the answer in one sentence, three numbers, classes that have collapsed, and what to do next."""

from typing import NamedTuple

from retclip.report import formatting as wording
from retclip.report.answer import verdict
from retclip.report.comparisons import difference, score
from retclip.report.encoder_choices import decision_of
from retclip.report.limitations import DETECTABLE, FEW_CASES, WORTH_FINDING, leaks, patients_needed, warnings
from retclip.report.limitations import few_classes as classes_of_few
from retclip.report.more_data import more_data
from retclip.report.names import baseline_name, configuration_name
from retclip.report.run_folder import RunFolder

MOST_POINTS = 5
# So many seeds show how far training alone moves a score.
ENOUGH_SEEDS = 3
# How a point names the reference models that are fitted to labels.
REFERENCES = {
    "color histogram": "The colors, fitted to labels, reach",
    "age and sex": "Age and sex, fitted to labels, reach",
}


class Collapsed(NamedTuple):
    """A class whose samples are named as one other class more often than rightly. samples: its test samples. taken: how
    many of them are named `named`, whose precision this is (None: that class has none)."""

    name: str
    recall: float
    samples: int
    named: str
    taken: int
    precision: float | None


class Point(NamedTuple):
    """What limits the answer, or what to do next. anchor: the section of the page that shows it."""

    text: str
    anchor: str


def headline(run: RunFolder) -> str:
    """What to take, with which text encoder, and by how much it is better than the baseline; one sentence, or two where
    nothing was learned."""
    learned, reason = verdict(run)
    encoder, metric = run.answer_encoder, wording.metric_name(run.test_metric)
    tuned, baselines, reference = run.tuned(encoder), run.baselines(), baseline_name(run)
    if not learned:
        unknown = score(tuned, run.test_metric).value is None
        found = (
            "Whether anything was learned is unknown" if unknown else "Nothing was learned that is better than chance"
        )
        return f"{found}: {reason}. This run recommends neither a configuration nor a text encoder."
    if decision_of(run, encoder)["id"] == "defaults":
        return f"Keep the baseline with {encoder}: no trial is significantly better than chance on validation."
    gain = difference(tuned, baselines, run.test_metric)
    if gain.value is None:
        return f"The gain of the tuned configuration with {encoder} is unknown: {reference} has no score on test."
    distance = wording.distance(gain.value, gain.low, gain.high, reference)
    if gain.between_models and gain.excludes_zero:
        return f"With {encoder}: {metric} is {distance} between these models; too few seeds to test configurations."
    if not gain.is_significant:
        found = "Tuning shows no significant gain" if encoder == run.search_encoder else "Nothing significant is gained"
        return f"{found} with {encoder}: {metric} is {distance}, not significant at 5 %."
    if gain.value < 0:
        return (
            f"Keep {reference}: the tuned {metric} with {encoder} is "
            f"{wording.distance(gain.value, gain.low, gain.high, 'it')}, statistically significant at 5 %."
        )
    return f"Take the tuned configuration with {encoder}: {metric} is {distance}, statistically significant at 5 %."


def tuned_name(run: RunFolder) -> str:
    """The tuned configuration, called by what differs from the baseline."""
    tuned, baseline = run.tuned(run.answer_encoder)[0].trial.configured, run.baselines()[0].trial.configured
    changed = [name for name in tuned if tuned[name] != baseline.get(name)]
    return configuration_name(tuned, changed) if changed else "equal to the baseline"


def tiles(run: RunFolder) -> list[tuple[str, str, str]]:
    """(what, number, 95 % CI) of the numbers to be seen first. What another text encoder than the search's has over the
    baseline is no gain by tuning alone, so that both are told, and the baseline's own score in the figure."""
    metric, encoder, search = run.test_metric, run.answer_encoder, run.search_encoder
    tuned, baselines = run.tuned(encoder), run.baselines()
    beside = (f"baseline with {search}", score(baselines, metric), wording.score)
    if encoder != search:
        beside = (f"over {baseline_name(run)}", difference(tuned, baselines, metric), wording.signed)
    rows = (
        (f"tuned with {encoder}", score(tuned, metric), wording.score),
        beside,
        (f"gain by tuning with {search}", difference(run.tuned(search), baselines, metric), wording.signed),
    )
    return [(name, write(value.value), wording.interval(value.low, value.high)) for name, value, write in rows]


def collapsed(run: RunFolder) -> list[Collapsed]:
    """Classes that the tuned model names as one other class more often than rightly, the most samples lost first."""
    evaluation = run.tuned(run.answer_encoder)[0].evaluation
    classes, matrix = evaluation.confusion.classes, evaluation.confusion.matrix
    precision = {row["class"]: row["precision"] for row in evaluation.per_class}
    found = []
    for k, row in enumerate(matrix):
        other = max((j for j in range(len(row)) if j != k), key=lambda j: row[j], default=k)
        if row[other] > row[k] or (any(row) and not any(line[k] for line in matrix)):
            named = classes[other]
            found.append(Collapsed(classes[k], row[k] / sum(row), sum(row), named, row[other], precision.get(named)))
    return sorted(found, key=lambda one: one.taken - one.recall * one.samples, reverse=True)


def alarm(run: RunFolder) -> str:
    """One sentence on the class that has collapsed, and how many have; empty where none has, or nothing was learned."""
    found = collapsed(run)
    if not found or not verdict(run).learned:
        return ""
    worst = found[0]
    subject = f"{worst.name} has collapsed"
    if len(found) > 1:
        subject = f"{len(found)} classes have collapsed, {worst.name} most"
    return (
        f"{subject}: recall {wording.score(worst.recall)}; {worst.taken:,} of its {worst.samples:,} test samples are "
        f"named {worst.named} (precision {wording.score(worst.precision)})."
    )


def points(run: RunFolder) -> list[Point]:
    """At most five, the gravest first: what limits the answer most, and what to do next."""
    found = [
        *_broken(run),
        *_unlearned(run),
        *_outdone(run),
        *_seeds(run),
        *_power(run),
        *_few(run),
        *_more(run),
        *_borders(run),
        *_images(run),
    ]
    told = warnings(run)
    room = MOST_POINTS - bool(told)
    listed = (
        "1 warning of the stages and the audit is listed."
        if len(told) == 1
        else (f"{len(told)} warnings of the stages and the audit are listed.")
    )
    return [*found[:room], *([Point(listed, "limitations")] if told else [])]


def _broken(run: RunFolder) -> list[Point]:
    """A leak, and final models without a score."""
    found = (
        [Point("The negative control scores above chance: look for a leak in the data.", "data")] if leaks(run) else []
    )
    failed = [one.id for one in run.finals if one.failed]
    if failed:
        found.append(Point(f"{wording.count(len(failed), 'final model')} failed, {failed[0]} first.", "failures"))
    return found


def _unlearned(run: RunFolder) -> list[Point]:
    if verdict(run).learned:
        return []
    return [Point("Check that each report belongs to its images, and that the class prompts describe them.", "data")]


def _outdone(run: RunFolder) -> list[Point]:
    """A model that reads no report and no retina, but scores as much as the tuned one: the data give the class away."""
    tuned = score(run.tuned(run.answer_encoder), run.test_metric).value
    found = []
    for one in run.references.models if run.references else ():
        reached = (one.scores.get(run.test_metric) or {}).get("value")
        if one.train_units is None or reached is None or tuned is None or reached < tuned:
            continue
        reach = f"{REFERENCES[one.name]} {wording.score(reached)} against {wording.score(tuned)} tuned"
        found.append(Point(f"{reach}: they may give the classes away.", "references"))
    return found


def _seeds(run: RunFolder) -> list[Point]:
    if run.seeds_each >= ENOUGH_SEEDS:
        return []
    have = "one seed" if run.seeds_each == 1 else f"{run.seeds_each} seeds"
    return [
        Point(f"Each final model has {have}, so other seeds may differ by more: set final.seeds to {ENOUGH_SEEDS}.",
              "limitations")
    ]  # fmt: skip


def _power(run: RunFolder) -> list[Point]:
    gain = difference(run.tuned(run.search_encoder), run.baselines(), run.test_metric)
    if not gain.standard_error or DETECTABLE * gain.standard_error <= WORTH_FINDING:
        return []
    smallest = DETECTABLE * gain.standard_error
    have = run.scored_patients
    text = f"The {have:,} test patients detect a gain of {wording.score(smallest)} or more"
    if run.seeds_each == 1:
        more = f"a gain of {wording.score(WORTH_FINDING)} takes about {patients_needed(have, smallest)} patients"
        return [Point(f"{text}; {more}.", "limitations")]
    return [Point(f"{text}; a smaller gain takes more patients or seeds.", "limitations")]


def _few(run: RunFolder) -> list[Point]:
    few = classes_of_few(run)
    if not few:
        return []
    if len(few) == 1:
        return [Point(f"{few[0]} has fewer than {FEW_CASES} test patients: collect more of it.", "classes")]
    return [
        Point(f"{len(few)} classes have fewer than {FEW_CASES} test patients: collect more, of {few[0]} first.",
              "classes")
    ]  # fmt: skip


def _more(run: RunFolder) -> list[Point]:
    """More train patients, where it could be told that they are worth it."""
    gain = more_data(run).gain if run.subsets() else None
    if gain is None or gain.value is None or gain.value < WORTH_FINDING:
        return []
    told = f"Twice the train patients would bring about {wording.signed(gain.value)}"
    return [Point(f"{told} (95 % band {wording.interval(gain.low, gain.high)}): collect more.", "more-data")]


def _borders(run: RunFolder) -> list[Point]:
    """Best values at the end of what was tried, as the choices have recorded them."""
    return [
        Point(f"Widen {stage}.space.{name}: the best value, {value:g}, lies on its border.", stage)
        for stage in ("phase2", "phase1")
        for name, value in run.decisions.get(stage, {}).get("borders", {}).items()
    ]


def _images(run: RunFolder) -> list[Point]:
    """What the audit has counted that a person should look at."""
    if run.audit is None:
        return []
    copies, swapped = run.audit["duplicates"], run.audit["sides"]["swapped"]
    counts = {
        **{kind: entry["count"] for kind, entry in run.audit["quality"].items()},
        "in two splits": copies["near"]["across_splits"],
        "stored as both eyes": copies["both_eyes"]["count"],
        "with eyes swapped": swapped["count"] if swapped else 0,
    }
    listed = [f"{count:,} {kind}" for kind, count in counts.items() if count]
    if not listed:
        return []
    return [Point(f"Check {sum(counts.values()):,} images that the audit marked: {', '.join(listed[:4])}.", "data")]
