"""How far a model's zero-shot score hangs on its class prompts; on validation, where prompts may be chosen."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from retclip.core.io import atomic, read_json
from retclip.core.prompts import TEMPLATES, class_prompts
from retclip.core.trial import Trial
from retclip.evaluation.validation import labeled_views, zero_shot_classifier
from retclip.metrics.estimates import Estimate, documented, estimate
from retclip.metrics.prompt_document import ClassPrompt, PromptSensitivity, Template
from retclip.metrics.registry import METRICS, ZERO_SHOT
from retclip.metrics.scores import estimated, resampled, resamples

if TYPE_CHECKING:
    from retclip.evaluation.test_set import Reader
    from retclip.models.retclip import RetClip

# Random halves of the ensemble; of 20, the lowest and the highest are some 5 % quantiles.
HALVES = 20
ALL = slice(None)


class LabeledFeatures(NamedTuple):
    """The labeled views of a split: image features [N, D], view, class index and patient [N] of each. origin: what they
    were computed from."""

    features: np.ndarray
    view: np.ndarray
    target: np.ndarray
    patient: np.ndarray
    origin: str

    def save(self, path: Path) -> None:
        """As .npz, closed to others: of patients."""
        with atomic(path, private=True) as temporary, temporary.open("wb") as file:
            np.savez(file, features=self.features, view=self.view, target=self.target, patient=self.patient,
                     origin=np.array(self.origin))  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> "LabeledFeatures":
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            features, view, target, patient = (arrays[name] for name in cls._fields[:-1])
            return cls(features, view, target, patient, str(arrays["origin"]))


class PromptFeatures(NamedTuple):
    """Sentences, the class index of each [P], and their features by view [P, D]."""

    classes: list[str]
    sentences: list[str]
    owner: np.ndarray
    features: dict[str, np.ndarray]

    def classifier(self, kept: np.ndarray | slice = ALL) -> dict[str, np.ndarray]:
        """View -> zero-shot classifier [C, D] of the kept sentences (bool [P]), one or more of each class."""
        found = {}
        for view, features in self.features.items():
            sums = np.zeros((self.owner.max() + 1, features.shape[1]), dtype=np.float32)
            np.add.at(sums, self.owner[kept], features[kept])
            found[view] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return found


def prompt_features(model: "RetClip", reader: "Reader", prompts: dict[str, list[str]]) -> PromptFeatures:
    """Each sentence's own features. prompts: class -> sentences, in the order of the classes."""
    sentences = [sentence for label in prompts for sentence in prompts[label]]
    owner = np.array([k for k, label in enumerate(prompts) for _ in prompts[label]])
    names = [str(position) for position in range(len(sentences))]
    length = reader.trial.hyperparameters["context_length"]
    alone = {name: [sentence] for name, sentence in zip(names, sentences, strict=True)}
    found = zero_shot_classifier(model, names, alone, reader.tokenize, length, reader.device)
    return PromptFeatures(list(prompts), sentences, owner, {view: one.numpy() for view, one in found.items()})


def similarities(images: LabeledFeatures, classifier: dict[str, np.ndarray]) -> np.ndarray:
    """Cosine similarities [N, C] of the labeled views to the classes."""
    classes = len(next(iter(classifier.values())))
    scores = np.zeros((len(images.target), classes), dtype=np.float32)
    for view, texts in classifier.items():
        here = images.view == view
        scores[here] = images.features[here] @ texts.T
    return scores


def sensitivity(
    images: LabeledFeatures, prompts: PromptFeatures, templates: Sequence[PromptFeatures], metric: str, seed: int
) -> PromptSensitivity:
    """templates: those of TEMPLATES alone, for all classes. metric: a zero-shot one."""
    value = ZERO_SHOT[metric].value
    whole = similarities(images, prompts.classifier())
    reached = value(images.target, whole)
    found = estimated(metric, images.target, whole, images.patient, resamples(images.patient))
    generator = np.random.default_rng(seed)
    halves = [
        value(images.target, similarities(images, prompts.classifier(_half(prompts.owner, generator))))
        for _ in range(HALVES)
    ]
    rows = []
    counts = np.bincount(prompts.owner)
    for position, (sentence, k) in enumerate(zip(prompts.sentences, prompts.owner, strict=True)):
        if counts[k] < 2:
            continue
        kept = np.arange(len(prompts.sentences)) != position
        without = similarities(images, prompts.classifier(kept))
        rows.append(
            ClassPrompt(
                label=prompts.classes[k],
                prompt=sentence,
                adds=float(reached - value(images.target, without)),
                adds_recall=_recall(images.target, whole, k, without),
            )
        )
    return PromptSensitivity(
        metric=metric,
        ensemble=found.document,
        templates=tuple(
            Template(
                template=sentence,
                value=float(value(images.target, similarities(images, one.classifier()))),
            )
            for sentence, one in zip(TEMPLATES, templates, strict=True)
        ),
        halves=tuple(map(float, halves)),
        prompts=tuple(rows),
        units=len(images.target),
    )


