"""The tripartite contrastive loss: patient, left eye and right eye, each open_clip's symmetric InfoNCE."""

import torch
from open_clip.loss import ClipLoss

PARTS = {
    "patient": ("image_features", "text_features", "logit_scale"),
    "left": ("left_features", "text_features_left", "logit_scale_left"),
    "right": ("right_features", "text_features_right", "logit_scale_right"),
}
SINGLE_PROCESS = ClipLoss()


def tripartite_loss(
    outputs: dict[str, torch.Tensor],
    left_present: torch.Tensor | None = None,
    right_present: torch.Tensor | None = None,
    clip_loss: ClipLoss = SINGLE_PROCESS,
    labels: dict[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """total = patient + left + right; each part is the mean of both cross-entropies, ln B at chance.

    outputs: of RetClip.forward. left_present, right_present [B] bool: rows of a missing eye are left out of that view;
    with fewer than two rows left, its part is 0, since one pair has no negatives. They stay on the CPU: counting
    rows on a GPU would wait for it. labels: view -> codes [B] (-1: none); pairs of
    equal codes are then no negatives of each other.
    """
    present = {"patient": None, "left": left_present, "right": right_present}
    parts = {}
    for part, (image, text, scale) in PARTS.items():
        seen = present[part]
        images, texts = outputs[image], outputs[text]
        codes = None if labels is None else labels[part]
        if seen is not None and not bool(seen.all()):
            rows = seen.nonzero().squeeze(1).to(images.device, non_blocking=True)
            images, texts = images[rows], texts[rows]
            codes = None if codes is None else codes[rows]
        if len(images) > 1 and codes is not None:
            parts[part] = masked_loss(images, texts, outputs[scale], codes)
        elif len(images) > 1:
            parts[part] = clip_loss(images, texts, outputs[scale])
        else:  # a zero that every weight has a part in: several processes must all get a gradient
            parts[part] = (images.sum() + texts.sum() + outputs[scale]) * 0.0
    return {"total": parts["patient"] + parts["left"] + parts["right"], **parts}


def masked_loss(
    images: torch.Tensor, texts: torch.Tensor, logit_scale: torch.Tensor, codes: torch.Tensor
) -> torch.Tensor:
    """Symmetric InfoNCE of features [B, D] without the negatives that share the positive's code [B].

    A fifth of the "negatives" of a batch show the same disease as the positive. Codes of -1 match none.
    """
    logits = logit_scale * images @ texts.T
    same = (codes[:, None] == codes[None, :]) & (codes >= 0)[:, None]
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    entropy = torch.nn.functional.cross_entropy
    return (entropy(logits, target) + entropy(logits.T, target)) / 2
