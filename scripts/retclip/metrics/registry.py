"""Every metric, declared once: its value, its value in resamples, what guessing gives, and its name for people.

Higher is better, by contract: an error is declared as one minus itself. A metric needs one of three things, its task:
`zero_shot`, one label a unit (eye or patient) and a score for each class; `retrieval`, the ranks of queries; and
`multi_label`, units that may have several labels. Its name begins with its task, or for retrieval with its direction.
The enum of selection.metric in config/schema is made of these entries (make reference).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from retclip.metrics import class_pairs
from retclip.metrics.weighted import aurocs, average_precisions, mean_of_known, per_class_draws


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """Of score [N, C] (higher = likelier) against class indices target [N].

    value(target, score): NaN where these targets cannot give it. chance(share): of guessing uniformly among C classes
    whose shares of the units are share [C]. draws(target, score, weights): the value under every row of sample weights
    [draws, N], [draws]; left out, the rows of each resample are written out and scored, which takes seconds.
    pairs(member, score): what each class adds with the prompts of each, see class_pairs; left out, fewer permutations
    of the class prompts are scored, one by one. The
    majority level is the value of always naming the largest class. subgroups: is it given for groups of patients?
    in_brief: do tables show it that have room for few? is_mean_of_recalls: its interval is that of rare_classes where a
    class is rare.
    """

    label: str
    value: Callable[[np.ndarray, np.ndarray], float]
    chance: Callable[[np.ndarray], float]
    draws: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    pairs: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    subgroups: bool = False
    in_brief: bool = False
    is_mean_of_recalls: bool = False


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """The mean over queries of credit(rank [N]) [N], of the best right answer's rank from 1.

    direction: image_to_text or text_to_image. chance(total, right): the mean for random orders of `total` answers, of
    which right [N] are right for each query. in_brief: see ZeroShot.
    """

    label: str
    direction: str
    credit: Callable[[np.ndarray], np.ndarray]
    chance: Callable[[int, np.ndarray], float]
    in_brief: bool = False


@dataclass(frozen=True, kw_only=True)
class MultiLabel:
    """The mean over classes of area(positive [N], score [N], weights [draws, N]) [draws]. chance: of random scores.
    pairs: see class_pairs."""

    label: str
    area: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    pairs: Callable[[np.ndarray, np.ndarray], np.ndarray]
    chance: float


def _accuracy(target: np.ndarray, score: np.ndarray) -> float:
    return float((score.argmax(1) == target).mean())


def _balanced_accuracy(target: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import recall_score

    # scikit-learn's balanced_accuracy_score warns of guessed classes that are missing from the targets
    return float(recall_score(target, score.argmax(1), labels=np.unique(target), average="macro"))


def _f1(average: str) -> Callable[[np.ndarray, np.ndarray], float]:
    def value(target: np.ndarray, score: np.ndarray) -> float:
        from sklearn.metrics import f1_score

        return float(f1_score(target, score.argmax(1), labels=np.unique(target), average=average, zero_division=0))

    return value


def _macro_auroc(target: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return _one_against_rest(roc_auc_score, target, score)


def _mean_average_precision(target: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return _one_against_rest(average_precision_score, target, score)


def _one_against_rest(area: Callable, target: np.ndarray, score: np.ndarray) -> float:
    present = np.unique(target)
    if len(present) < 2:
        return np.nan
    return float(np.mean([area(target == c, score[:, c]) for c in present]))


def _counts(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight of the units of each class, of those named so, and of those rightly named so, each [draws, C]."""
    member, guess = np.eye(score.shape[1])[target], np.eye(score.shape[1])[score.argmax(1)]
    return weights @ member, weights @ guess, weights @ (member * guess)


