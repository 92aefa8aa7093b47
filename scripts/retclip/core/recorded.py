"""A finished run's recorded config as an overlay that gives the same config again, and its scores beside another's."""

from pathlib import Path
from typing import Any

from retclip.core.config import check_form
from retclip.core.io import read_json
from retclip.core.renamed import in_new_words

# Keys that name files or folders of the user's; relative ones are relative to where the run was started.
PATHS = (("data", "manifest"), ("data", "image_root"), ("data", "test_manifest"), ("data", "class_map"),
         ("evaluation", "prompts"), ("model", "image_encoder", "weights"))  # fmt: skip
SCORES = {"metrics.json": ("status", "train_loss", "val", "best_epoch", "epochs", "steps"), "evaluation.json": ()}
# What else evaluation.json holds: where it was made, which may be another machine now.
MADE_WITH = {"trial_sha256", "device", "gpus", "precision", "versions", "code", "commit", "machine"}


def recorded_config(path: Path, base: dict[str, Any]) -> dict[str, Any]:
    """The config of a run.json, which may be a stranger's. Raises ValueError with one sentence where it is none."""
    content = read_json(path)
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: holds no config of a run; give the folder results/RUN of a finished run.")
    config, _ = in_new_words(config)
    check_form({"tracking": base["tracking"], **config}, str(path))
    return config


def refuse_others_folder(folder: Path, run: str, config: dict[str, Any]) -> None:
    """Raises ValueError where a folder holds more than an earlier reproduction of the same run left there."""
    there = {path.relative_to(folder) for pattern in ("*", "results/*") for path in folder.glob(pattern)}
    ours = {"config.json", "results", "resources", ".snakemake", ".cache", f"results/{run}"}
    others = sorted(str(path) for path in there if str(path) not in ours)
    if (folder / "config.json").exists() and read_json(folder / "config.json") != config:
        others.append("another config.json")
    if others:
        raise ValueError(f"{folder}: holds {others[0]}, so it is no reproduction of this run; give a new folder.")


def link_resources(shared: Path, own: Path) -> None:
    """Shows in `own` each encoder, weights file and data set that was fetched to `shared`: what is fetched again takes
    the place of a link, and leaves what is shared alone."""
    if own.is_symlink():
        own.unlink()
    for kind in ("text_encoders", "image_encoders", "datasets"):
        for entry in sorted((shared / kind).glob("[!.]*")):
            link = own / kind / entry.name
            if not (link.exists() or link.is_symlink()):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(entry.resolve())


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
