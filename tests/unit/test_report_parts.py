"""Small parts of the report, each against what a person would work out by hand."""

import base64
import dataclasses
import io
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from documents import ORIGIN, evaluation_of, metrics_of, trial_of
from PIL import Image
from running import REPOSITORY, merged
from scipy import stats
from small_runs import METRIC, failing, final, run_of

from retclip.core import code_hash
from retclip.core.qualitative_examples import QualitativeExamples
from retclip.metrics import evaluation_report as evaluation
from retclip.metrics import scores
from retclip.report import answer, checklist, comparisons, drawing, limitations, methods, privacy, stability
from retclip.report import formatting as wording
from retclip.report.examples import examples
from retclip.report.layout import read_captions, read_sections
from retclip.report.run_folder import FinalModel
from retclip.report.sections import encoders, provenance, trials


@pytest.mark.slow
def test_the_report_never_loads_torch():
    """Optuna and Plotly are loaded, which must not bring it along."""
    code = (
        "import sys; sys.path.insert(0, 'scripts')\n"
        "from retclip.report import interactive, page\n"
        "interactive.plotting_script()\n"
        "import optuna.visualization\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_who_ties_shares_the_win():
    draws = np.array([[0.5, 0.5, 0.9, 0.1], [0.5, 0.4, 0.2, 0.3], [0.1, 0.1, 0.1, 0.3]])
    assert stability.shares_of_wins(draws) == pytest.approx([0.625, 0.25, 0.125])


def test_the_best_so_far_passes_over_what_diverged():
    found = stability.best_so_far([None, 0.2, 0.1, None, 0.4])
    assert np.isnan(found[0])
    assert found[1:].tolist() == [0.2, 0.2, 0.2, 0.4]


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "\N{EM DASH}"), (float("nan"), "\N{EM DASH}"), (-0.0214, "\N{MINUS SIGN}0.021"), (1, "1.000")],
)
def test_a_score_is_said_in_three_decimals(value, said):
    assert wording.score(value) == said


@pytest.mark.parametrize(
    ("right", "level", "warned"), [(0.1, "not above chance", False), (0.5, "not above chance", False),
                                   (0.8, ", above chance", True)],
)  # fmt: skip
def test_a_control_below_chance_is_no_leak(right, level, warned):
    run = run_of(final("tuned", 0.95), final("control", right))
    (said,) = answer._control(run)
    assert level in said
    assert "the tuned configuration is better, so the texts taught it" in said
    assert any("look for a leak" in warning for warning in limitations.warnings(run)) == warned
    assert answer.verdict(run).learned


@pytest.mark.parametrize(("device", "gpus", "warned"), [("auto", 1, True), ("auto", 0, False), ("cpu", 0, False)])
def test_a_cpu_in_place_of_a_gpu_is_a_limitation(device, gpus, warned):
    on_cpu, on_gpu = final("tuned", 0.95), final("baseline", 0.5)
    for one, used in ((on_cpu, ()), (on_gpu, ("GPU-1",))):
        one.metrics = dataclasses.replace(one.metrics, gpus=used)
    run = run_of(on_cpu, on_gpu)
    run.config["training"].update(device=device, gpus=gpus)
    said = [line for line in limitations.warnings(run) if "1 of 2 trials ran on the CPU" in line]
    assert len(said) == warned


def test_a_tuned_configuration_below_chance_has_learned_nothing():
    assert answer.verdict(run_of(final("tuned", 0.1))).reason == (
        "the tuned configuration's interval on test lies below chance (0.500)"
    )
    assert "reaches down to chance" in answer.verdict(run_of(final("tuned", 0.5))).reason


