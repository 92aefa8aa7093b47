"""From which score on a class is called present."""

from typing import TYPE_CHECKING

import numpy as np

from retclip.metrics.scores import columns_of

if TYPE_CHECKING:
    import pandas as pd


def choose_thresholds(table: "pd.DataFrame", classes: list[str]) -> dict[str, float]:
    """Class -> the score at which sensitivity + specificity is highest in a table of predictions (of val).

    A class is left out where the table has no unit of it, or none beside it. Source: Youden, Index for rating
    diagnostic tests, Cancer 3 (1950).
    """
    from sklearn.metrics import roc_curve

    scored = table[table["target"] >= 0]
    scores = columns_of(scored, "score_", classes)
    found = {}
    for k, name in enumerate(classes):
        positive = (scored["target"] == k).to_numpy()
        if 0 < positive.sum() < len(positive) and np.isfinite(scores[:, k]).all():
            false_alarms, hits, cuts = roc_curve(positive, scores[:, k], drop_intermediate=False)
            # the curve's first point is an infinite threshold, at which nothing is called present
            found[name] = float(cuts[1 + int((hits - false_alarms)[1:].argmax())])
    return found
