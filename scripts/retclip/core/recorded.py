"""A finished run's recorded config as an overlay that gives the same config again, and its scores beside another's."""

from pathlib import Path
from typing import Any

from retclip.core.files import read_json

# Keys that name files or folders of the user's; relative ones are relative to where the run was started.
PATHS = (("data", "manifest"), ("data", "image_root"), ("data", "test_manifest"), ("data", "class_map"),
         ("evaluation", "prompts"), ("model", "vision", "weights"))  # fmt: skip
SCORES = {"metrics.json": ("status", "train_loss", "val", "best_epoch", "epochs", "steps"), "evaluation.json": ()}
# What else evaluation.json says: of where it was made, which may be elsewhere now.
MADE_WITH = {"trial_sha256", "device", "gpus", "precision", "versions", "code", "commit", "machine"}


def overlay_of(recorded: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The recorded config, with null for what config.yaml has and it has not, and paths that hold anywhere."""
    overlay = with_nulls(recorded, base)
    for *parents, last in PATHS:
        at = overlay
        for key in parents:
            at = at[key]
        if isinstance(at.get(last), str) and Path(at[last]).exists():
            at[last] = str(Path(at[last]).resolve())
    for encoder in overlay["model"]["text_encoders"].values():
        if encoder and Path(encoder["source"]).exists():
            encoder["source"] = str(Path(encoder["source"]).resolve())
    return overlay


def with_nulls(recorded: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The recorded config as an overlay on `base`, paths as they were recorded: null deletes what it has not."""
    # a record says nothing of tracking, which is no part of the answer
    return _with_nulls({"tracking": base["tracking"], **recorded}, base)


def compared_scores(one: Path, other: Path) -> tuple[int, list[str]]:
    """How many files of scores are equal in both runs, and a line for each that is not."""
    equal, different = 0, []
    for name, keys in SCORES.items():
        for path in sorted(one.glob(f"*/*/{name}")):
            place = path.relative_to(one)
            again = other / place
            if not again.is_file():
                different.append(f"{place} is missing")
                continue
            first, second = read_json(path), read_json(again)
            unequal = [key for key in keys or sorted(first.keys() - MADE_WITH) if first[key] != second.get(key)]
            if unequal:
                different.append(f"{place}: {', '.join(unequal)}")
            else:
                equal += 1
    return equal, different


def _with_nulls(recorded: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    missing = {key: None for key in base if key not in recorded}
    inner = {
        key: _with_nulls(value, base[key]) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in recorded.items()
    }
    return {**inner, **missing}
