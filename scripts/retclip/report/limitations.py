"""What limits the answer: warnings of every stage, and what data of this size do not show."""

from retclip.metrics.evaluation_document import Row
from retclip.metrics.nulls import ERROR_RATE
from retclip.metrics.registry import ZERO_SHOT
from retclip.report import formatting as wording
from retclip.report.comparisons import difference, is_above_chance, score
from retclip.report.encoder_choices import decided_apart, decision_of, p_values, searched_apart
from retclip.report.run_folder import External, RunFolder

# A recall from fewer patients moves by a tenth or more with one of them.
FEW_CASES = 10
# A true difference of so many standard errors is found at the 5 % level in 80 % of studies: 1.96 + 0.84.
DETECTABLE = 2.8
# A gain in score that a reader may care for; a run that cannot find it is told how many patients could.
WORTH_FINDING = 0.05


def warnings(run: RunFolder) -> list[str]:
    """From the choice of each stage, then from the controls, the device and the audit."""
    found = [
        f"{wording.STAGE_NAMES[stage]}: {warning}"
        for stage in ("phase1", "phase2")
        for warning in run.decisions.get(stage, {}).get("warnings", [])
    ]
    found += [
        f"Text encoder {encoder}: {warning}"
        for encoder in decided_apart(run)
        for warning in decision_of(run, encoder)["warnings"]
    ]
    found += _several_searches(run)
    final = run.decisions.get("best", {}).get("warnings", [])
    found += [warning for warning in final if not any(warning in line for line in found)]
    for name, finals in run.models().items():
        why = wording.failed({one.id: one.metrics.status for one in finals if one.failed}, len(finals))
        if why:
            found.append(f"Final models of {name}: {why}. So there is no mean score of them on test.")
    return [*found, *leaks(run), *_on_cpu(run), *(run.audit["warnings"] if run.audit else [])]


def _several_searches(run: RunFolder) -> list[str]:
    """A sentence for each text encoder whose choice rests on a search that shows less once all of them are minded."""
    if "best" not in run.decisions or not searched_apart(run):
        return []
    corrected = p_values(run)
    return [
        f"Text encoder {encoder}: with {len(corrected)} searches looked at, its own does not show that anything was "
        f"learned (p = {p:.2g} by Holm's rule); its configuration may be chance."
        for encoder, p in corrected.items()
        if p is not None and p > ERROR_RATE and decision_of(run, encoder)["id"] != "defaults"
    ]


def leaks(run: RunFolder) -> list[str]:
    """A sentence where the negative controls score above chance."""
    found = []
    controls, level = run.controls(), run.chance(run.test_metric)
    if controls:
        estimate = score(controls, run.test_metric)
        if estimate.low is not None and level is not None and is_above_chance(controls, run.test_metric, level):
            found.append(
                f"The negative control scores {wording.score(estimate.value)} (95 % CI "
                f"{wording.interval(estimate.low, estimate.high)}), above chance: look for a leak."
            )
    return found


def _on_cpu(run: RunFolder) -> list[str]:
    """Where the config left the device to the machine and asked for GPUs, but there was none."""
    settings = run.config["training"]
    if settings["device"] != "auto" or not settings["gpus"]:
        return []
    everything = [one for trials in run.trials().values() for one in trials]
    # what an earlier version trained does not tell
    on_cpu = sum(one.metrics.gpus == () for one in everything)
    if not on_cpu:
        return []
    return [
        f"{on_cpu:,} of {len(everything):,} trials ran on the CPU: training.device is auto, and there was no usable "
        "GPU. Their times are a CPU's, and so is their precision where training.precision is auto."
    ]