@pytest.mark.parametrize("seeds", [(1, 2, 3), (4, 5, 6), (1, 2)])
def test_intervals_of_several_seeds_hold_their_spread(seeds):
    """The seeds' part is the variance between seeds, not (n - 1) / n of it, with a t distribution of few degrees."""
    tuned = [final("tuned", right, seed) for right, seed in zip((0.7, 0.85, 0.95), (1, 2, 3), strict=True)]
    defaults = [final("baseline", right, seed) for right, seed in zip((0.3, 0.5, 0.6), seeds, strict=False)]
    gap = comparisons.difference(tuned, defaults, METRIC)
    groups = [[one.evaluation.zero_shot[METRIC]["value"] for one in finals] for finals in (tuned, defaults)]
    freedom = len(seeds) + 1
    between = sum(np.var(group, ddof=1) * (len(group) - 1) for group in groups) / freedom
    seeds_alone = np.sqrt(between * (1 / 3 + 1 / len(seeds)))
    assert gap.standard_error > seeds_alone
    assert gap.high - gap.value > stats.t.ppf(0.975, freedom) * seeds_alone
    patients = np.mean([scores.draws_of(METRIC, one.predictions) for one in tuned], axis=0)
    assert gap.high - gap.value < stats.t.ppf(0.975, freedom) * np.hypot(seeds_alone, 2 * patients.std())
    assert gap == comparisons.difference(tuned, defaults, METRIC)
    assert comparisons.score(tuned, METRIC).standard_error > 1.2 * patients.std()
    assert gap.between_models == (len(seeds) == 2)
    assert gap.is_significant == (gap.excludes_zero and len(seeds) == 3)


def test_one_seed_is_drawn_over_patients_alone():
    tuned_model, default = final("tuned", 0.9), final("baseline", 0.4)
    draws = scores.draws_of(METRIC, tuned_model.predictions) - scores.draws_of(METRIC, default.predictions)
    gap = comparisons.difference([tuned_model], [default], METRIC)
    assert [gap.low, gap.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]))


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_one_seed_each_claims_nothing_of_other_seeds(seeds):
    run = run_of(*(final(kind, right, seed) for kind, right in (("tuned", 0.95), ("baseline", 0.4))
                   for seed in range(seeds)))  # fmt: skip
    run.decisions["best"] = {"id": "c0"}
    gap = comparisons.difference(run.tuned("pubmedbert"), run.baselines(), METRIC)
    said = answer._gain(run, gap)
    assert "): statistically significant at 5 %" in said
    assert ("for these two trials; one seed each says nothing of other seeds" in said) == (seeds == 1)
    assert ("patients and seeds" in said) == (seeds > 1)
    assert ("between these models; 2 seeds each are too few" in said) == (seeds == 2)


def test_what_shows_one_trial_of_several_names_its_seed():
    several = run_of(*(final(kind, 0.9, seed) for seed in (7, 8) for kind in ("tuned", "baseline")))
    named = {name for name, caption in read_captions().items() if "{seed}" in caption}
    assert named == {"per_class", "calibration", "confusion_tuned", "confusion_baseline", "embedding", "prompts"}
    assert several.shown_seed == " (seed 7, the first of 2)"
    assert run_of(final("tuned", 0.9)).shown_seed == ""


def test_few_cases_are_patients_not_eyes():
    """Nine patients with two eyes each are few; the page and methods.md name their class."""
    rows = [{"class": "Healthy", "count": 40, "patients": 25}, {"class": "Drusen", "count": 18, "patients": 9}]
    run = run_of(final("tuned", 0.9))
    run.finals[0].evaluation = dataclasses.replace(run.finals[0].evaluation, per_class=rows)
    assert limitations.small_classes(run) == ["Drusen (9)"]
    said = " ".join(limitations._few_cases(run))
    assert "fewer than 10 test patients" in said
    assert "Drusen (9). The 95 % CI of balanced accuracy minds that; those of F1, AUROC" in said
    rows[1]["patients"] = 10
    assert limitations._few_cases(run) == ["Every class has at least 10 test patients."]