def _accuracy_draws(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _counts(target, score, weights)[2].sum(1) / weights.sum(1)


def _balanced_accuracy_draws(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total, _, right = _counts(target, score, weights)
    return mean_of_known((right / total).T)


def _f1_draws(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each class, NaN where a draw has none of it, and its weight, each [draws, C]."""
    total, guessed, right = _counts(target, score, weights)
    return np.where(total > 0, 2 * right / (total + guessed), np.nan), total


def _macro_f1_draws(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return mean_of_known(_f1_draws(target, score, weights)[0].T)


def _weighted_f1_draws(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    f1, total = _f1_draws(target, score, weights)
    return np.nansum(f1 * total, axis=1) / total.sum(1)


def _area_draws(area: Callable) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    def draws(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
        member = target[:, None] == np.arange(score.shape[1])
        return mean_of_known(per_class_draws(area, member, score, weights))

    return draws


def _guessed_f1(share: np.ndarray) -> np.ndarray:
    """F1 of each class [C] for uniform guesses; 0 where there is no unit of it."""
    return np.where(share > 0, 2 / len(share) * share / (1 / len(share) + share), 0.0)


def _mean_of_present(values: np.ndarray, share: np.ndarray) -> float:
    return float(values[share > 0].mean()) if (share > 0).any() else np.nan


def _recall(direction: str, k: int) -> Retrieval:
    def chance(total: int, right: np.ndarray) -> float:
        """Of N answers in random order, g are right: the best of them is among the first k with probability
        1 - C(N - g, k) / C(N, k)."""
        picked = np.arange(min(total, k))
        return float(1 - ((total - right[:, None] - picked) / (total - picked)).clip(min=0).prod(1).mean())

    return Retrieval(
        label=f"{direction.replace('_', '-')} recall@{k}",
        direction=direction,
        credit=lambda rank: (rank <= k).astype(float),
        chance=chance,
        in_brief=k == 5,
    )


# In the order of files and tables. What is trained is chosen by one of these.
METRICS: dict[str, ZeroShot | Retrieval] = {
    "zero_shot_accuracy": ZeroShot(
        label="accuracy", value=_accuracy, chance=lambda share: 1 / len(share), draws=_accuracy_draws,
        pairs=class_pairs.accuracy, subgroups=True, in_brief=True,
    ),
    "zero_shot_balanced_accuracy": ZeroShot(
        label="balanced accuracy", value=_balanced_accuracy, chance=lambda share: 1 / len(share),
        draws=_balanced_accuracy_draws, pairs=class_pairs.balanced_accuracy, subgroups=True, in_brief=True,
        is_mean_of_recalls=True,
    ),
    "zero_shot_macro_f1": ZeroShot(
        label="macro F1", value=_f1("macro"), chance=lambda share: _mean_of_present(_guessed_f1(share), share),
        draws=_macro_f1_draws, pairs=class_pairs.macro_f1,
    ),
    "zero_shot_weighted_f1": ZeroShot(
        label="weighted F1", value=_f1("weighted"), chance=lambda share: float((_guessed_f1(share) * share).sum()),
        draws=_weighted_f1_draws, pairs=class_pairs.weighted_f1,
    ),
    "zero_shot_macro_auroc": ZeroShot(
        label="macro AUROC", value=_macro_auroc, chance=lambda share: 0.5, draws=_area_draws(aurocs),
        pairs=class_pairs.macro_auroc, subgroups=True, in_brief=True,
    ),
    "zero_shot_mean_average_precision": ZeroShot(
        label="mean average precision", value=_mean_average_precision,
        chance=lambda share: _mean_of_present(share, share), draws=_area_draws(average_precisions),
        pairs=class_pairs.mean_average_precision, in_brief=True,
    ),
    **{
        f"{direction}_recall_at_{k}": _recall(direction, k)
        for direction in ("image_to_text", "text_to_image")
        for k in (1, 5, 10)
    },
}  # fmt: skip
ZERO_SHOT = {name: one for name, one in METRICS.items() if isinstance(one, ZeroShot)}
RETRIEVAL = {name: one for name, one in METRICS.items() if isinstance(one, Retrieval)}
# Of units that may have several labels, which no accuracy can judge; metrics.json has it where val has such units.
MULTI_LABEL = "multi_label_macro_auroc"
SEVERAL_LABELS = {
    MULTI_LABEL: MultiLabel(label="macro AUROC over all labels", area=aurocs, pairs=class_pairs.macro_auroc, chance=0.5)
}
# What selection.metric may be.
SELECTABLE: dict[str, ZeroShot | Retrieval | MultiLabel] = {**METRICS, **SEVERAL_LABELS}
