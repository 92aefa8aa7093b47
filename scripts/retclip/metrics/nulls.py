"""Whether a model learned anything from the texts: its scores beside those of models that did not.

A model that learned no text still has images that are clustered by class, and class prompts that point somewhere: its
score strays far from chance, farther than resampled patients say. Had the prompts of the classes been dealt out
otherwise, it would be as likely; so the scores under all permutations of the class prompts are its null distribution
(Ojala and Garriga, Permutation tests for studying classifier performance, JMLR 11, 2010). The identity is one of them,
so that no p-value is zero (Phipson and Smyth, Permutation p-values should never be zero, 2010). All models of a stage
are permuted alike and judged by the best of them, which corrects for how many were looked at, whatever they share
(Westfall and Young, Resampling-based multiple testing, 1993, single-step max-T).

It assumes that without learning no class's prompts suit its images better than another's: a text encoder that knows the
words from another source is called learned, too. Of three classes or fewer there are too few permutations to show
anything.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from retclip.metrics.estimates import INTERVAL, spread
from retclip.metrics.registry import RETRIEVAL, SEVERAL_LABELS, ZERO_SHOT
from retclip.metrics.scores import draws_of, unpack, unpack_labels

if TYPE_CHECKING:
    import pandas as pd

EXACT_CLASSES = 8  # 8! = 40,320 permutations
DRAWS = 10_000
# Of a metric that is no sum over classes, each permutation is scored by itself.
DRAWS_ONE_BY_ONE = 1000
ERROR_RATE = 0.05
ROUNDING = 1e-12


class Judgement(NamedTuple):
    """p_value: the chance that the best of all models that were looked at scores as high without having learned; None
    where the data cannot tell. low, high: of 95 % of such scores. permutations: of the class prompts; 0 of ranks."""

    p_value: float | None
    low: float | None
    high: float | None
    permutations: int

    @property
    def is_learned(self) -> bool | None:
        """At 5 %; None where the data cannot tell."""
        return None if self.p_value is None else self.p_value <= ERROR_RATE


NOTHING = Judgement(None, None, None, 0)


def judge(
    metric: str,
    models: Sequence[Sequence["pd.DataFrame"]],
    chances: Sequence[float | None],
    classes: Sequence[str] = (),
) -> list[Judgement]:
    """One judgement a model, corrected for all that are given.

    models: for each, the predictions tables of its seeds, whose scores are averaged. chances: for each, the score of
    guessing, which ranks are compared with. classes: of the scores; a metric of several labels needs them.
    """
    if metric in RETRIEVAL:
        found = [_judge_ranks(metric, tables, chance) for tables, chance in zip(models, chances, strict=True)]
        return [
            one if one.p_value is None else one._replace(p_value=min(1.0, one.p_value * len(models))) for one in found
        ]
    values = [null_of(metric, tables, classes) for tables in models]
    known = [one for one in values if one is not None]
    if not known:
        return [NOTHING] * len(models)
    best = np.max(known, axis=0)
    return [NOTHING if one is None else _judgement(one, best) for one in values]


def null_of(metric: str, tables: Sequence["pd.DataFrame"], classes: Sequence[str] = ()) -> np.ndarray | None:
    """A score, averaged over predictions tables, under permutations of the class prompts; as it is comes first.

    None where the tables cannot give the score. All tables are permuted alike, as seeds may share what they know.
    """
    parts = [_null(metric, table, classes) for table in tables]
    if any(part is None or not np.isfinite(part).all() for part in parts):
        return None
    return np.mean([part for part in parts if part is not None], axis=0)


def p_value(null: np.ndarray) -> float:
    """The share of a null distribution that is no lower than its first entry."""
    return float((null >= null[0] - ROUNDING).mean())


@lru_cache(maxsize=4)
def permutations(classes: int) -> np.ndarray:
    """Of the classes [P, classes], the identity first: all up to EXACT_CLASSES, else DRAWS at random and the
    identity."""
    if classes <= EXACT_CLASSES:
        return np.array(list(itertools.permutations(range(classes))))
    drawn = np.random.default_rng(0).permuted(np.tile(np.arange(classes), (DRAWS, 1)), axis=1)
    return np.vstack([np.arange(classes), drawn])


def _judgement(values: np.ndarray, best: np.ndarray) -> Judgement:
    low, high = np.quantile(values, INTERVAL)
    tells = 1 / len(values) <= ERROR_RATE
    found = float((best >= values[0] - ROUNDING).mean())
    return Judgement(found if tells else None, float(low), float(high), len(values))


def _null(metric: str, table: "pd.DataFrame", classes: Sequence[str]) -> np.ndarray | None:
    if metric in SEVERAL_LABELS:
        member, score, _ = unpack_labels(table, list(classes))
        pairs = SEVERAL_LABELS[metric].pairs
        return _along_permutations(pairs(member, score)) if len(member) else None
    target, score, _ = unpack(table)
    if len(target) == 0:
        return None
    declared = ZERO_SHOT[metric]
    if declared.pairs is not None:
        return _along_permutations(declared.pairs(target[:, None] == np.arange(score.shape[1]), score))
    orders = permutations(score.shape[1])
    if len(orders) > DRAWS_ONE_BY_ONE:
        later = np.random.default_rng(0).choice(np.arange(1, len(orders)), DRAWS_ONE_BY_ONE, replace=False)
        orders = orders[[0, *later]]
    return np.array([declared.value(target, score[:, order]) for order in orders])


def _along_permutations(table: np.ndarray) -> np.ndarray:
    """The sums of a table [C, C] along every permutation [P]."""
    orders = permutations(len(table))
    found = np.zeros(len(orders))
    for true, named in enumerate(orders.T):
        found += table[true, named]
    return found


def _judge_ranks(metric: str, tables: Sequence["pd.DataFrame"], chance: float | None) -> Judgement:
    """A binomial test of how many queries find a right answer among the first k, against random orders.

    Under random pairs of images and texts the hits vary no more than independent ones. The queries of one patient, and
    the same queries in several seeds, are not independent: they count as so many fewer as the bootstrap over patients
    says (the design effect; Kish, Survey sampling, 1965).
    """
    from scipy.stats import binom

    credit, count = RETRIEVAL[metric].credit, 0
    hits: list[float] = []
    for table in tables:
        queries = table.drop_duplicates("sample_id")
        count = len(queries)
        if count:
            hits.append(float(credit(queries[f"{RETRIEVAL[metric].direction}_rank"].to_numpy()).mean()))
    if chance is None or not 0 < chance < 1 or len(hits) < len(tables) or not hits:
        return NOTHING
    value = float(np.mean(hits))
    patients = tables[0]["patient_id"].nunique()
    error = spread(np.mean([draws_of(metric, table) for table in tables], axis=0))
    independent = value * (1 - value) / count
    effect = max(1.0, error**2 / independent) if error is not None and independent > 0 else count / patients
    size = max(1, int(count / effect))
    low, high = binom.ppf(INTERVAL, size, chance) / size
    # as many as were found, rounded down: never more than there are
    return Judgement(float(binom.sf(int(value * size + ROUNDING) - 1, size, chance)), float(low), float(high), 0)
