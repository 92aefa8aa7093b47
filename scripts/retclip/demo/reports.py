"""Writes the demo's report sentences: what an ophthalmologist would dictate on seeing the drawn eye.

A sentence tells what the image shows (disease, severity, quadrant), in varied words and order; some only describe the
signs and leave the disease to the reader.
"""

from typing import NamedTuple

import numpy as np

Words = tuple[str, ...]


class Finding(NamedTuple):
    """What is to be seen in one eye: a class of the demo, a severity in [0, 1], and where it shows most."""

    label: str
    severity: float
    quadrant: str


class _Vocabulary(NamedTuple):
    """How reports speak of one class. {where} becomes a place in the eye; signs are per severity: mild to severe."""

    names: Words
    signs: tuple[Words, Words, Words]
    advice: Words


VOCABULARY = {
    "Healthy": _Vocabulary(
        ("healthy retina", "normal fundus", "unremarkable posterior pole", "healthy eye"),
        (
            ("sharp disc margins and a clear foveal reflex", "flat macula with vessels of normal calibre"),
            ("pink disc with an intact neuroretinal rim", "no haemorrhage, exudate or scar"),
            ("retina attached in all quadrants", "healthy disc, vessels and macula"),
        ),
        ("routine follow-up", "no treatment needed"),
    ),
    "Diabetic Retinopathy": _Vocabulary(
        ("diabetic retinopathy", "diabetic retinal disease", "diabetic microangiopathy"),
        (
            (
                "a few microaneurysms and dot haemorrhages {where}",
                "scattered red dots with a small exudate {where}",
            ),
            (
                "dot and blot haemorrhages with hard exudates {where}",
                "several microaneurysms and yellow exudates {where}",
            ),
            (
                "numerous blot haemorrhages, hard exudates and cotton wool spots {where}",
                "extensive haemorrhages and clusters of exudate {where}",
            ),
        ),
        ("better glycaemic control is advised", "review with an OCT of the macula"),
    ),
    "Glaucoma": _Vocabulary(
        ("glaucoma", "glaucomatous optic neuropathy", "glaucomatous disc damage"),
        (
            ("enlarged cup with thinning of the {vertical} rim", "raised cup-to-disc ratio"),
            (
                "deep cup with marked thinning of the {vertical} rim",
                "large cup and loss of nerve fibres {where}",
            ),
            ("near total cupping of the disc", "very large pale cup with almost no rim left"),
        ),
        ("visual field test is advised", "intraocular pressure should be measured"),
    ),
    "Myopia": _Vocabulary(
        ("myopia", "myopic changes", "myopic degeneration"),
        (
            (
                "narrow peripapillary crescent with a tessellated fundus",
                "slight temporal crescent beside the disc",
            ),
            (
                "tilted disc with a temporal crescent and tessellation",
                "tessellated fundus and peripapillary atrophy",
            ),
            (
                "wide peripapillary atrophy with patchy chorioretinal atrophy",
                "pale tessellated fundus with a large crescent around a tilted disc",
            ),
        ),
        ("axial length should be measured", "warn of flashes and floaters"),
    ),
    "Macular Scar": _Vocabulary(
        ("macular scar", "scar of the macula", "chorioretinal scar at the macula"),
        (
            ("small pale scar with some pigment at the fovea", "small atrophic patch at the macula"),
            (
                "well demarcated whitish scar with pigment clumps at the macula",
                "fibrotic patch covering the fovea",
            ),
            (
                "large fibrotic scar with pigment across the macula",
                "dense white scar replacing the whole macula",
            ),
        ),
        ("central vision is unlikely to recover", "low vision aids may help"),
    ),
    "Retinitis Pigmentosa": _Vocabulary(
        ("retinitis pigmentosa", "pigmentary retinal dystrophy", "rod-cone dystrophy"),
        (
            ("sparse bone spicules in the periphery", "some peripheral pigment with slightly thin vessels"),
            (
                "bone spicule pigment in the mid-periphery and thin vessels",
                "waxy pale disc with bone spicules",
            ),
            (
                "dense bone spicules in all quadrants with thread-like vessels",
                "waxy disc, very thin vessels and widespread pigment",
            ),
        ),
        ("genetic counselling is advised", "night vision should be asked about"),
    ),
    "Disc Edema": _Vocabulary(
        ("disc edema", "swelling of the optic disc", "optic disc edema"),
        (
            ("blurred disc margin without a cup", "slightly swollen disc with hazy borders"),
            ("swollen hyperaemic disc with splinter haemorrhages", "elevated disc with obscured vessels"),
            (
                "grossly swollen disc with haemorrhages all around it",
                "high elevation of the disc, its margin and vessels obscured",
            ),
        ),
        ("urgent neuroimaging is advised", "blood pressure should be checked today"),
    ),
    "Retinal Detachment": _Vocabulary(
        ("retinal detachment", "detached retina", "rhegmatogenous retinal detachment"),
        (
            ("shallow grey elevation of the retina {where}", "localised lifted retina {where}"),
            ("grey billowing retina {where}", "elevated retina lying in folds {where}"),
            (
                "extensive grey retina in folds, worst {where}",
                "bullous elevation of most of the retina, worst {where}",
            ),
        ),
        ("urgent surgery is advised", "bed rest until surgery"),
    ),
    "Central Serous Chorioretinopathy": _Vocabulary(
        ("central serous chorioretinopathy", "central serous detachment", "CSCR"),
        (
            ("small round blister of fluid at the macula", "shallow dome of subretinal fluid at the macula"),
            ("round serous elevation of the macula with a halo", "well demarcated dome of subretinal fluid"),
            (
                "large serous dome with yellow dots over the macula",
                "wide blister of subretinal fluid with subretinal deposits",
            ),
        ),
        ("stop steroids if possible", "OCT in three months"),
    ),
    "Pterygium": _Vocabulary(
        ("pterygium", "nasal pterygium", "fleshy conjunctival growth"),
        (
            ("small fleshy wedge at the nasal edge", "fibrovascular tissue just inside the nasal edge"),
            ("vascular wedge reaching in from the nasal side", "fleshy nasal wedge with vessels"),
            (
                "large fleshy wedge hiding the nasal retina",
                "thick vascular growth from the nasal side to the centre",
            ),
        ),
        ("excision may be considered", "protection from sun and dust is advised"),
    ),
}

