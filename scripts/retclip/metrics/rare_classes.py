"""How sure a mean of recalls is where a class has few patients.

Three patients of a class who are all named rightly are so in every resample: the bootstrap's 95 % CI of balanced
accuracy holds the truth in as few as 65 of 100 studies where all classes are rare, and in 75 where one is. Here an end
of the interval is the mean of recalls under which so far a score has a chance of 2.5 %: a test inversion
(Carpenter, J. R. Stat. Soc. B 61, 1999; Chuang and Lai, Stat. Sin. 10, 2000). Which recalls have that mean is
estimated: the likeliest of those, and the likeliest had each class two patients more, one named rightly and one
wrongly (Agresti and Caffo, Am. Stat. 54, 2000); the farther end is taken. Limits of each class by themselves, put
together (Zou and Donner, Stat. Med. 27, 2008), hold the truth in as few as 81 of 100 where all classes are rare; these
in 93 or more (make check-statistics CASES=rare).

It assumes that patients are independent, and that the two eyes of one are named alike: where they are not, the interval
is wider than need be. A patient whose eyes are of two classes counts as one patient of each.
"""

import numpy as np

from retclip.metrics.estimates import INTERVAL

# From so many patients of each class on, the bootstrap holds what it says.
FEW_PATIENTS = 20
# Values of a recall that are told apart: the ends are known to some .002.
STEPS = 240
# sinh of this is a pull that leaves no recall but 0 or 1, of classes with up to 100,000 patients.
STRONGEST = 16.0


def recalls(target: np.ndarray, score: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The recall of each class that is there, and how many patients it has, of class indices target [N], score [N, C]
    and patients [N]."""
    is_right = score.argmax(1) == target
    classes = [target == k for k in np.unique(target)]
    return (
        np.array([is_right[here].mean() for here in classes]),
        np.array([len(np.unique(patients[here])) for here in classes]),
    )


def limits(recall: np.ndarray, patients: np.ndarray) -> tuple[float, float] | None:
    """The 95 % CI of the mean of recalls [C] of classes with so many patients [C]; None where no class is rare, since
    the bootstrap's is to be taken there."""
    if not len(recall) or min(patients) >= FEW_PATIENTS:
        return None
    low, high = (min(_lowest(share, patients, more) for more in (0, 1)) for share in (recall, 1 - recall))
    return low, 1 - high


def _lowest(recall: np.ndarray, patients: np.ndarray, more: int) -> float:
    """The lowest mean of recalls that gives the mean of these, or a higher one, with a chance of 2.5 %. more: patients
    of each class named rightly, and named wrongly, that are added to estimate the recalls."""
    from scipy.optimize import brentq
    from scipy.stats import binom

    if not recall.any():
        return 0.0
    classes, size, middle = len(recall), len(recall) * STEPS + 1, recall.mean()
    # what is rounded, half a step in each class, counts as reached
    reached = int(np.ceil(recall.sum() * STEPS - classes / 2))
    # of many classes most are alike: each kind is computed once
    alike, times = np.unique(np.column_stack([recall, patients]), axis=0, return_counts=True)
    recall, patients = alike[:, 0], alike[:, 1].astype(int)
    right = np.arange(patients.max() + 1)
    place = np.rint(np.minimum(right / patients[:, None], 1) * STEPS).astype(int)
    which = np.arange(len(recall))[:, None]
    share, count = (recall * patients + more) / (patients + 2 * more), patients + 2 * more

    def excess(pull: float) -> float:
        chances = np.zeros((len(recall), size))
        of_each = binom.pmf(right, patients[:, None], _pulled(pull, share, count)[:, None])
        np.add.at(chances, (which, place), of_each)
        total = np.fft.irfft((np.fft.rfft(chances, size) ** times[:, None]).prod(axis=0), size)
        return float(total[max(0, reached) :].sum()) - INTERVAL[0]

    if excess(STRONGEST) > 0:
        return 0.0
    found = _pulled(brentq(excess, -STRONGEST, STRONGEST, xtol=1e-3), share, count)
    return float(min(np.average(found, weights=times), middle))


def _pulled(pull: float, share: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The likeliest recalls of a mean that is the lower, the stronger the pull, of classes with so many patients and
    this share of them named rightly.

    Lagrange's condition for a class of n patients with a share p named rightly is n (p - q) = m q (1 - q), of one m for
    all classes, which is sinh(pull).
    """
    multiplier = np.sinh(pull)
    if multiplier < 0:
        share = 1 - share
    size = abs(multiplier)
    root = np.sqrt((size - count) ** 2 + 4 * size * count * (1 - share))
    found: np.ndarray = 2 * count * share / (size + count + root)
    return found if multiplier >= 0 else 1 - found