def limitations(run: RunFolder) -> list[str]:
    """What the test split's size lets one conclude, and what it does not."""
    metric = run.test_metric
    tuned, baselines = run.tuned(run.search_encoder), run.baselines()
    counts, patients = run.finals[0].evaluation.counts, run.scored_patients
    everyone = sum(split["patients"] for split in run.audit["splits"].values())
    reached, gain, chance = score(tuned, metric), difference(tuned, baselines, metric), run.chance(metric)
    said = [f"Of {everyone:,} patients, {patients:,} are in the test split and scored{_eyes(run, counts.scored)}."]
    if reached.low is not None and reached.high is not None:
        level = ""
        if chance is not None:
            known = "is below it" if reached.low > chance else "is inside it"
            level = f"; chance ({wording.score(chance)}) {known}"
        said.append(
            f"The tuned configuration's {wording.metric_name(metric)} with {run.search_encoder} has a 95 % CI of "
            f"{wording.score(reached.low)} to {wording.score(reached.high)}, which is "
            f"{wording.score(reached.high - reached.low)} wide{level}."
        )
    if gain.standard_error:
        smallest = DETECTABLE * gain.standard_error
        wanted = f"about {patients_needed(patients, smallest)} test patients"
        if run.seeds_each > 1:
            # the seeds' part of the standard error does not fall with patients, so that no number can be named
            wanted = "more test patients, more seeds, or both"
        more = f" To find a gain of {wording.score(WORTH_FINDING)} takes {wanted}." if smallest > WORTH_FINDING else ""
        said.append(
            f"The test split detects a gain of {wording.score(smallest)} or more with 80 % power; smaller gains may be "
            f"missed.{more}"
        )
    elif gain.value is not None:
        said.append(
            f"With {run.search_encoder}, the tuned configuration and the baseline do not differ in any test sample, so "
            "the gain is unknown."
        )
    if metric in ZERO_SHOT:
        said += _few_cases(run)
    if len(tuned) == 1:
        said.append(
            "Each final model has one seed: the 95 % CIs hold the spread of patients, and nothing of that of seeds."
        )
    else:
        said.append(
            f"The 95 % CIs of final models draw {len(tuned)} seeds beside the patients; so few seeds show little of "
            "their spread."
        )
    said.append(
        "Every test and 95 % CI takes patients as independent, and seeds as varying alike in all configurations. "
        "Patients of one family or site may resemble each other, which makes the 95 % CIs too narrow."
    )
    if len(run.encoders) > 1:
        said.append(of_encoders(run))
    if not run.external:
        said.append(
            "No external data set was scored (evaluation.external_tests): the scores hold for these patients and "
            "cameras."
        )
    said.append("The scores compare configurations on these data; they are no evidence that a model is fit for care.")
    return said


def of_encoders(run: RunFolder) -> str:
    """What the other text encoders have of a configuration that was tuned with one, or what their own searches have of
    it."""
    if searched_apart(run):
        return (
            f"Each text encoder was tuned with as many trials, but around the best of Phase 1, which was done with "
            f"{run.search_encoder} alone: that may favor it."
        )
    own = ""
    if run.config["final"]["learning_rate_factors"] != [1.0]:
        own = ", each with a learning rate of its own"
    return (
        f"The configuration was tuned with {run.search_encoder} and applied to the other text encoders{own}: they may "
        "score higher when tuned themselves."
    )


def _eyes(run: RunFolder, scored: int) -> str:
    if run.audit["label_level"] != "eye":
        return ""
    return f", with {scored:,} eyes; the 95 % CIs draw patients, since two eyes of one person are not independent"


def patients_needed(patients: int, smallest: float) -> str:
    """Test patients that detect a gain of WORTH_FINDING, where so many detect one of `smallest`: a standard error falls
    with the root of their number. To two digits, since more are not known."""
    needed = patients * (smallest / WORTH_FINDING) ** 2
    return f"{int(float(f'{needed:.1e}')):,}"


def external_limitations(run: RunFolder) -> list[str]:
    """What scores on external data sets show, and what they do not."""
    said = [
        "A score here holds for the cameras and patients of its data set, and for no other. "
        "Patients of both data sets are found only where their images look alike.",
    ]
    known = set(run.fingerprint["classes"])
    for name, evaluation in {one.name: one.evaluation for one in run.external}.items():
        said += _shared(run, name)
        classes = [row["class"] for row in evaluation.per_class]
        new = [name for name in classes if name not in known]
        if new:
            said.append(
                f"{name}: {wording.count(len(new), 'class', 'classes')} of {len(classes)} no trial has seen, "
                f"named by prompts alone: {', '.join(new)}."
            )
        if set(classes) != known:
            said.append(
                f"{name}: scores among {wording.count(len(classes), 'class', 'classes')} do not compare with those of "
                f"this run's own {len(known)}; compare each with its own chance."
            )
        if evaluation.retrieval_omitted:
            said.append(f"{name}: retrieval is not reported: {evaluation.retrieval_omitted}.")
    return said


