"""Our model gives what upstream's gave: outputs, losses, gradients, and its own checkpoint back."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from retclip.models.convert import from_retclip, to_retclip
from retclip.models.loss import tripartite_loss

GOLDEN = Path(__file__).with_name("retclip_tiny.safetensors")


@pytest.fixture(scope="module")
def golden():
    tensors = load_file(GOLDEN)
    groups = {}
    for name, tensor in tensors.items():
        group, key = name.split(".", 1)
        groups.setdefault(group, {})[key] = tensor
    return groups


@pytest.fixture(scope="module")
def model(golden):
    return from_retclip(golden["state_dict"], text_num_attention_heads=4).eval()


@pytest.fixture(scope="module")
def outputs(golden, model):
    inputs = golden["input"]
    return model(
        inputs["image_left"],
        inputs["image_right"],
        inputs["text_ids"],
        attention_mask=(inputs["text_ids"] != 0).long(),
    )


def relative(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_outputs(golden, outputs):
    assert set(outputs) == set(golden["output"])
    for name, wanted in golden["output"].items():
        assert relative(outputs[name], wanted) < 1e-5, name


def test_without_a_mask_padding_is_not_attended_to(golden, model, outputs):
    """None means text_ids != pad, as upstream computes it itself."""
    inputs = golden["input"]
    assert (inputs["text_ids"] == 0).any(), "the golden texts are padded"
    found = model(inputs["image_left"], inputs["image_right"], inputs["text_ids"])
    for name, wanted in golden["output"].items():
        assert relative(found[name], wanted) < 1e-5, name
    assert torch.equal(found["text_features"], outputs["text_features"])


def test_losses(golden, outputs):
    losses = tripartite_loss(outputs)
    for ours, theirs in {"total": "total", "patient": "global", "left": "left", "right": "right"}.items():
        assert relative(losses[ours], golden["loss"][theirs]) < 1e-4, ours


def test_gradient_norms(golden, model, outputs):
    model.zero_grad()
    tripartite_loss(outputs)["total"].backward()
    parameters = dict(model.named_parameters())
    assert set(parameters) == set(golden["grad_norm"])
    for name, wanted in golden["grad_norm"].items():
        found = parameters[name].grad.norm()
        # a gradient that is zero but for rounding has no relative error
        assert abs(float(found - wanted)) < 1e-3 * float(wanted) + 1e-7, name


def test_a_checkpoint_comes_back_bit_for_bit(golden, model):
    back = to_retclip(from_retclip(golden["state_dict"], 4))
    assert sorted(back) == sorted(golden["state_dict"])
    assert all(torch.equal(back[name], tensor) for name, tensor in golden["state_dict"].items())


def test_prefixes_and_wrapping_are_accepted(golden):
    wrapped = {"state_dict": {f"module.{key}": value for key, value in golden["state_dict"].items()}}
    assert torch.equal(from_retclip(wrapped, 4).visual.proj, golden["state_dict"]["visual.proj"])


def test_deeper_heads_are_read_off_the_keys(golden):
    state = dict(golden["state_dict"])
    for head in ("text_projection", "text_projection_left", "text_projection_right"):
        state[f"{head}.4.weight"], state[f"{head}.4.bias"] = (
            state[f"{head}.2.weight"],
            state[f"{head}.2.bias"],
        )
        state[f"{head}.2.weight"], state[f"{head}.2.bias"] = (
            state[f"{head}.0.weight"],
            state[f"{head}.0.bias"],
        )
    assert sorted(to_retclip(from_retclip(state, 4))) == sorted(state)


def test_missing_and_unexpected_keys_are_named(golden):
    state = dict(golden["state_dict"])
    del state["visual.ln_post.bias"]
    state["something.else"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"missing keys visual\.ln_post\.bias; unexpected keys something\.else"):
        from_retclip(state, 4)
    with pytest.raises(ValueError, match=r"lacks visual\.conv1\.weight"):
        from_retclip({"a": torch.zeros(1)})