def test_what_was_evaluated_on_test_is_named():
    run = run_of(final("tuned", 0.9, 1), final("tuned", 0.9, 2), final("baseline", 0.4), final("control", 0.5))
    run.initial = evaluation_of()
    assert run.evaluated_on_test == {"tuned": 2, "baseline": 1, "control": 1, "initial": 1}
    said = wording.test_set_evaluations(run.evaluated_on_test)
    assert said.startswith("Test-set evaluations: 5 models: 2 of the tuned configuration")
    assert "1 of the untouched initial weights" in said
    assert "cannot be seen" in said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"source": "demo"}, "pre-trained for the demo"),
        ({"source": "google-bert/bert-base-uncased", "revision": "0123abc"},
         "weights of google-bert/bert-base-uncased, revision 0123abc [@devlin2019bert]"),
        ({"source": "dmis-lab/biobert-base-cased-v1.1"}, "[@lee2020biobert]"),
        ({"source": "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext"}, "[@gu2021pubmedbert]"),
        ({"source": "own/bert", "from_checkpoint": True}, "weights of the image encoder's checkpoint"),
    ],
)  # fmt: skip
def test_the_methods_say_where_a_text_encoder_is_from(source, said):
    assert said in methods._text_encoder("mine", source)


def test_the_methods_name_every_hyperparameter():
    """What no sentence names stands behind them."""
    said = methods._others({"learning_rate": 1e-3, "augment": False, "same_class_negatives": "mask", "made_up": 3})
    assert said == "augment false, same class negatives mask, made up 3"


@pytest.mark.parametrize(
    ("test", "key"),
    [("percentile", "efron1993"), ("score intervals", "wilson1927"), ("test inversion", "carpenter1999"),
     ("Holm", "holm1979"), ("exact binomial test", "kish1965"), ("variance components", "searle1992"),
     ("permuting", "ojala2010permutation"), ("fANOVA", "hutter2014"), ("quadratic weights", "cohen1968"),
     ("calibration error", "kumar2019verified")],
)  # fmt: skip
def test_the_methods_name_every_test_with_its_source(test, key):
    """The citation follows within the sentence, and references.bib has it."""
    text = methods.TEMPLATE.read_text()
    assert re.search(rf"{test}[^.]*?[@ ;]@?{key}", text), test
    assert f"{{{key}," in methods.TEMPLATE.with_name("references.bib").read_text()


@pytest.mark.parametrize(
    ("factors", "others"), [([1.0], "inherited"), ([0.5, 1.0], "inherited but for its learning rate")]
)
def test_the_table_of_text_encoders_says_which_were_tuned(factors, others):
    tuned, other = final("tuned", 0.9), final("tuned", 0.8)
    other.metrics = dataclasses.replace(other.metrics, trial=trial_of(kind="tuned", text_encoder="biobert", seed=1))
    run = run_of(tuned, other)
    run.config["final"]["learning_rate_factors"] = factors
    run.config["model"]["text_encoders"]["biobert"] = {"source": "demo"}
    run.recommendation = {"encoder": "biobert", "val_scores": {}, "seeds": {}}
    table = encoders.encoders_table(run)
    place = table.heads.index("configuration")
    assert {row[0]: row[place] for row in table.rows} == {"pubmedbert": "tuned with it", "biobert": others}


def test_the_methods_credit_clip_only_where_its_weights_were_taken():
    assert methods._image_weights(None) == "random initial weights"
    assert "radford2021clip" in methods._image_weights("openai")
    assert "radford2021clip" not in methods._image_weights("laion2b_s34b_b88k")


def test_split_fractions_are_said_where_the_tool_may_have_split():
    data = {"source": "manifest", "test_fraction": 0.2, "val_fraction": 0.1}
    assert "where they say nothing, 20.0% into test" in methods._how_split(data)
    assert "20.0%" not in methods._how_split({**data, "test_manifest": "test.csv"})
    assert methods._how_split({**data, "source": "demo"}).startswith("20.0% into test and 10.0% of the rest")