SEVERITIES: tuple[Words, Words, Words] = (
    ("mild", "early", "slight"),
    ("moderate", "definite", "established"),
    ("severe", "advanced", "marked"),
)
_HEDGES = (
    "consistent with",
    "suggestive of",
    "in keeping with",
    "typical of",
    "compatible with",
    "most likely",
)
_OPENERS = (
    "Fundus examination shows",
    "The photograph shows",
    "There is evidence of",
    "Seen here:",
    "Noted:",
)
_NORMAL = ("is normal", "is unremarkable", "is healthy", "shows no disease")
_GENERAL = (
    "The retina is a thin layer of nervous tissue at the back of the eye.",
    "The optic disc is where the nerve fibres leave the eye.",
    "The macula is the part of the retina that sees detail, and the fovea is its centre.",
    "Arteries are thinner and lighter than veins.",
    "The cup is the pale hollow of the disc, and the rim lies around it.",
    "Haemorrhages are dark red, hard exudates are yellow, and cotton wool spots are white.",
    "Fluid beneath the retina lifts it from the choroid.",
    "Pigment moves into the retina where its outer layers are lost.",
    "A long eye stretches retina and choroid until the choroidal vessels can be seen.",
    "The nasal retina lies towards the nose, the temporal retina towards the ear.",
)


def eye_report(finding: Finding, side: str, generator: np.random.Generator) -> str:
    """One or two sentences on one eye; `side` is left or right."""
    words = VOCABULARY[finding.label]
    sign = _sign(finding, generator)
    name = _name(finding, generator)
    opener, hedge = _one(_OPENERS, generator), _one(_HEDGES, generator)
    eye = _one((f"{side} eye", f"{side} fundus"), generator)
    # the signs alone are the last form, and the rarest
    form = generator.choice(6, p=(0.22, 0.2, 0.18, 0.16, 0.14, 0.1))
    text = (
        f"{opener} {sign}, {hedge} {name}.",
        f"{name} of the {eye}: {sign}.",
        f"{sign}, {hedge} {name}; {_one(words.advice, generator)}.",
        f"{name}, showing {sign}.",
        f"{opener} {name} in the {eye}.",
        f"{opener} {sign}.",
    )[form]
    return _capitalised(text)


