"""What each choice of optimizer makes of the same learning rate and weight decay: none is a wasted trial."""

import math

import pytest
import torch
from running import declared_defaults

from retclip.training.optimizer import build_optimizer, set_learning_rate

VALUES = {**declared_defaults(), "learning_rate": 1e-5, "weight_decay": 0.2, "max_grad_norm": 1.0}


class Net(torch.nn.Module):
    """A matrix of 40,000 weights of size 0.02, as encoders have them, and a temperature."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(0.02 * torch.randn(200, 200))
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))


def moved(name: str, steps: int, gradient: float = 0.0, **changes) -> tuple[torch.Tensor, Net]:
    """How far the weights are after some steps with a gradient of this norm, and the model."""
    torch.manual_seed(1)
    net = Net()
    before, direction = net.weight.detach().clone(), torch.randn(200, 200)
    optimizer = build_optimizer(net, {**VALUES, **changes, "optimizer": name})
    for _ in range(steps):
        set_learning_rate(optimizer, {**VALUES, **changes}["learning_rate"])
        net.weight.grad = gradient * direction / direction.norm()
        net.logit_scale.grad = torch.tensor(-0.1)
        optimizer.step()
    return net.weight.detach() - before, net


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_weight_decay_shrinks_alike_whatever_the_optimizer(name):
    """Coupled to Adam's gradient, a decay of .2 took every weight a whole learning rate towards zero at each step."""
    change, _ = moved(name, 10, learning_rate=1e-3)
    expected = ((1 - 1e-3 * 0.2) ** 10 - 1) * Net().weight.detach()
    torch.testing.assert_close(change, expected, rtol=0.02, atol=1e-9)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_clipped_gradient_outweighs_the_decay(name):
    """In SGD the decay outweighed a gradient clipped to 1 by far: so did nothing else."""
    with_gradient, _ = moved(name, 20, gradient=1.0)
    without, _ = moved(name, 20)
    step = (with_gradient - without).norm() / 20
    assert step > 10 * without.norm() / 20
    assert step == pytest.approx(1e-5 * 200, rel=0.6), "as far as Adam moves each weight by the learning rate"


def test_adam_is_adamw():
    assert torch.equal(moved("adam", 5, 1.0)[0], moved("adamw", 5, 1.0)[0])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize(("rate", "least"), [(1e-5, 0.3), (2e-3, 0.3)])
def test_a_learnable_temperature_moves_at_small_learning_rates(name, rate, least):
    """At a learning rate of 1e-5 it moved by under 1 % in a run."""
    _, net = moved(name, 500, gradient=1e-9, learning_rate=rate)
    assert abs(net.logit_scale.item() - math.log(1 / 0.07)) > least