def test_classes_that_no_trial_has_seen_are_named():
    clinic = SimpleNamespace(
        name="clinic", evaluation=evaluation_of(per_class=[{"class": "Drusen"}, {"class": "Glaucoma"}])
    )
    run = SimpleNamespace(
        fingerprint={"classes": ["Glaucoma", "Healthy"]},
        test_metric="zero_shot_balanced_accuracy",
        external=[clinic, clinic],
    )
    said = limitations.external_limitations(run)
    assert sum("1 class of 2 no trial has seen, named by prompts alone: Drusen." in line for line in said) == 1
    assert sum("scores among 2 classes do not compare" in line for line in said) == 1
    clinic.evaluation = evaluation_of(per_class=[{"class": "Healthy"}, {"class": "Glaucoma"}])
    assert [line for line in limitations.external_limitations(run) if "clinic" in line] == [
        limitations.external_limitations(run)[1]
    ]


NO_OVERLAP = {"patients": 40, "samples": 40, "images": 80, "same_id": 0, "ids_confirmed": False, "image_copies": 0,
              "near_duplicates": 0, "image_patients": 0, "identical_texts": 0,
              "left_out": {"samples": 0, "patients": 0}, "without": None}  # fmt: skip
SCORE = {"value": 0.61, "low": 0.5, "high": 0.7, "standard_error": 0.05}


@pytest.mark.parametrize(
    ("found", "said", "not_said"),
    [
        (None, "Not looked for", "othing was trained"),
        (NO_OVERLAP, "clinic: nothing was trained or chosen on these data, as far as its 80 images tell",
         "share an id"),
        ({**NO_OVERLAP, "same_id": 24}, "24 of 40 patients have an id of train or val too; no image of theirs matches, "
         "so that the ids may coincide", "Not external"),
        ({**NO_OVERLAP, "identical_texts": 7}, "7 of 40 samples have a report that is in train or val word for word",
         "Not external"),
        ({**NO_OVERLAP, "same_id": 24, "ids_confirmed": True, "image_copies": 46, "near_duplicates": 2,
          "image_patients": 24, "left_out": {"samples": 24, "patients": 24},
          "without": {"counts": {"patients": 16, "scored": 30}, "zero_shot": {"zero_shot_balanced_accuracy": SCORE}}},
         "Not external for 24 of 40 patients: train or val has images of theirs (46 exact copies, 2 more that seem to "
         "show the same eye); 24 share an id. Without these 24 patients, pubmedbert-s1 reaches a balanced accuracy "
         "of 0.610", "othing was trained"),
        ({**NO_OVERLAP, "image_copies": 80, "image_patients": 40, "left_out": {"samples": 40, "patients": 40}},
         "Too few patients are left to score without these 40", "othing was trained"),
    ],
)  # fmt: skip
def test_what_the_page_says_of_external_data_follows_from_what_was_found(found, said, not_said):
    evaluation = evaluation_of(overlap=found)
    run = SimpleNamespace(
        fingerprint={"classes": []},
        test_metric="zero_shot_balanced_accuracy",
        external=[SimpleNamespace(name="clinic", model=SimpleNamespace(id="pubmedbert-s1"), evaluation=evaluation)],
    )
    text = " ".join(limitations.external_limitations(run))
    assert said in text
    assert not_said not in text


