"""Module: what it finds by walking its attributes, saving and loading, train and eval."""
import numpy as np
import pytest

import tinygen as tg
from tinygen.engine.backend import to_numpy, xp
from tinygen.nn import (GELU, Dropout, Embedding, LeakyReLU, Linear, Module, ReLU, Sequential,
                        Sigmoid, SiLU, Softplus, Tanh)


class Branchy(Module):
    """A parameter or a module in every place where one can be, some in two."""

    def __init__(self):
        self.scale = tg.tensor([2.0], requires_grad=True)
        self.table = Embedding(5, 3)
        self.layers = [Linear(3, 3), [Linear(3, 2, bias=False)], (tg.tanh, ReLU())]
        self.heads = {"mean": Linear(2, 1), "by rank": {3: Linear(2, 2)}}
        self.again = self.layers[0]                     # a shared module
        self.tied = self.table.W                        # a shared parameter
        self.count = tg.tensor([0.0])                   # a buffer
        self.settings = {"width": 3, "name": "branchy", "rates": [0.1, 0.2]}
        self.layers[0].parent = self                    # a cycle


NAMES = ["scale", "table.W", "layers.0.W", "layers.0.b", "layers.1.0.W", "heads.mean.W",
         "heads.mean.b", "heads.by rank.3.W", "heads.by rank.3.b"]


# --- walking --------------------------------------------------------------------------------------

def test_parameters_come_in_order_of_assignment_and_once():
    net = Branchy()
    assert list(net.named_parameters()) == NAMES
    assert list(net.named_tensors()) == NAMES + ["count"]
    found = net.parameters()
    assert found[0] is net.scale and found[1] is net.table.W
    assert found[-1] is net.heads["by rank"][3].b
    assert len({id(p) for p in found}) == len(found) == len(NAMES)


def test_modules_come_once_too():
    net = Branchy()
    assert net.modules() == [net, net.table, net.layers[0], net.layers[1][0], net.layers[2][1],
                             net.heads["mean"], net.heads["by rank"][3]]


def test_a_module_needs_no_init_and_may_have_no_parameters():
    class Half(Module):
        def forward(self, x, *, times=1):
            return x * 0.5 ** times
    assert Half()(8.0, times=2) == 2.0
    assert Half().parameters() == [] and Half().state_dict() == {}


def test_a_tensor_that_was_computed_is_no_parameter():
    layer = Linear(2, 2)
    layer.last = layer(tg.tensor([[1.0, 2.0]]))
    assert list(layer.named_tensors()) == ["W", "b"]


def test_a_frozen_parameter_is_not_trained_but_saved():
    layer = Linear(2, 3)
    layer.W.requires_grad = False
    assert list(layer.named_parameters()) == ["b"] and list(layer.state_dict()) == ["W", "b"]


def test_zero_grad_forgets_every_gradient():
    net = Sequential(Linear(2, 3), Linear(3, 1))
    net(tg.tensor([[1.0, 2.0]])).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_a_misspelt_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'w'"):
        Linear(2, 3).w
    with pytest.raises(AttributeError, match="'Branchy' object has no attribute 'layer'"):
        Branchy().layer


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"Branchy has no forward\(\)"):
        Branchy()(1)


def test_train_and_eval_reach_every_module():
    net = Branchy()
    assert all(m.training for m in net.modules())
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    assert Branchy().training and list(net.eval().named_parameters()) == NAMES


# --- saving and loading ---------------------------------------------------------------------------

def test_state_dict_holds_copies_on_the_host():
    net = Branchy()
    state = net.state_dict()
    assert all(type(a) is np.ndarray for a in state.values()) and list(state) == NAMES + ["count"]
    net.scale.data[...] = 9
    assert state["scale"] == [2]


def test_loading_copies_into_the_tensors_that_are_there():
    a, b = Branchy(), Branchy()
    tensors, arrays = b.named_tensors(), [x.data for x in b.named_tensors().values()]
    a.count.data[...] = 7
    state = a.state_dict()
    b.load_state_dict(state)
    assert all((to_numpy(x) == state[name]).all() for name, x in b.named_tensors().items())
    for x, tensor, array in zip(b.named_tensors().values(), tensors.values(), arrays):
        assert x is tensor and x.data is array
    b.scale.data[...] = 5
    assert state["scale"] == [2] and b.tied is b.table.W


