"""What export_model is told of data and validation, small: for tests that export a model."""

from documents import validation_of

from retclip.metrics.registry import METRICS

SPLIT = {"patients": 10, "per_class": {"a": 1}}
DATA = {"image_encoding": "raw", "texts_from_labels": False, "label_level": "eye", "classes": ["a"], "sha256": "0" * 64,
        "splits": {"val": SPLIT, "test": SPLIT,
                   "train": {"patients": 90, "eyes": {"left": 80, "right": 80}, "per_class": {"a": 7}}}}  # fmt: skip
LEVEL = {"zero_shot_balanced_accuracy": 0.5}
VAL = validation_of(**{**dict.fromkeys(METRICS), "zero_shot_balanced_accuracy": 0.6},
                    levels={"chance": LEVEL, "majority": LEVEL},
                    standard_error={"zero_shot_balanced_accuracy": 0.05})  # fmt: skip