def test_no_path_of_a_private_run_is_told():
    config = merged()
    place = "/secret/place"
    config["data"] |= {"manifest": place, "test_manifest": place, "image_root": place, "class_map": f"{place}/map.yaml"}
    config["model"]["image_encoder"]["weights"] = f"{place}/tower.pt"
    config["model"]["text_encoders"]["biobert"]["source"] = place
    config["evaluation"] |= {
        "prompts": f"{place}/prompts.yaml",
        "external_tests": {"clinic": {"source": "odir", "manifest": place, "image_root": place, "class_map": place}},
    }
    told = privacy.without_paths(config)
    assert "secret" not in str(told)
    assert told["model"]["text_encoders"]["pubmedbert"] == config["model"]["text_encoders"]["pubmedbert"]
    assert told["evaluation"]["external_tests"]["clinic"]["source"] == "odir"
    config["model"]["image_encoder"]["weights"] = "openai"
    assert privacy.without_paths(config)["model"]["image_encoder"]["weights"] == "openai"


def laid_over(base: dict, overlay: dict) -> dict:
    """As Snakemake merges config files."""
    return {**base, **{
        key: laid_over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in overlay.items()
    }}  # fmt: skip


def without_nulls(config: dict) -> dict:
    return {key: without_nulls(value) if isinstance(value, dict) else value
            for key, value in config.items() if value is not None}  # fmt: skip


@pytest.mark.parametrize("names", [(), ("demo",), ("demo", "wide")])
def test_the_config_on_the_page_gives_the_run_again(names):
    """Keys that an overlay had deleted stay deleted, and a relative path stays relative."""
    base = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    recorded = without_nulls(merged(*names))
    del recorded["tracking"]
    recorded["data"]["class_map"] = "config/own.yaml"
    overlay = yaml.safe_load(provenance.overlay_text(recorded))
    again = without_nulls(laid_over(base, overlay))
    assert {key: value for key, value in again.items() if key != "tracking"} == recorded
    assert again["tracking"] == base["tracking"]


def numbers(text: str, statement: str) -> set[int]:
    """The items of a statement that `text` names: "TRIPOD+AI 5, CLAIM 14 to 18, 21" -> 14 to 18 and 21 of CLAIM."""
    found: set[int] = set()
    for part in re.findall(rf"{re.escape(statement)} ([^A-Z]+)", text):
        for first, last in re.findall(r"(\d+)[a-g]?(?: to (\d+)[a-g]?)?", part):
            found |= set(range(int(first), int(last or first) + 1))
    return found


def test_the_checklist_has_every_item_and_real_sections():
    entries = yaml.safe_load((REPOSITORY / "scripts/retclip/report/templates/checklist.yaml").read_text())
    where = " ".join(place for place, *_ in entries)
    assert numbers(where, "TRIPOD+AI") == set(range(1, 28))
    assert numbers(where, "CLAIM") == set(range(1, 45))
    assert {anchor for *_, anchor in entries if anchor} <= set(read_sections())


@pytest.mark.parametrize("private", [True, False])
def test_the_checklist_claims_no_examples_that_were_not_made(private):
    run = run_of(final("tuned", 0.9))
    run.config["privacy"]["private"], run.config["final"]["seeds"] = private, 1
    run.finals[0].evaluation = dataclasses.replace(run.finals[0].evaluation, subgroups=())
    answers = {entry.where: entry for entry in checklist.checklist(run)}
    assert answers["CLAIM 31"].answer == "none was made"
    assert answers["CLAIM 31"].anchor is None
    assert answers["CLAIM 30"].answer.endswith("resamples and 1 final seed")


def test_a_trial_of_a_cut_budget_shows_what_it_trained_with():
    whole = trial_of().hyperparameters | {"epochs": 6, "warmup_steps": 20}
    trial = trial_of(configured=whole, hyperparameters=whole | {"epochs": 3, "warmup_steps": 10})
    shown = dict(trials.configuration_of(trial))
    assert shown["epochs"] == "3 (6 in a full run)"
    assert shown["warm-up steps"] == "10 (20 in a full run)"
    assert "full run" not in shown["batch size"]