def _shared(run: RunFolder, name: str) -> list[str]:
    """What the images, ids and texts of an external data set tell of whether its people are in train or val."""
    models = [one for one in run.external if one.name == name]
    found = models[0].evaluation.overlap
    if not found:
        return [f"{name}: Not looked for: patients of train or val among its patients; evaluate it again to know."]
    patients, same_id = found.patients, found.same_id
    said = []
    if found.image_patients:
        copies, more = found.image_copies, found.near_duplicates
        said.append(
            f"{name}: Not external for {found.image_patients:,} of {patients:,} patients: train or val has images "
            f"of theirs ({copies:,} exact copies, {more:,} more that seem to show the same eye); {same_id:,} share an "
            f"id.{_without(run, models)}"
        )
    else:
        said.append(
            f"{name}: nothing was trained or chosen on these data, as far as its {found.images:,} images tell: "
            "none is a copy of one in train or val, or seems to show the same eye."
        )
        if same_id:
            said.append(
                f"{name}: {same_id:,} of {patients:,} patients have an id of train or val too; no image of theirs "
                "matches, so that the ids may coincide."
            )
    if found.identical_texts:
        said.append(
            f"{name}: {found.identical_texts:,} of {found.samples:,} samples have a report that is in train or "
            "val word for word."
        )
    return said


def _without(run: RunFolder, models: list[External]) -> str:
    """The scores of an external data set without the people who are in train or val, too."""
    overlap = models[0].evaluation.overlap
    assert overlap is not None
    out = overlap.left_out.patients
    if overlap.without is None:
        return f" Too few patients are left to score without these {out:,}."
    metric = run.test_metric if run.test_metric in ZERO_SHOT else "zero_shot_balanced_accuracy"
    reached = []
    for one in models:
        assert one.evaluation.overlap is not None
        assert one.evaluation.overlap.without is not None, "all models are scored on the same people"
        value = one.evaluation.overlap.without.zero_shot[metric]
        reached.append(
            f"{one.model.id} reaches a {wording.metric_name(metric)} of {wording.score(value['value'])} "
            f"(95 % CI {wording.interval(value['low'], value['high'])})"
        )
    left = overlap.without.counts.patients
    return f" Without these {out:,} patients, {', '.join(reached)}, on {left:,} patients."


def _few_cases(run: RunFolder) -> list[str]:
    rows = _classes(run)
    present = [row for row in rows if row["count"]]
    absent = [row["class"] for row in rows if not row["count"]]
    few = [row for row in present if row["patients"] < FEW_CASES]
    said = []
    if few:
        which = "One class has" if len(few) == 1 else f"{len(few)} classes have"
        said.append(
            f"{which} fewer than {FEW_CASES} test patients, so that one of them moves the recall by about a tenth or "
            f"more: {', '.join(small_classes(run))}. The 95 % CI of balanced accuracy minds that; those of F1, AUROC, "
            "average precision and differences leave out a class that a bootstrap sample misses, and are less sure."
        )
        if run.test_metric == "zero_shot_balanced_accuracy":
            said.append(
                f"Balanced accuracy weighs classes alike, so that {len(few) / len(present):.0%} of it rests on "
                f"these {sum(row['count'] for row in few)} of {sum(row['count'] for row in present):,} samples."
            )
    if absent:
        said.append(f"The test split has nobody of {', '.join(absent)}: their scores are unknown.")
    if not few and not absent:
        said.append(f"Every class has at least {min(row['patients'] for row in rows)} test patients.")
    return said


def small_classes(run: RunFolder) -> list[str]:
    """The classes of few test patients, with how many each has."""
    return [f"{row['class']} ({row['patients']})" for row in _classes(run) if 0 < row["patients"] < FEW_CASES]


def few_classes(run: RunFolder) -> list[str]:
    """The names of the classes of few test patients, or none, the fewest first."""
    few = [row for row in _classes(run) if row["patients"] < FEW_CASES]
    return [row["class"] for row in sorted(few, key=lambda row: row["patients"])]


def _classes(run: RunFolder) -> tuple[Row, ...]:
    """A row for each class with its units and patients on test, those of several labels included."""
    evaluation = run.tuned(run.search_encoder)[0].evaluation
    return evaluation.multi_label.classes if evaluation.multi_label else evaluation.per_class
