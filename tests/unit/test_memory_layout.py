"""CNNs compute in channels_last, as one fact of the network decides; files and numbers are as in any other layout."""

import io

import pytest
import torch
from fine_tuned import batch_of, pretrained
from safetensors.torch import load_file

from retclip.models.encode import encode_batch
from retclip.models.image_encoder import build_image_encoder
from retclip.models.loss import tripartite_loss
from retclip.models.memory_layout import lay_out
from retclip.training import optimizer
from retclip.training.checkpoint_file import load_checkpoint
from retclip.training.rescoring import keep_weights, restore_weights

LAST, SIZE = torch.channels_last, 64
OPEN_CLIP = {"embed_dim": 16, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "head_width": 16}}
CNNS = {
    **{name: {"architecture": f"timm/{name}", "embed_dim": 16}
       for name in ("test_resnet", "test_efficientnet", "resnet10t", "tf_efficientnet_lite0")},
    "open_clip": {"open_clip_config": OPEN_CLIP},
}  # fmt: skip
OTHERS = {
    "patch embedding": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "embed_dim": 16},
    "patch embedding of timm": {"architecture": "timm/test_vit", "embed_dim": 16},
    "stem of four": {"architecture": "timm/levit_128s", "embed_dim": 16},
    "the demo's": {"architecture": "timm/demo_conv", "embed_dim": 16},
}
VALUES = {"learning_rate": 1e-2, "optimizer": "adamw", "weight_decay": 0.1, "layer_decay": 1.0}


def encoder_of(settings):
    torch.manual_seed(0)
    return build_image_encoder(settings, 160 if settings.get("architecture") == "timm/test_vit" else SIZE)[0]


def convolutions(encoder):
    return [part for part in encoder.modules() if isinstance(part, torch.nn.Conv2d)]


def lies(tensor, layout):
    """Whether a tensor [N, C, H, W] lies in memory so. One of one channel, or one place, lies so either way."""
    return tensor.is_contiguous(memory_format=layout)


def outputs_of(encoder, images):
    """What each convolution makes."""
    found = []
    hooks = [part.register_forward_hook(lambda _part, _given, made: found.append(made))
             for part in convolutions(encoder)]  # fmt: skip
    with torch.no_grad():
        encoder(images)
    for hook in hooks:
        hook.remove()
    return found


def contiguous(encoder):
    """Its weights as they lay before."""
    for parameter in encoder.parameters():
        parameter.data = parameter.data.contiguous()
    return encoder


@pytest.mark.parametrize("name", CNNS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_convolution_of_a_cnn_computes_in_channels_last(name, dtype):
    encoder = encoder_of(CNNS[name]).eval()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        made = outputs_of(encoder, torch.randn(2, 3, SIZE, SIZE))
    assert len(made) > 10
    assert all(lies(one, LAST) for one in made)
    assert sum(not lies(one, torch.contiguous_format) for one in made) > 10


@pytest.mark.parametrize("name", OTHERS)
def test_a_patch_embedding_and_a_stem_stay_as_they_are(name):
    """They gain nothing by another layout, and keep their numbers to the last bit."""
    encoder = encoder_of(OTHERS[name])
    assert all(lies(part.weight, torch.contiguous_format) for part in convolutions(encoder))


@pytest.mark.parametrize(("channels", "stride", "last"), [(3, 2, False), (15, 2, False), (16, 2, True), (3, 1, True)])
def test_a_network_whose_gradients_torch_would_write_past_their_end_is_left_alone(channels, stride, last):
    """In channels_last, the gradient of a strided convolution of 1 x 1 over few channels broke the heap: FastViT."""
    spatial = [torch.nn.Conv2d(8, 8, 3) for _ in range(5)]
    encoder = torch.nn.Sequential(*spatial, torch.nn.Conv2d(channels, 16, 1, stride=stride))
    lay_out(encoder)
    assert all(lies(part.weight, LAST) == last for part in spatial)


@pytest.mark.parametrize("name", CNNS)
def test_features_and_gradients_are_those_of_contiguous_weights(name):
    images = torch.randn(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    found = []
    for encoder in (encoder_of(CNNS[name]), contiguous(encoder_of(CNNS[name]))):
        with torch.no_grad():
            features = encoder.eval()(images)
        torch.manual_seed(2)
        encoder.eval()(images).square().sum().backward()
        found.append((features, {key: one.grad for key, one in encoder.named_parameters()}))
    (ours, gradients), (wanted, others) = found
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    for key, gradient in others.items():
        torch.testing.assert_close(
            gradients[key], gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()), msg=key
        )


def train(model, steps_of, positions):
    for position in positions:
        torch.manual_seed(position)
        steps_of.zero_grad()
        tripartite_loss(encode_batch(model, batch_of(), augment=True))["total"].backward()
        steps_of.step()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_cnn_resumes_bit_for_bit_from_a_state_of_either_layout(tmp_path, name):
    """Fused AdamW reads weights and moments side by side as they lie in memory, whatever their strides say."""
    values = {**VALUES, "optimizer": name}
    whole, saved = pretrained(tmp_path, "cnn"), io.BytesIO()
    made = optimizer.build_optimizer(whole, values)
    train(whole, made, range(2))
    torch.save({"model": whole.trained_state(), "optimizer": made.state_dict()}, saved)
    train(whole, made, range(2, 3))
    for turned in (lambda value: value, torch.Tensor.contiguous):
        saved.seek(0)
        content = torch.load(saved, weights_only=True)
        for one in content["optimizer"]["state"].values():
            one |= {kept: turned(value) for kept, value in one.items() if isinstance(value, torch.Tensor)}
        second = pretrained(tmp_path, "cnn")
        made = optimizer.build_optimizer(second, values)
        second.load_trained_state(content["model"])
        optimizer.restore(made, content["optimizer"])
        train(second, made, range(2, 3))
        assert any(not lies(part.weight, torch.contiguous_format) for part in convolutions(second))
        state = second.state_dict()
        assert [key for key, value in whole.state_dict().items() if not torch.equal(value, state[key])] == []


def test_files_of_weights_are_contiguous_and_go_into_either_layout(tmp_path):
    model, plain = pretrained(tmp_path, "cnn"), pretrained(tmp_path, "cnn")
    assert all(value.is_contiguous() for value in load_file(tmp_path / "weights.safetensors").values())
    train(model, optimizer.build_optimizer(model, VALUES), range(1))
    path = tmp_path / "key" / "weights.pt"
    path.parent.mkdir()
    keep_weights(model, path)
    kept = load_checkpoint(path)["model"]
    assert [name for name, value in kept.items() if not value.is_contiguous()] == []
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in kept.items())
    assert restore_weights(plain, path)
    contiguous(plain.visual).load_state_dict({name.removeprefix("visual."): value for name, value in kept.items()
                                              if name.startswith("visual.")}, strict=False)  # fmt: skip
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_recomputed_activations_have_the_gradients_of_kept_ones(tmp_path):
    model, found = pretrained(tmp_path, "cnn"), []
    for _ in range(2):
        torch.manual_seed(0)
        model.zero_grad()
        tripartite_loss(encode_batch(model.eval(), batch_of(), augment=False))["total"].backward()
        found.append({name: one.grad for name, one in model.named_parameters()})
        model.enable_gradient_checkpointing()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)
        assert gradient is None or gradient.stride() == dict(model.named_parameters())[name].stride(), name