def patient_report(left: Finding, right: Finding, generator: np.random.Generator) -> str:
    """A report on both eyes together: one after the other, or merged where that says it better."""
    by_side = {"right": right, "left": left}
    if generator.random() < 0.4:
        return " ".join(f"{side.capitalize()} eye: {_brief(by_side[side], generator)}." for side in by_side)
    if left.label == right.label:
        words = VOCABULARY[left.label]
        if left.label == "Healthy":
            both = _one(("Both eyes show", "Both fundi have", "Bilateral"), generator)
            return f"{both} {_sign(left, generator)}; {_one(words.names, generator)}."
        lead = _one(("Bilateral", "Both eyes show", "Both fundi show"), generator)
        degrees = (_degree(right, generator), _degree(left, generator))
        degree = degrees[0] if _tier(left) == _tier(right) else f"{degrees[0]} right and {degrees[1]} left"
        worse = max(left, right, key=lambda finding: finding.severity)
        return f"{lead} {_one(words.names, generator)}, {degree}: {_sign(worse, generator)}."
    for side, other in (("right", "left"), ("left", "right")):
        if by_side[other].label == "Healthy":
            normal = f"the {other} eye {_one(_NORMAL, generator)}"
            return _capitalised(f"{_brief(by_side[side], generator)} in the {side} eye; {normal}.")
    return " ".join(f"{side.capitalize()} eye: {_brief(by_side[side], generator)}." for side in by_side)


def corpus(n: int, seed: int) -> list[str]:
    """`n` sentences to pre-train a text encoder with: reports of invented patients, some sentences from a textbook."""
    generator = np.random.default_rng(seed)
    labels = tuple(VOCABULARY)
    sentences = []
    for _ in range(n):
        left, right = (
            Finding(_one(labels, generator), generator.random(), _one(tuple(_PLACES), generator)) for _ in range(2)
        )
        kind = generator.random()
        if kind < 0.1:
            sentences.append(_one(_GENERAL, generator))
        elif kind < 0.65:
            sentences.append(eye_report(left, "left", generator))
        else:
            sentences.append(patient_report(left, right, generator))
    return sentences


_PLACES = {
    "superotemporal": ("superotemporally", "in the superotemporal quadrant", "above the macula"),
    "superonasal": ("superonasally", "in the superonasal quadrant", "in the upper nasal retina"),
    "inferotemporal": ("inferotemporally", "in the inferotemporal quadrant", "below the macula"),
    "inferonasal": ("inferonasally", "in the inferonasal quadrant", "in the lower nasal retina"),
}


def _one(choices: Words, generator: np.random.Generator) -> str:
    return choices[generator.integers(len(choices))]


def _tier(finding: Finding) -> int:
    return min(2, int(3 * finding.severity))


def _degree(finding: Finding, generator: np.random.Generator) -> str:
    return _one(SEVERITIES[_tier(finding)], generator)


def _sign(finding: Finding, generator: np.random.Generator) -> str:
    """A phrase on what is seen. A healthy eye has no severity, so any of its phrases will do."""
    signs = VOCABULARY[finding.label].signs
    tier = int(generator.integers(3)) if finding.label == "Healthy" else _tier(finding)
    vertical = "superior" if finding.quadrant.startswith("super") else "inferior"
    return _one(signs[tier], generator).format(where=_one(_PLACES[finding.quadrant], generator), vertical=vertical)


def _name(finding: Finding, generator: np.random.Generator) -> str:
    """The disease, three times in four with its degree."""
    name = _one(VOCABULARY[finding.label].names, generator)
    graded = finding.label != "Healthy" and generator.random() < 0.75
    return f"{_degree(finding, generator)} {name}" if graded else name


def _brief(finding: Finding, generator: np.random.Generator) -> str:
    """A few words, without a full stop."""
    name, sign = _name(finding, generator), _sign(finding, generator)
    return (name, f"{name}, {sign}", f"{sign} ({name})")[generator.choice(3, p=(0.3, 0.45, 0.25))]


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]