def test_loading_keeps_the_dtype_and_takes_lists_and_tensors():
    layer = Linear(1, 2)
    layer.load_state_dict({"W": [[1, 2]], "b": tg.tensor(np.array([3.0, 4.0]))})
    assert to_numpy(layer.W).tolist() == [[1, 2]] and to_numpy(layer.b).tolist() == [3, 4]
    assert layer.W.dtype == layer.b.dtype == "float32" and layer.W.requires_grad


def test_an_error_lists_all_that_is_wrong_and_changes_nothing():
    net = Sequential(Linear(2, 3), Linear(3, 1))
    state = net.state_dict()
    before = {name: a.copy() for name, a in state.items()}
    state["layers.0.W"] += 1
    state["layers.1.b"] = np.zeros((1, 1))
    state["layers.2.W"] = state.pop("layers.0.b")
    with pytest.raises(ValueError) as error:
        net.load_state_dict(state)
    assert str(error.value) == (
        "load_state_dict: not the state of this Sequential: layers.0.b is missing; "
        "layers.2.W is unexpected; layers.1.b has shape (1, 1), needed (1,)")
    assert all((a == before[name]).all() for name, a in net.state_dict().items())


def test_values_that_are_no_numbers_change_nothing_either():
    layer = Linear(2, 2)
    state = layer.state_dict()
    with pytest.raises(ValueError):
        layer.load_state_dict({"W": state["W"] + 1, "b": np.array(["one", "two"])})
    assert (to_numpy(layer.W) == state["W"]).all()


# --- modules that arrange others ------------------------------------------------------------------

def test_sequential_applies_modules_and_functions_in_order():
    first, last = Linear(2, 3), Linear(3, 1)
    net = Sequential(first, tg.tanh, last, lambda y: 2 * y)
    x = tg.tensor([[1.0, -1.0]])
    assert net(x).item() == (2 * last(tg.tanh(first(x)))).item()
    assert len(net) == 4 and net[0] is first and net[2] is last
    assert list(net.named_parameters()) == ["layers.0.W", "layers.0.b", "layers.2.W", "layers.2.b"]
    assert Sequential()(x) is x


@pytest.mark.parametrize("module, function", [
    (ReLU(), tg.relu), (Tanh(), tg.tanh), (Sigmoid(), tg.sigmoid), (SiLU(), tg.silu),
    (GELU(), tg.gelu), (Softplus(), tg.softplus),
    (LeakyReLU(0.2), lambda x: tg.leaky_relu(x, 0.2))])
def test_activations_are_the_functions_of_their_name(module, function):
    x = tg.tensor(np.linspace(-3, 3, 13, dtype="f"))
    assert (to_numpy(module(x)) == to_numpy(function(x))).all()
    assert module.parameters() == [] and type(module).__doc__


def test_dropout_keeps_the_mean_while_training_and_everything_in_eval():
    layer, n = Dropout(0.25), 40_000
    x = tg.tensor(np.full(n, 3.0, "f"), requires_grad=True)
    y = layer(x)
    values, counts = np.unique(to_numpy(y), return_counts=True)
    assert values.tolist() == [0, 4] and y.dtype == "float32"       # 3 / (1 - 0.25) = 4
    assert abs(counts[0] / n - 0.25) < 4 * np.sqrt(0.25 * 0.75 / n)
    y.sum().backward()
    np.testing.assert_allclose(to_numpy(x.grad), to_numpy(y) / 3)
    assert layer.eval()(x) is x and Dropout(0)(x) is x and Dropout().p == 0.5
    for p in (1, -0.1):
        with pytest.raises(ValueError, match=f"p is {p}; needs 0 <= p < 1"):
            Dropout(p)(x)


def test_dropout_draws_anew_each_time_and_the_same_from_the_same_seed():
    layer, x = Dropout(), tg.tensor(np.ones(64, "f"))
    tg.seed(1)
    a, b = to_numpy(layer(x)), to_numpy(layer(x))
    tg.seed(1)
    assert (to_numpy(layer(x)) == a).all() and (a != b).any()


def test_parameters_made_by_tensor_and_by_assignment_later_are_found():
    layer = Linear(2, 2)
    layer.extra = tg.tensor(xp.ones(3, dtype="float32"), requires_grad=True)
    assert list(layer.named_parameters()) == ["W", "b", "extra"]
    del layer.extra
    assert list(layer.named_parameters()) == ["W", "b"]
