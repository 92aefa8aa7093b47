"""What a reader has to know before believing: warnings of every stage, and what data of this size cannot tell."""

from retclip.metrics.evaluation_document import Row
from retclip.metrics.registry import ZERO_SHOT
from retclip.report import formatting as wording
from retclip.report.comparisons import difference, score
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
    final = run.decisions.get("best", {}).get("warnings", [])
    found += [warning for warning in final if not any(warning in line for line in found)]
    for name, finals in run.models().items():
        why = wording.failed({one.id: one.metrics.status for one in finals if one.failed}, len(finals))
        if why:
            found.append(f"Final models of {name}: {why}. So there is no mean score of them on test.")
    for control in run.controls():
        estimate = score([control], run.test_metric)
        chance = control.evaluation.levels.chance.get(run.test_metric)
        # below chance is no leak: an interval of few patients may lie wholly beneath it
        if estimate.low is not None and chance is not None and estimate.low > chance:
            found.append(
                f"The control with shuffled texts scores {wording.score(estimate.value)} "
                f"({wording.interval(estimate.low, estimate.high)}), above chance: look for a leak."
            )
    return [*found, *_on_cpu(run), *(run.audit["warnings"] if run.audit else [])]


def _on_cpu(run: RunFolder) -> list[str]:
    """Where the config left the device to the machine and asked for GPUs, but there was none."""
    training = run.config["training"]
    if training["device"] != "auto" or not training["gpus"]:
        return []
    everything = [one for trainings in run.trainings().values() for one in trainings]
    # what an earlier version trained does not tell
    on_cpu = sum(one.metrics.gpus == () for one in everything)
    if not on_cpu:
        return []
    return [
        f"{on_cpu:,} of {len(everything):,} trainings ran on the CPU: training.device is auto, and there was no usable "
        "GPU. Their times are a CPU's, and so is their precision where training.precision is auto."
    ]


def limits(run: RunFolder) -> list[str]:
    """What the test split's size lets one conclude, and what it does not."""
    metric = run.test_metric
    winners, baselines = run.winners(run.search_encoder), run.baselines()
    counts = run.finals[0].evaluation.counts
    patients = counts.scored_patients or counts.patients
    everyone = sum(split["patients"] for split in run.audit["splits"].values())
    reached, gain, chance = score(winners, metric), difference(winners, baselines, metric), run.chance(metric)
    said = [f"Of {everyone:,} patients, {patients:,} are in the test split and scored{_eyes(run, counts.scored)}."]
    if reached.low is not None and reached.high is not None:
        level = ""
        if chance is not None:
            known = "is below that" if reached.low > chance else "is not ruled out"
            level = f"; chance, {wording.score(chance)}, {known}"
        said.append(
            f"Can be said: the winner's {wording.metric_name(metric)} lies between {wording.score(reached.low)} and "
            f"{wording.score(reached.high)} (95 %), which is {wording.score(reached.high - reached.low)} wide{level}."
        )
    if gain.standard_error:
        smallest = DETECTABLE * gain.standard_error
        # a standard error falls with the root of the number of patients
        needed = patients * (smallest / WORTH_FINDING) ** 2
        wanted, size = f"about {_rounded(needed)} test patients", "patients"
        if run.seeds_each > 1:
            # the seeds' part of the standard error does not fall with patients, so that no number can be named
            wanted, size = "more test patients, more seeds, or both", "patients and seeds"
        more = (
            f" To find one of {wording.score(WORTH_FINDING)} would take {wanted}." if smallest > WORTH_FINDING else ""
        )
        said.append(
            f"Cannot be said: whether a gain smaller than about {wording.score(smallest)} is there. With so many "
            f"{size}, four of five studies would find a true gain of that size, and fewer a smaller one.{more}"
        )
    elif gain.value is not None:
        said.append("Cannot be said: what tuning may gain; winner and default config do not differ in any test sample.")
    if metric in ZERO_SHOT:
        said += _few_cases(run)
    if len(winners) == 1:
        said.append(
            "Cannot be said: how much another seed of the final training would change; there is one for each model, so "
            "that intervals hold the spread of patients alone."
        )
    else:
        said.append(
            f"Intervals of final scores draw {len(winners)} seeds as well as patients; so few seeds tell little of "
            "their spread."
        )
    if len(run.encoders) > 1:
        said.append(_applied(run))
    if not run.external:
        said.append(
            "Cannot be said: how any of these models does on patients and cameras of another place; no data from "
            "elsewhere were scored (evaluation.external_tests)."
        )
    said.append("These scores compare recipes on these data; they are no evidence that a model is fit for care.")
    return said


