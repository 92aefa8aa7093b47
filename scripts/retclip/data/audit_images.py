"""What is wrong with photographs: unusable, there twice, or of the other eye."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 20
BLACK = 8.0  # mean brightness, of 255
BLANK = 3.0  # standard deviation, of 255
# The disc has to be this far from the middle on the wrong side, in half images, to be believed.
CLEARLY = 0.3
# Sides are judged only where the discs of this share of the data lie where they should.
ORDERLY = 0.8


def quality(images: "pd.DataFrame", image_size: int) -> dict[str, Any]:
    """Black, blank and tiny images (smaller than what is stored of them)."""
    tiny = images[["width", "height"]].min(axis=1) < image_size
    return {
        "black": _found(images, images["brightness"] < BLACK),
        "blank": _found(images, images["contrast"] < BLANK),
        "tiny": _found(images, tiny),
    }


def duplicates(images: "pd.DataFrame", frame: "pd.DataFrame") -> dict[str, Any]:
    """Photographs of one eye in several samples, patients or splits; and one photograph as both eyes."""
    table = images.merge(frame[["sample_id", "patient_id", "split"]], on="sample_id")
    exact = table[table["digest"].duplicated(keep=False)].groupby("digest")
    near = table[table["near_duplicates"] >= 0].groupby("near_duplicates")
    document = {}
    for name, groups in (("exact", exact), ("near", near)):
        kinds = groups.agg(
            samples=("sample_id", "nunique"), patients=("patient_id", "nunique"), splits=("split", "nunique"),
            first=("sample_id", "min"),
        )  # fmt: skip
        several = kinds[kinds["samples"] > 1]
        across = several[several["splits"] > 1]
        document[name] = {
            "groups": len(several),
            "across_patients": int((several["patients"] > 1).sum()),
            "across_splits": len(across),
            "sample_ids": across["first"].head(SHOWN).tolist(),
        }
    same = table[table["eye"] != "unknown"].copy()
    same["mark"] = np.where(same["near_duplicates"] >= 0, same["near_duplicates"].astype(str), same["digest"])
    both = same.groupby("sample_id")["mark"].agg(["size", "nunique"])
    repeated = both[(both["size"] == 2) & (both["nunique"] == 1)].index
    document["both_eyes"] = {"count": len(repeated), "sample_ids": repeated[:SHOWN].tolist()}
    return document


def sides(images: "pd.DataFrame") -> dict[str, Any]:
    """Whether optic discs lie on the nasal side: left in a left eye's photograph, right in a right eye's.

    agreement: share of the images with a clear disc where it does. swapped: samples whose two eyes both lie
    on the wrong side; counted only where most of the data is in order, null elsewhere.
    """
    known = images[images["eye"].isin(["left", "right"]) & (images["disc_x"].abs() > CLEARLY)]
    nasal = np.where(known["eye"] == "left", known["disc_x"] < 0, known["disc_x"] > 0)
    agreement = float(nasal.mean()) if len(known) else None
    if agreement is None or agreement < ORDERLY:
        return {"agreement": agreement, "swapped": None}
    both = known.assign(nasal=nasal).groupby("sample_id")["nasal"].agg(["size", "sum"])
    swapped = both[(both["size"] == 2) & (both["sum"] == 0)].index
    return {"agreement": agreement, "swapped": {"count": len(swapped), "sample_ids": swapped[:SHOWN].tolist()}}


def _found(images: "pd.DataFrame", mask: "pd.Series") -> dict[str, Any]:
    names = images.loc[mask, "sample_id"] + "/" + images.loc[mask, "eye"]
    return {"count": int(mask.sum()), "pictures": names.head(SHOWN).tolist()}
