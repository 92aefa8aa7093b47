"""Logistic regressions as references: fitted on train, with the L2 penalty that is best on val."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

# Strengths of the L2 penalty; the one that is best on val is used.
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)


class Fitted(NamedTuple):
    """A regression on standardized features."""

    scaler: "StandardScaler"
    model: "LogisticRegression"
    strength: float

    def probabilities(self, x: np.ndarray, classes: int) -> np.ndarray:
        """[N, classes] of features [N, D]; 0 for a class that nobody in train has."""
        found = np.zeros((len(x), classes))
        found[:, self.model.classes_] = self.model.predict_proba(self.scaler.transform(x))
        return found


def fit(x: np.ndarray, y: np.ndarray, x_val: np.ndarray, y_val: np.ndarray) -> Fitted:
    """On features x [N, D] and class indices y [N] of train; val chooses the strength by balanced accuracy."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)  # or the penalty would weigh features by their size
    models = [regression(scaler.transform(x), y, strength) for strength in STRENGTHS]
    found = [balanced_accuracy_score(y_val, model.predict(scaler.transform(x_val))) for model in models]
    best = int(np.argmax(found))
    return Fitted(scaler, models[best], STRENGTHS[best])


def regression(x: np.ndarray, y: np.ndarray, strength: float) -> "LogisticRegression":
    """Of standardized features; classes count alike."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=2000, class_weight="balanced").fit(x, y)
