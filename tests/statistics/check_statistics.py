"""Error rates and coverages of every test behind the report's words, by simulation, beside what they should be.

python tests/statistics/check_statistics.py            all, about a quarter of an hour on one core
python tests/statistics/check_statistics.py nulls      one part: nulls, seeds, rare, calibration, estimates
python tests/statistics/check_statistics.py demo       not among all: trains 40 small studies; goes on where it stopped
"""

# ruff: noqa: E402, our folders must be known before their modules are imported
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "scripts")]

import demo_seeds
import numpy as np
from simulations import (
    LANDSCAPES,
    predictions,
    rare_study,
    searched,
    seeds_drawn_again,
    two_equal_configurations,
    unlearned,
)

from retclip.metrics import nulls, scores
from retclip.metrics.calibration import calibration
from retclip.metrics.differences import compare, mean_of
from retclip.metrics.estimates import INTERVAL
from retclip.search.expected_scores import expected_scores

METRIC = "zero_shot_balanced_accuracy"
COMPARED = 100  # studies of which it is told, too, what was believed before


def check_nulls() -> None:
    """Models that learned no text: clustered images, random class directions, 200 patients."""
    studies = 500
    print(f"\nnulls: called learned of {studies} that learned nothing; nominal .050, at most .060")
    for classes in (4, 5, 8, 10):
        generator, now, before = np.random.default_rng([1, classes]), 0, 0
        for study in range(studies):
            (table,) = unlearned(generator, classes=classes)
            if study < COMPARED:
                target, values, patients = scores.unpack(table)
                reached = scores.zero_shot_scores(target, values)[METRIC]
                error = scores.bootstrap(METRIC, target, values, patients, draws=100).std()
                before += (reached or 0.0) - 1 / classes > 2 * error
            now += bool(nulls.judge(METRIC, [[table]], [1 / classes])[0].is_learned)
        print(f"  one model, {classes:2} classes: {now / studies:.3f}; by two standard errors {before / COMPARED:.3f}")
    # of 5 classes, exact permutations are cheap; 300 studies have a standard error of .013, 2,000 one of .005
    for classes, studies in ((5, 2000), (8, 300)):
        generator, now, before = np.random.default_rng([2, classes]), 0, 0
        for study in range(studies):
            tables = [[table] for table in unlearned(generator, models=20, classes=classes)]
            now += any(one.is_learned for one in nulls.judge(METRIC, tables, [1 / classes] * 20))
            if study < COMPARED:
                before += any(nulls.judge(METRIC, [one], [1 / classes])[0].is_learned for one in tables)
        error = np.sqrt(0.05 * 0.95 / studies)
        print(f"  best of 20, {classes:2} classes: {now / studies:.3f} (SE {error:.3f}); without correction "
              f"{before / COMPARED:.3f}")  # fmt: skip
    for visits in (1, 4):
        generator, now, studies = np.random.default_rng([3, visits]), 0, 1000
        for _ in range(studies):
            ranks = (1 + generator.permutation(200)[: 200 // visits]).repeat(visits)
            table = predictions(np.full(len(ranks), -1), np.zeros((len(ranks), 0)), image_to_text_rank=ranks)
            table["patient_id"] = np.arange(200 // visits).repeat(visits)
            now += bool(nulls.judge("image_to_text_recall_at_10", [[table]], [0.05])[0].is_learned)
        print(f"  ranks, {visits} samples a patient: {now / studies:.3f}")


def check_seeds() -> None:
    """Two equal configurations; the standard deviation between seeds in standard errors of one score over patients."""
    print("\nseeds: 95 % CIs that hold the truth (difference now, as it was before, mean of one configuration)")
    for patients in (30, 300, 3000):
        for seeds in (2, 3, 5, 10):
            line = []
            for ratio in (0, 1, 2, 5):
                generator = np.random.default_rng([patients, seeds, ratio])
                weights = generator.multinomial(patients, np.full(patients, 1 / patients), size=200).astype(float)
                studies, now, before, mean = 300 if patients < 3000 else 60, 0, 0, 0
                for _ in range(studies):
                    pair = two_equal_configurations(generator, weights, seeds, ratio)
                    found, (low, high), one = compare(*pair), seeds_drawn_again(*pair), mean_of(pair[0])
                    now += found.low <= 0 <= found.high
                    before += low <= 0 <= high
                    mean += one.low <= 0 <= one.high
                line.append(f"SD {ratio}: {now / studies:.3f} {before / studies:.3f} {mean / studies:.3f}")
            print(f"  {patients:4} patients, {seeds:2} seeds   {'   '.join(line)}", flush=True)


def check_rare() -> None:
    """Balanced accuracy of four classes of which one has few patients, or of ten that have; 7 of 10 patients have two
    eyes or none has."""
    studies = 200
    print(
        f"\nrare classes: 95 % CIs of balanced accuracy that hold the truth and their mean width, of {studies} studies"
    )
    print("  (now, by the bootstrap alone)")
    for few in (1, 2, 3, 5, 10, 19):
        for name, counts, rest in (("one is rare", (few, 80, 60, 60), (0.7,) * 3), ("all are", (few,) * 10, None)):
            line = []
            for recall in (0.1, 0.5, 0.9):
                generator, held, width = np.random.default_rng([7, few, int(10 * recall)]), np.zeros(2), np.zeros(2)
                recalls = (recall, *rest) if rest else (recall,) * 10
                for number in range(studies):
                    case, truth = rare_study(generator, counts, recalls, two_eyes=0.7 * (number % 2))
                    weights = scores.resamples(case[2], 200)
                    found = scores.estimated(METRIC, *case, weights)
                    drawn = np.nanquantile(scores.resampled(METRIC, *case[:2], weights), INTERVAL)
                    ends = np.array([[found.low, found.high], drawn])
                    held += (ends[:, 0] <= truth) & (truth <= ends[:, 1])
                    width += ends[:, 1] - ends[:, 0]
                (now, before), (wide, narrow) = held / studies, width / studies
                line.append(f"recall {recall}: {now:.3f} {before:.3f} ({wide:.2f} {narrow:.2f})")
            print(f"  {few:2} patients, {name:11}   {'   '.join(line)}", flush=True)


def check_calibration() -> None:
    """Perfectly calibrated models of eight classes."""
    studies = 300
    print(
        f"\ncalibration: of {studies} perfectly calibrated models (error, interval that leaves out zero; nominal .050)"
    )
    for patients in (100, 300, 1000):
        generator, plain, debiased, outside = np.random.default_rng([4, patients]), 0.0, 0.0, 0
        for _ in range(studies):
            logits = 2.0 * generator.normal(size=(patients, 8))
            shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            target = (shares.cumsum(1) < generator.random((patients, 1))).sum(1).clip(max=7)
            weights = scores.resamples(np.arange(patients), 200)
            found = calibration(target, logits / 10, np.full(patients, 10.0), weights)
            plain += found.expected_calibration_error["value"] / studies
            debiased += found.debiased_calibration_error["value"] / studies
            outside += found.debiased_calibration_error["low"] > 0
        print(f"  {patients:4} patients: plain {plain:.3f}, debiased {debiased:.3f}, {outside / studies:.3f}")


def check_estimates() -> None:
    """Twenty configurations of Phase 2 by the one score that each drew, and by the model of all trials."""
    studies, noise = 100, 0.03
    print(f"\nselection.estimate: of {studies} searches whose single scores have a noise of {noise}")
    print("  landscape  bias of the luckiest   mean error    model wins with one, three finalists; gains")
    for landscape in LANDSCAPES:
        rows = []
        for study in range(studies):
            generator = np.random.default_rng([5, study])
            first, second, truth = searched(generator, landscape, noise)
            drawn, expected = second["metric"].to_numpy(), expected_scores(first, second)["expected"].to_numpy()
            # two fresh seeds of each of three finalists decide
            confirmed = truth + noise / np.sqrt(2) * generator.normal(size=len(truth))
            chosen = []
            for estimate in (drawn, expected):
                finalists = np.argsort(-estimate)[:3]
                chosen += [finalists[0], finalists[confirmed[finalists].argmax()]]
            gains = [truth[chosen[2]] - truth[chosen[0]], truth[chosen[3]] - truth[chosen[1]]]
            wins = [0.5 + 0.5 * np.sign(gain) for gain in gains]
            luckiest = chosen[0]
            rows.append([drawn[luckiest] - truth[luckiest], expected[luckiest] - truth[luckiest],
                         np.abs(drawn - truth).mean(), np.abs(expected - truth).mean(), *wins, *gains])  # fmt: skip
        bias, less, error, ours, one, three, *gain = np.mean(rows, axis=0)
        print(f"  {landscape:9}  {bias:+.3f} becomes {less:+.3f}  {error:.3f}, {ours:.3f}  {one:.2f}, {three:.2f}; "
              f"{gain[0]:+.4f}, {gain[1]:+.4f}", flush=True)  # fmt: skip


def check_demo(seeds: int = 20) -> None:
    """The demo's claim, see demo_seeds.py."""
    studies = demo_seeds.studies(seeds)
    print('\ndemo: studies that say "learned": in best.json, on test, both')
    for reports, goal in (("as they are", f"all {seeds}"), ("shuffled", "at most 2 of 20")):
        found = [study for study in studies if study.reports == reports]
        chosen, tested = sum(study.chosen for study in found), sum(study.tested for study in found)
        both = sum(study.chosen and study.tested for study in found)
        print(f"  reports {reports:11}: {chosen}, {tested}, {both} of {len(found)} (goal: {goal})")


PARTS: dict[str, Callable[[], None]] = {
    "nulls": check_nulls,
    "seeds": check_seeds,
    "rare": check_rare,
    "calibration": check_calibration,
    "estimates": check_estimates,
    "demo": check_demo,
}
LONG = ("demo",)  # runs where it is named


def chosen(named: list[str]) -> list[str]:
    """The parts to run."""
    return named or [name for name in PARTS if name not in LONG]


if __name__ == "__main__":
    started = time.monotonic()
    for name in chosen(sys.argv[1:]):
        PARTS[name]()
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes, {time.process_time() / 60:.1f} of a processor")