@pytest.mark.parametrize("color", [(190, 95, 45), (0, 0, 0), (240, 220, 170)], ids=["fundus", "border", "optic disc"])
def test_patches_that_mattered_can_be_told_from_a_fundus(color):
    """By a distance in RGB at which an area of the picture is seen at a glance."""
    image = np.full((1, 1, 8, 8, 3), color, np.uint8)
    one, word = np.zeros(1, int), np.array(["glaucoma"])
    arrays = QualitativeExamples(
        *(word, np.array(["left"]), image, np.ones((1, 1), bool), one, one, one + 0.5, one + 0.5, word[:, None]),
        *(one[:, None], one[:, None], np.array([[[[0.2, 0.0], [0.0, 0.0]]]]), np.zeros((0, 2)), one[:0], "t-SNE"),
    )
    [(_, plain), (_, marked)] = examples(arrays)[0].images
    before, after = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))).astype(float) for uri in (plain, marked)
    )
    distance = np.linalg.norm(after - before, axis=-1)
    assert distance[:4, :4].min() > 100
    assert distance[4:].max() == 0


def test_a_page_of_many_figures_warns_of_none():
    drawing.use_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = [drawing.subplots(1.0)[0] for _ in range(25)]
    for figure in figures:
        plt.close(figure)


def test_every_figure_that_is_drawn_has_a_caption_and_every_section_a_place():
    """Snakemake's own report lists the figures that have captions, so they are those that sections draw."""
    sections = read_sections()
    drawn = [name for section in sections.values() for name in section.figures]
    assert sorted(drawn) == sorted(read_captions())
    modules = {path.stem for path in (REPOSITORY / "scripts/retclip/report/sections").glob("[a-z]*.py")}
    assert {name.replace("-", "_") for name in sections} == modules
    assert next(iter(sections)) == "answer"


def test_a_section_reruns_the_report():
    """Sections are found by name, not imported, and yet they are code of the report."""
    names = {path.relative_to(code_hash.SCRIPTS).as_posix() for path in code_hash.modules_of("build_report")}
    sections = {f"retclip/report/sections/{path.name}" for path in
                (REPOSITORY / "scripts/retclip/report/sections").glob("*.py")}  # fmt: skip
    assert len(sections) > 15
    assert sections <= names
    assert "retclip/report/examples.py" in names


def several_labels(kind: str, share: float) -> FinalModel:
    """Two of three classes for each of 60 patients; the scores of the first `share` of them are right."""
    classes, labels = list("abc"), ["a|b", "b|c", "a|c"] * 20
    member = np.array([[name in label for name in classes] for label in labels], dtype=float)
    noise = np.random.default_rng(0).normal(size=member.shape)
    frame = pd.DataFrame({"sample_id": [f"s{i}" for i in range(60)], "patient_id": [f"p{i}" for i in range(60)]})
    table = frame.assign(eye="patient", target=-1, labels=labels, logit_scale=1.0)
    for k in range(3):
        table[f"score_{k}"] = table[f"template_{k}"] = np.where(np.arange(60) < 60 * share, member[:, k], noise[:, k])
    ranks = {name: np.ones(60, int) for name in ("image_to_text", "text_to_image")}
    retrieval = evaluation.Retrieval(ranks, table["patient_id"].to_numpy(), table["sample_id"].tolist())
    document = evaluation.evaluation_document(table, frame, classes, retrieval, {}, False, ORIGIN)
    metrics = metrics_of(trial_of(kind=kind, text_encoder="pubmedbert"), gpus=None)
    return FinalModel(kind, metrics, None, None, document, table)


