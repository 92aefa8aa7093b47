"""Whole trials, metrics and evaluations for tests that are about a few of their fields, which are given as in JSON."""

from running import declared_defaults

from retclip.core.documents import build, plain
from retclip.core.trial import Trial
from retclip.metrics.evaluation_document import Evaluation
from retclip.metrics.metrics_document import Metrics, Validation
from retclip.metrics.registry import METRICS

ENCODER = {"from_checkpoint": False, "revision": None, "source": "x", "texts": None, "truncation_side": "right"}
VALUES = {**declared_defaults(),
          "learning_rate": 1e-3, "batch_size": 8, "warmup_steps": 0, "weight_decay": 0.1, "temperature": 0.1,
          "learnable_temperature": True, "epochs": 1, "lr_scheduler": "constant", "optimizer": "adamw",
          "max_grad_norm": 1.0, "freeze": "none", "augment": False, "same_class_negatives": "keep",
          "context_length": 77, "early_stopping_patience": None, "precision": "fp32"}  # fmt: skip
# What a stage's specifications say beside their phase and what decides.
SPECIFICATION = {"text_encoder_settings": ENCODER, "image_encoder": {}, "image_size": 224, "train_samples": None,
                 "val_samples": None, "epochs": None, "class_prompts": {}, "shuffled_texts": False}  # fmt: skip
BUDGET = {"train_samples": 16, "val_samples": 8, "stop_epoch": 1, "steps_per_epoch": 2, "total_steps": 2, "cuts": []}
NO_LEVELS = {"chance": {}, "majority": {}}
ORIGIN = {"trial_sha256": "0" * 64, "seed": 1, "device": "cpu", "gpus": [], "precision": "fp32", "versions": {},
          "code": "c", "commit": None, "machine": {}, "data": {}}  # fmt: skip


def trial_of(**fields) -> Trial:
    known = {
        "id": "t", "phase": "phase1", "kind": "trial", "bracket": None, "rung": None, "slot": None, "candidate": None,
        "ablated": None, "text_encoder": "tiny", "seed": 1, "hyperparameters": VALUES, "configured": VALUES,
        "image_encoder": {}, "text_encoder_settings": ENCODER, "image_size": 32, "class_prompts": {},
        "class_prompts_sha256": "0" * 64,
        "selection_metric": "zero_shot_balanced_accuracy", "shuffled_texts": False, "budget": BUDGET,
        "sha256": "0" * 64,
    }  # fmt: skip
    return build(Trial, {**known, **fields})


def validation_of(**fields) -> Validation:
    return build(Validation, {"loss": None, "levels": NO_LEVELS, "standard_error": {}, **fields})


def metrics_of(trial: Trial, val: dict | None = None, **fields) -> Metrics:
    """val: as in JSON; without, no score is known."""
    known = {
        "trial": plain(trial), "status": "completed", "train_loss": None,
        "val": plain(validation_of(**(dict.fromkeys(METRICS) if val is None else val))), "best_epoch": 1,
        "epochs": 10, "steps": trial.budget.total_steps, "train_samples": trial.budget.train_samples,
        "samples_per_second": None, "wall_seconds": 1.0, "device_seconds": 1.0, "peak_memory_bytes": None,
        "utilization": None, "attempts": 1, "lost_seconds": 0.0, "job": None, "resumed_from": None,
    }  # fmt: skip
    origin = {name: value for name, value in ORIGIN.items() if name != "seed"}
    return build(Metrics, {**origin, **known, **fields})


def evaluation_of(**fields) -> Evaluation:
    known = {
        "zero_shot": {}, "zero_shot_single_template": {}, "linear_probe": {}, "probe": None, "retrieval": {},
        "retrieval_omitted": None, "levels": NO_LEVELS, "per_class": [], "confusion": {"classes": [], "matrix": []},
        "calibration": None, "quadratic_kappa": None, "multi_label": None, "subgroups": [],
        "texts_from_labels": False, "failed": None,
        "counts": {"samples": 60, "patients": 60, "scored": 60, "scored_patients": 60},
    }  # fmt: skip
    return build(Evaluation, {**ORIGIN, **known, **fields})
