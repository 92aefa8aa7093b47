"""Writes report sentences as an ophthalmologist might: findings, severity, place and hedges in varied words."""

import numpy as np

from retclip.data.demo_signs import CLASSES

FINDINGS = {
    "Healthy": (
        "the optic disc is sharply defined and the macula has a clear reflex",
        "no haemorrhage, exudate or pigment change is seen",
        "an unremarkable fundus with vessels of normal calibre",
        "a normal retina, disc and macula",
    ),
    "Diabetic Retinopathy": (
        "dot and blot haemorrhages with yellow hard exudates",
        "microaneurysms, haemorrhages and clusters of hard exudates",
        "retinal haemorrhages and exudates typical of diabetic retinopathy",
        "diabetic retinopathy with scattered blot haemorrhages",
    ),
    "Glaucoma": (
        "an enlarged cup with a thin neuroretinal rim",
        "an increased cup-to-disc ratio suggesting glaucoma",
        "glaucomatous cupping of the optic nerve head",
        "a deep, pale cup and rim loss as in glaucoma",
    ),
    "Myopia": (
        "a peripapillary crescent and a tessellated fundus",
        "myopic tessellation with temporal peripapillary atrophy",
        "choroidal vessels showing through, a myopic crescent at the disc",
        "features of pathological myopia with a pale, tessellated retina",
    ),
    "Macular Scar": (
        "a whitish macular scar with a pigmented border",
        "fibrotic scarring at the fovea with pigment clumps",
        "an atrophic scar of the macula",
        "a pale, sharply bordered lesion at the macula, an old scar",
    ),
    "Retinitis Pigmentosa": (
        "bone spicule pigmentation in the periphery and attenuated vessels",
        "peripheral bone spicules with a waxy pale disc",
        "thin arterioles and dark spicules typical of retinitis pigmentosa",
        "pigmentary degeneration of the peripheral retina",
    ),
    "Disc Edema": (
        "a swollen optic disc with blurred margins",
        "disc edema with peripapillary flame haemorrhages",
        "elevation of the nerve head and indistinct disc borders",
        "an oedematous disc without a visible cup",
    ),
    "Retinal Detachment": (
        "a greyish, billowing detachment of the retina with folds",
        "retinal detachment with a corrugated grey surface",
        "an elevated grey retina, consistent with detachment",
        "folds of detached retina with a sharp demarcation",
    ),
    "Central Serous Chorioretinopathy": (
        "a round serous blister at the macula",
        "a dome of subretinal fluid at the posterior pole as in central serous chorioretinopathy",
        "a well defined serous elevation of the macula",
        "macular subretinal fluid with a bright ring reflex",
    ),
    "Pterygium": (
        "a fleshy wedge of tissue reaching in from the nasal side",
        "a pterygium that veils the nasal part of the picture",
        "nasal fibrovascular tissue consistent with pterygium",
        "a pink triangular growth from the nasal edge",
    ),
}
assert set(FINDINGS) == set(CLASSES)

DEGREES = (("early", "mild", "subtle"), ("moderate", "definite", "established"), ("advanced", "marked", "severe"))
OPENINGS = (
    "The {eye} eye shows {what}",
    "{Eye} eye: {what}",
    "In the {eye} eye there is {what}",
    "Fundus photograph of the {eye} eye with {what}",
    "Examination of the {eye} fundus reveals {what}",
)
STAGES = (" ({degree})", ", {degree}", ", {degree} stage", "")
CLOSINGS = {
    True: ("; routine follow-up.", ".", "; no treatment needed.", ", as expected for age."),
    False: ("; further imaging is advised.", ".", "; follow-up in three months.", "; clinical correlation is warranted."),
}


def eye_report(label: str, severity: float, side: str, generator: np.random.Generator) -> str:
    """One sentence about one eye. severity in [0, 1]; side is left or right."""
    healthy = label == "Healthy"
    degree = generator.choice(DEGREES[min(2, int(severity * 3))])
    stage = "" if healthy else generator.choice(STAGES).format(degree=degree)
    opening = generator.choice(OPENINGS).format(
        eye=side, Eye=side.capitalize(), what=generator.choice(FINDINGS[label])
    )
    return f"{opening}{stage}{generator.choice(CLOSINGS[healthy])}"


def patient_report(left: str, right: str, labels: tuple[str, str], generator: np.random.Generator) -> str:
    """The report of both eyes: the two sentences in either order, or one for a finding that both share."""
    if labels[0] == labels[1] and generator.random() < 0.4:
        finding = generator.choice(FINDINGS[labels[0]])
        return str(generator.choice(("Both eyes show {what}.", "Bilateral finding: {what}.")).format(what=finding))
    return f"{right} {left}" if generator.random() < 0.5 else f"{left} {right}"


def corpus(n: int, seed: int) -> list[str]:
    """`n` sentences as they stand in reports, for the pre-training of the demo's text encoders."""
    generator = np.random.default_rng((seed, n))
    return [
        eye_report(
            str(generator.choice(CLASSES)),
            generator.random(),
            str(generator.choice(("left", "right"))),
            generator,
        )
        for _ in range(n)
    ]