def _half(owner: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """bool [P]: half of each class's sentences, at random; one of three is two."""
    kept = np.zeros(len(owner), dtype=bool)
    for k in np.unique(owner):
        own = np.flatnonzero(owner == k)
        kept[generator.permutation(own)[: (len(own) + 1) // 2]] = True
    return kept


def _recall(target: np.ndarray, whole: np.ndarray, k: int, without: np.ndarray) -> float | None:
    """What a sentence adds to the recall of its class; None where nobody has it."""
    own = target == k
    if not own.any():
        return None
    return float((whole[own].argmax(1) == k).mean() - (without[own].argmax(1) == k).mean())


def compared(images: LabeledFeatures, own: PromptFeatures, other: PromptFeatures, metric: str) -> dict[str, Estimate]:
    """The score with the model's own prompts, with others, and the difference, paired over patients."""
    weights = resamples(images.patient)
    scores = [similarities(images, prompts.classifier()) for prompts in (own, other)]
    first, second = (estimated(metric, images.target, one, images.patient, weights) for one in scores)
    draws = [resampled(metric, images.target, one, weights) for one in scores]
    gap = None if first.value is None or second.value is None else second.value - first.value
    return {"own": first, "other": second, "difference": estimate(gap, draws[1] - draws[0])}


def score_prompts(
    model: "RetClip", reader: "Reader", data_dir: Path, fingerprint: dict[str, Any]
) -> tuple[LabeledFeatures, PromptSensitivity]:
    """Of the trial's class prompts, on validation; and the image features that this took. Without scores where nothing
    in validation is labeled, or the training diverged."""
    images = validation_features(model, reader, data_dir, fingerprint)
    trial, classes = reader.trial, fingerprint["classes"]
    if len(images.target) == 0 or not np.isfinite(images.features).all():
        nothing = PromptSensitivity(
            metric=metric_of(trial), ensemble=documented(), templates=(), halves=(), prompts=(), units=0
        )
        return images, nothing
    templates = [
        prompt_features(model, reader, {label: [template.format(label=label)] for label in classes})
        for template in TEMPLATES
    ]
    own = prompt_features(model, reader, {label: list(trial.class_prompts[label]) for label in classes})
    return images, sensitivity(images, own, templates, metric_of(trial), trial.seed)


def metric_of(trial: Trial) -> str:
    """The zero-shot metric that prompts are compared by: that of the choice where it is one."""
    return trial.selection_metric if trial.selection_metric in ZERO_SHOT else "zero_shot_balanced_accuracy"


def validation_features(
    model: "RetClip", reader: "Reader", data_dir: Path, fingerprint: dict[str, Any]
) -> LabeledFeatures:
    """By the image encoder."""
    split = reader.split(data_dir, "val", fingerprint)
    images = {view: one.numpy() for view, one in reader.embed(model, split).image.items()}
    features, target, patients, view = labeled_views(split, images)
    return LabeledFeatures(features, view, target, patients.astype(str), _origin(reader.trial, fingerprint))


def _origin(trial: Trial, fingerprint: dict[str, Any]) -> str:
    return f"{trial.sha256} {fingerprint['splits']['val']['sha256']}"


def try_prompts(model_dir: Path, data_dir: Path, path: Path, device: str) -> Iterator[str]:
    """Lines on how the prompts of a file score on validation beside the model's own. Raises ValueError where the folder
    is no final model of a run, or the file no prompts."""
    from retclip.evaluation.test_set import trained_model

    trial_path = model_dir.resolve().parent / "trial.json"
    if not trial_path.is_file():
        raise ValueError(f"{model_dir}: has no trial.json beside it; give results/{{run}}/final/{{trial}}/model.")
    trial, fingerprint = Trial.read(trial_path), read_json(data_dir / "fingerprint.json")
    classes = fingerprint["classes"]
    given = class_prompts(path, classes)
    model, reader = trained_model(trial, model_dir, device)
    kept = trial_path.with_name("val_features.npz")
    images = LabeledFeatures.load(kept) if kept.is_file() else None
    if images is None or images.origin != _origin(trial, fingerprint):
        images = validation_features(model, reader, data_dir, fingerprint)
    if len(images.target) == 0:
        raise ValueError(f"{data_dir}: nothing in the validation split is labeled, so no prompt can be scored there.")
    own, other = (
        prompt_features(model, reader, {label: list(prompts[label]) for label in classes})
        for prompts in (trial.class_prompts, given)
    )
    metric = metric_of(trial)
    found = compared(images, own, other, metric)
    yield f"{METRICS[metric].label} on validation ({len(images.target):,} units, {len(set(images.patient)):,} patients)"
    for name, estimate_ in (("the model's own prompts", found["own"]), (str(path), found["other"])):
        yield f"  {name}: {_said(estimate_)}"
    yield f"  difference: {_said(found['difference'], '+.3f')}"
    yield "recall of each class, own prompts and yours"
    recalls = [_recalls(images, one) for one in (own, other)]
    for k, label in enumerate(classes):
        before, after = (one[k] for one in recalls)
        yield f"  {label}: " + ("nobody in validation" if before is None else f"{before:.3f} {after:.3f}")


def _said(found: Estimate, form: str = ".3f") -> str:
    ci = "" if found.low is None else f" (95 % CI {found.low:.3f} to {found.high:.3f})"
    return "no score" if found.value is None else f"{found.value:{form}}{ci}"


def _recalls(images: LabeledFeatures, prompts: PromptFeatures) -> list[float | None]:
    named = similarities(images, prompts.classifier()).argmax(1)
    own = [images.target == k for k in range(len(prompts.classes))]
    return [float((named[here] == k).mean()) if here.any() else None for k, here in enumerate(own)]
