"""RET-CLIP: two eyes, one report, three contrastive views (Du et al. 2024, arXiv:2405.14137).

One image encoder sees both eyes; the patient's feature is a linear map of both eyes' features together. One
text encoder reads the report; three heads map its pooled feature to the patient's, the left and the right view.
Modules bear upstream's names, so that a checkpoint of upstream's is a state dict of ours.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from retclip.core.preprocessing import CLIP
from retclip.models.text_encoder import Pooling, pool
from retclip.models.timm_encoder import parts

MAX_LOG_SCALE = math.log(100)


class RetClip(nn.Module):
    """visual: [B, 3, S, S] -> [B, embed_dim]; bert: a text encoder of transformers."""

    def __init__(
        self, visual: nn.Module, bert: Any, embed_dim: int, head_depth: int = 2, pooling: Pooling = "cls"
    ) -> None:
        """head_depth: linear layers in each text head, with ReLU between them. pooling: see text_encoder.pool."""
        super().__init__()
        hidden = bert.config.hidden_size
        self.visual = visual
        self.bert = bert
        self.pooling = pooling
        self.global_feature_mapping = nn.Linear(2 * embed_dim, embed_dim, bias=False)
        self.left_feature_mapping = nn.Linear(embed_dim, embed_dim, bias=False)
        self.right_feature_mapping = nn.Linear(embed_dim, embed_dim, bias=False)
        self.text_projection = _text_head(hidden, embed_dim, head_depth)
        self.text_projection_left = _text_head(hidden, embed_dim, head_depth)
        self.text_projection_right = _text_head(hidden, embed_dim, head_depth)
        # stored as logarithms, as upstream does; the trainer sets them from the trial's temperature
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.logit_scale_left = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.logit_scale_right = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.is_adapted = False  # by LoRA, see adapters
        self.preprocessing = CLIP  # of the images that `visual` reads; who loads other weights sets it
        for mapping in (self.global_feature_mapping, self.left_feature_mapping, self.right_feature_mapping):
            nn.init.normal_(mapping.weight, std=mapping.in_features**-0.5)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """The image encoder's feature of one eye, [B, 3, S, S] -> [B, embed_dim], not normalized."""
        return self.visual(images)

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 3, S, S] -> [B, D], before a projection that may be new: what `project` takes to encode_image's."""
        return parts(self.visual)[0](images)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """image_features [..., D] -> [..., embed_dim]."""
        return parts(self.visual)[1](features)

    def encode_eyes(
        self, image_left: torch.Tensor, image_right: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """L2-normalized (patient, left, right) features [B, embed_dim]; both eyes in one call of the encoder."""
        return self.features_of_eyes(*self.visual(torch.cat([image_left, image_right])).chunk(2))

    def features_of_eyes(
        self, left: torch.Tensor, right: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """L2-normalized (patient, left, right) features of what encode_image makes of two eyes, [B, embed_dim] each."""
        return (
            _unit_length(self.global_feature_mapping(torch.cat([left, right], dim=1))),
            _unit_length(self.left_feature_mapping(left)),
            _unit_length(self.right_feature_mapping(right)),
        )

    def encode_text(self, text_ids: torch.Tensor, attention_mask: torch.Tensor | None, view: str) -> torch.Tensor:
        """L2-normalized feature [B, embed_dim] of texts [B, L] through the head of `view`; None: see pooled_text."""
        return self.text_feature(self.pooled_text(text_ids, attention_mask), view)

    def pooled_text(self, text_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """The text encoder's pooled feature of texts [B, L]: [B, hidden], before any head.

        attention_mask [B, L]: true or 1 for what is read; None: all but padding, as upstream has it. Raises ValueError
        where no mask is given and the text encoder's config does not say which id padding has.
        """
        if attention_mask is None:
            padding = self.bert.config.pad_token_id
            if padding is None:
                raise ValueError("the text encoder's config has no pad_token_id, so attention_mask must be given.")
            attention_mask = text_ids != padding
        mask = attention_mask.bool()
        if self.bert.config.model_type == "bert":
            # laid out as its attention reads it: of [B, L], transformers would ask the GPU whether anything is masked
            laid_out = mask[:, None, None, :].expand(-1, 1, text_ids.shape[1], -1)
        else:  # some attend to neighbors alone, and lay out masks of their own
            laid_out = mask.long()
        return pool(self.bert(input_ids=text_ids, attention_mask=laid_out), mask, self.pooling)

    def text_feature(self, pooled: torch.Tensor, view: str) -> torch.Tensor:
        """L2-normalized feature [B, embed_dim] of pooled texts [B, hidden] through the head of `view`."""
        return _unit_length(self._head(view)(pooled))

    def forward(
        self,
        image_left: torch.Tensor,
        image_right: torch.Tensor,
        text_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        text_ids_left: torch.Tensor | None = None,
        attention_mask_left: torch.Tensor | None = None,
        text_ids_right: torch.Tensor | None = None,
        attention_mask_right: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Images [B, 3, S, S], texts [B, L]; where an eye has no text of its own, the patient's is read. Without a
        mask, all of a text but its padding is read.

        Returns image_features, left_features, right_features, text_features, text_features_left,
        text_features_right, each [B, embed_dim] and L2-normalized, and the three logit scales.
        """
        left, right = self.visual(torch.cat([image_left, image_right])).chunk(2)
        pooled = dict.fromkeys(("patient", "left", "right"), self.pooled_text(text_ids, attention_mask))
        if text_ids_left is not None:
            pooled["left"] = self.pooled_text(text_ids_left, attention_mask_left)
        if text_ids_right is not None:
            pooled["right"] = self.pooled_text(text_ids_right, attention_mask_right)
        return self.outputs(left, right, pooled)

    def outputs(
        self, left: torch.Tensor, right: torch.Tensor, pooled: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What `forward` returns, from the image encoder's features of the eyes [B, embed_dim] and the
        pooled texts of each view [B, hidden]."""
        patient, left, right = self.features_of_eyes(left, right)
        return {
            "image_features": patient,
            "left_features": left,
            "right_features": right,
            "text_features": self.text_feature(pooled["patient"], "patient"),
            "text_features_left": self.text_feature(pooled["left"], "left"),
            "text_features_right": self.text_feature(pooled["right"], "right"),
            "logit_scale": self.logit_scale.exp(),
            "logit_scale_left": self.logit_scale_left.exp(),
            "logit_scale_right": self.logit_scale_right.exp(),
        }

    @torch.no_grad()
    def clamp_logit_scales(self) -> None:
        """Keeps the scales between 1 and 100, as CLIP does."""
        for scale in (self.logit_scale, self.logit_scale_left, self.logit_scale_right):
            scale.clamp_(0, MAX_LOG_SCALE)

    def freeze(self, encoders: str) -> None:
        """Freezes none, image, text or both encoders: no gradients, and evaluation mode from here on.

        A projection behind the image encoder that is in no weights is new, as the heads are, and is trained.
        """
        network, projection = parts(self.visual)
        image = (network,) if getattr(self.visual, "has_new_head", False) else (network, projection)
        frozen = {"none": (), "image": image, "text": (self.bert,)}.get(encoders, (*image, self.bert))
        for encoder in frozen:
            encoder.requires_grad_(False)
            encoder.eval()

    def enable_gradient_checkpointing(self) -> None:
        """Encoders that train recompute their layers' activations in the backward pass instead of keeping them."""
        visual: Any = self.visual
        if not self.is_frozen(parts(visual)[0]):
            visual.set_grad_checkpointing(True)
        if not self.is_frozen(self.bert):
            self.bert.activation_checkpointing_enable()

    def is_frozen(self, part: nn.Module) -> bool:
        """Whether none of its parameters, of which there are some, is trained."""
        trained = [parameter.requires_grad for parameter in part.parameters()]
        return bool(trained) and not any(trained)

    def trained_state(self) -> dict[str, torch.Tensor]:
        """The state dict without what is frozen, which comes back with the untrained model; all of it contiguous."""
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        return {name: value.contiguous() for name, value in self.state_dict().items() if name not in frozen}

    def load_trained_state(self, state: dict[str, torch.Tensor]) -> None:
        """Takes over a `trained_state` of the same trial."""
        assert state.keys() == self.trained_state().keys()
        self.load_state_dict(state, strict=False)

    def train(self, mode: bool = True) -> "RetClip":
        """Training mode for all but the frozen encoders and blocks, whose dropout and statistics stay fixed."""
        super().train(mode)
        for part in self.modules():
            if self.is_frozen(part):
                part.eval()
        return self

    def _head(self, view: str) -> nn.Module:
        heads = {
            "patient": self.text_projection,
            "left": self.text_projection_left,
            "right": self.text_projection_right,
        }
        return heads[view]


def _unit_length(feature: torch.Tensor) -> torch.Tensor:
    """[B, D], each row of length 1, in fp32 even where autocast made the feature in bf16.

    Logits are up to 100 times the cosines: with the eight bits of bf16 a loss of 9 would come in steps of 1/16.
    """
    return functional.normalize(feature.to(torch.promote_types(feature.dtype, torch.float32)), dim=1)


def _text_head(hidden: int, embed_dim: int, depth: int) -> nn.Sequential:
    layers: list[Any] = []
    for position in range(depth):
        last = position == depth - 1
        linear = nn.Linear(hidden, embed_dim if last else hidden)
        nn.init.normal_(linear.weight, std=hidden**-0.5)
        layers += [linear] if last else [linear, nn.ReLU()]
    return nn.Sequential(*layers)