def _applied(run: RunFolder) -> str:
    """What the other text encoders have of a recipe that was tuned with one."""
    own = ""
    if run.config["final"]["learning_rate_factors"] != [1.0]:
        own = ", each with its own choice of learning rate and nothing else"
    return (
        "Cannot be said: how good another text encoder can be; the recipe was tuned with "
        f"{run.search_encoder} and only applied to the others{own}."
    )


def _eyes(run: RunFolder, scored: int) -> str:
    if run.audit["label_level"] != "eye":
        return ""
    return f", with {scored:,} eyes; intervals draw patients, since two eyes of one person are not independent"


def _rounded(number: float) -> str:
    """To two digits, since more are not known."""
    return f"{int(float(f'{number:.1e}')):,}"


def elsewhere(run: RunFolder) -> list[str]:
    """What scores on data from elsewhere say, and what they do not."""
    said = [
        "A score here holds for that place, its cameras and its patients; it does not say how the model does at the "
        "next. People who are in both with photographs that do not look alike are not found."
    ]
    known = set(run.fingerprint["classes"])
    for place, evaluation in {one.place: one.evaluation for one in run.external}.items():
        said += _shared(run, place)
        classes = [row["class"] for row in evaluation.per_class]
        new = [name for name in classes if name not in known]
        if new:
            said.append(
                f"{place}: {wording.count(len(new), 'class', 'classes')} of {len(classes)} no training has seen, named "
                f"by prompts alone: {', '.join(new)}."
            )
        if set(classes) != known:
            said.append(
                f"{place}: scores among {wording.count(len(classes), 'class', 'classes')} do not compare with those of "
                f"this run's own {len(known)}; compare each with its own chance."
            )
        if evaluation.retrieval_omitted:
            said.append(f"{place}: retrieval is not reported: {evaluation.retrieval_omitted}.")
    return said


def _shared(run: RunFolder, place: str) -> list[str]:
    """What the images, ids and texts of an external data set tell of whether its people are in train or val."""
    models = [one for one in run.external if one.place == place]
    found = models[0].evaluation.overlap
    if not found:
        return [f"{place}: Not looked for: whether people of it are in train or val; evaluate it again to know."]
    patients, same_id = found.patients, found.same_id
    said = []
    if found.image_patients:
        copies, more = found.image_copies, found.near_duplicates
        said.append(
            f"{place}: Not external for {found.image_patients:,} of {patients:,} patients: train or val has images "
            f"of theirs ({copies:,} exact copies, {more:,} more that seem to show the same eye); {same_id:,} share an "
            f"id.{_without(run, models)}"
        )
    else:
        said.append(
            f"{place}: nothing was trained or chosen on these data, as far as its {found.images:,} images tell: "
            "none is a copy of one in train or val, or seems to show the same eye."
        )
        if same_id:
            said.append(
                f"{place}: {same_id:,} of {patients:,} patients have an id of train or val too; no image of theirs "
                "matches, so that the ids may coincide."
            )
    if found.identical_texts:
        said.append(
            f"{place}: {found.identical_texts:,} of {found.samples:,} samples have a report that is in train or "
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
            f"{one.winner.id} reaches a {wording.metric_name(metric)} of {wording.score(value['value'])} "
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
        which = "this class alone, which has" if len(few) == 1 else "these classes alone, which have"
        said.append(
            f"Cannot be said: anything about {which} fewer than {FEW_CASES} test patients, so that one more or less "
            f"moves the recall by about a tenth or more: {', '.join(small_classes(run))}. A bootstrap sample that "
            "holds nobody of a class leaves it out of the mean, so that intervals are less sure than they look."
        )
        if run.test_metric == "zero_shot_balanced_accuracy":
            said.append(
                f"Balanced accuracy weighs classes alike, so that {len(few) / len(present):.0%} of it rests on "
                f"these {sum(row['count'] for row in few)} of {sum(row['count'] for row in present):,} samples."
            )
    if absent:
        said.append(f"Cannot be said: anything about {', '.join(absent)}; the test split has none.")
    if not few and not absent:
        said.append(f"Every class has at least {min(row['patients'] for row in rows)} test patients.")
    return said


def small_classes(run: RunFolder) -> list[str]:
    """The classes of few test patients, with how many each has."""
    return [f"{row['class']} ({row['patients']})" for row in _classes(run) if 0 < row["patients"] < FEW_CASES]


def _classes(run: RunFolder) -> tuple[Row, ...]:
    """A row for each class with its units and patients on test, those of several labels included."""
    evaluation = run.winners(run.search_encoder)[0].evaluation
    return evaluation.multi_label.classes if evaluation.multi_label else evaluation.per_class