@pytest.mark.parametrize(("share", "learned"), [(0.9, True), (0.0, False)])
def test_units_of_several_labels_are_headlined_by_macro_auroc(monkeypatch, share, learned):
    tuned_model, default = several_labels("tuned", share), several_labels("baseline", 0.1)
    run = run_of(tuned_model, default)
    run.decisions = {"best": {"id": "s01"}}
    for other in ("_configuration", "_encoder", "_cost"):
        monkeypatch.setattr(answer, other, lambda run: "")
    said = " ".join(answer.answer(run))
    found = tuned_model.evaluation.multi_label.macro_auroc
    assert (
        f"On 60 test patients, the tuned configuration reaches a macro AUROC over all labels of "
        f"{found['value']:.3f} (95 % CI {found['low']:.3f} to {found['high']:.3f}); the baseline"
    ) in said
    assert "Guessing would give 0.500." in said
    assert ("Nothing was learned" not in said) == learned
    assert "accuracy" not in said
    assert limitations._few_cases(run) == ["Every class has at least 40 test patients."]
    gap = comparisons.difference([tuned_model], [default], run.test_metric)
    assert gap.value == pytest.approx(found["value"] - default.evaluation.multi_label.macro_auroc["value"])
    assert gap.excludes_zero or not learned


def test_a_failed_seed_has_no_score_on_test_and_is_named():
    """What an out-of-memory training's half-trained weights score is nobody's result."""
    run = run_of(*(final("tuned", 0.9, seed) for seed in (1, 2)), failing(final("tuned", 0.9, 3), "out_of_memory"),
                 *(final("baseline", 0.6, seed) for seed in (1, 2, 3)))  # fmt: skip
    tuned = run.tuned("pubmedbert")
    assert comparisons.score(tuned, METRIC).value is None
    assert comparisons.difference(tuned, run.baselines(), METRIC).value is None
    why = "1 of 3 seeds failed: pubmedbert-s3 out of memory"
    assert answer.verdict(run) == (False, f"the tuned configuration has no score on test ({why})")
    (said,) = limitations.warnings(run)
    assert said.startswith(f"Final models of the tuned configuration with pubmedbert: {why}.")


def test_a_control_that_failed_shows_nothing():
    run = run_of(final("tuned", 0.95), failing(final("control", 0.5)))
    assert answer.verdict(run).learned
    (said,) = answer._control(run)
    assert said == (
        "The control on texts shuffled between patients has no score and shows nothing: 1 of 1 seed failed: "
        "pubmedbert-s1 diverged."
    )


def test_the_recommended_encoder_names_its_failed_seeds():
    run = run_of(
        final("tuned", 0.9, 1), failing(final("tuned", 0.9, 2)), final("tuned", 0.6, 1), final("tuned", 0.6, 2)
    )
    for one in run.finals[2:]:
        one.metrics = dataclasses.replace(one.metrics, trial=dataclasses.replace(one.trial, text_encoder="biobert"))
    counted = {"planned": 2, "failed": {"pubmedbert-s2": "diverged"}}
    run.recommendation = {"encoder": "pubmedbert", "seeds": {"pubmedbert": counted}}
    said = answer._encoder(run)
    assert "is pubmedbert (1 of 2 seeds failed: pubmedbert-s2 diverged; counted as chance)" in said
    assert "biobert cannot be compared with it there" in said


def test_shares_of_wins_hold_the_spread_of_seeds(tmp_path):
    """Two finalists that each win with one of their two seeds share the wins, however sure the patients are."""
    members = []
    for name, rights in (("c0", (0.95, 0.55)), ("c1", (0.6, 0.89))):
        for seed, right in enumerate(rights):
            folder = tmp_path / f"{name}s{seed}"
            folder.mkdir()
            final("tuned", right).predictions.to_parquet(folder / "val_predictions.parquet")
            trial = trial_of(candidate=name, seed=seed)
            members.append(SimpleNamespace(id=folder.name, trial=trial, folder=folder))
    run = SimpleNamespace(metric=METRIC, searched={"confirm": members}, decisions={}, interim=False)
    run.boards = {"confirm": pd.DataFrame({"id": ["c0", "c1"], "metric": [0.75, 0.745], "may_be_chosen": True})}
    shares = stability.winning_shares(run, "confirm")
    assert 0.2 < shares["c0"] < 0.8
    assert sum(shares.values()) == pytest.approx(1)
