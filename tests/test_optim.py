"""Optimizers against ten lines of plain NumPy and against numbers worked out by hand."""
import threading

import numpy as np
import pytest

import tinygen as tg
from tinygen import optim
from tinygen.engine import blocks
from tinygen.engine.backend import to_numpy, xp
from tinygen.nn import Linear
from tinygen.optim import (EMA, SGD, Adam, AdamW, Optimizer, clip_grad_norm, cosine, exponential,
                           step_decay, warmup)

KINDS = {
    "sgd": (SGD, dict(lr=0.1)),
    "sgd, decay": (SGD, dict(lr=0.1, weight_decay=0.2)),
    "momentum": (SGD, dict(lr=0.1, momentum=0.9)),
    "momentum, decay": (SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.2)),
    "nesterov": (SGD, dict(lr=0.1, momentum=0.9, nesterov=True)),
    "nesterov, decay": (SGD, dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.2)),
    "adam": (Adam, dict(lr=0.1)),
    "adam, decay": (Adam, dict(lr=0.1, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.2)),
    "adam, no memory of g": (Adam, dict(lr=0.1, betas=(0, 0.9))),
    "adamw": (AdamW, dict(lr=0.1)),
    "adamw, decay": (AdamW, dict(lr=0.1, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.2)),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def parameter(values):
    return tg.tensor(values, requires_grad=True)


def make(kind, params, **changes):
    optimizer, settings = KINDS[kind]
    return optimizer(params, **{**settings, **changes})


def step(optimizer, *gradients):
    """One step with the given gradients (None: no gradient)."""
    for p, g in zip(optimizer.params, gradients):
        p.grad = None if g is None else xp.asarray(g)
    optimizer.step()


def descend(kind, p, a, c, steps):
    """p after each step on f(p) = sum a (p - c)^2 / 2, by the library."""
    p, a, c, trajectory = parameter(p), tg.tensor(a), tg.tensor(c), []
    optimizer = make(kind, [p])
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * a * (p - c) ** 2).sum().backward()
        optimizer.step()
        trajectory.append(to_numpy(p).copy())
    return np.array(trajectory)


def plain(kind, p, a, c, steps):
    """The same in plain NumPy, in the form of each paper's algorithm."""
    s = dict(momentum=0, nesterov=False, betas=(0.9, 0.999), eps=1e-8,
             weight_decay=0.01 * (kind == "adamw")) | KINDS[kind][1]
    lr, (b1, b2), decay, m, v, trajectory = s["lr"], s["betas"], s["weight_decay"], 0, 0, []
    for t in range(1, steps + 1):
        g = a * (p - c) + (0 if "adamw" in kind else decay * p)
        if "adam" in kind:
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            d = m / (1 - b1 ** t) / (np.sqrt(v / (1 - b2 ** t)) + s["eps"])
            p = p - lr * d - (lr * decay * p if "adamw" in kind else 0)
        else:
            m = s["momentum"] * m + g
            p = p - lr * (g + s["momentum"] * m if s["nesterov"] else m)
        trajectory.append(p)
    return np.array(trajectory)


# --- trajectories ---------------------------------------------------------------------------------

# f(p) = p^2 / 2 from p = 1, so g = p. Momentum: v = 1, 1.8, 2.34. Nesterov: v = 1, 1.71, 2.1141.
# Adam, with m and v corrected: 1 / 1, then .18/.19 / sqrt(.001809/.001999), then
# .2420412/.271 / sqrt(.0024478507/.002997001). AdamW: also 0.1 % of the weight off at each step.
BY_HAND = {
    "sgd": [0.9, 0.81, 0.729],
    "momentum": [0.9, 0.72, 0.486],
    "nesterov": [0.81, 0.5751, 0.327321],
    "adam": [0.900000001, 0.800412230, 0.701586275],
    "adamw": [0.899000001, 0.798519028, 0.698911185],
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_three_steps_on_a_quadratic_by_hand(kind):
    one = np.ones(1)
    got = descend(kind, one, one, 0 * one, 3)
    np.testing.assert_allclose(got[:, 0], BY_HAND[kind], rtol=0, atol=1e-9)


@kinds
def test_ten_steps_on_quadratics_agree_with_plain_numpy(kind, rng):
    a, c, p = rng.uniform(0.5, 2, (3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    np.testing.assert_allclose(descend(kind, p, a, c, 10), plain(kind, p, a, c, 10), rtol=1e-12,
                               atol=1e-14)


@kinds
def test_float32_stays_float32_and_agrees_to_its_precision(kind, rng):
    a, c, p = (rng.uniform(0.5, 2, 5).astype("f") for _ in range(3))
    got = descend(kind, p, a, c, 10)
    assert got.dtype == "float32"
    np.testing.assert_allclose(got, plain(kind, p, a, c, 10), rtol=1e-5, atol=1e-6)


@kinds
def test_numpy_numbers_as_settings_change_no_dtype(kind):
    p = parameter(np.ones(3, "f"))
    optimizer = make(kind, [p], lr=np.float64(0.1), weight_decay=np.float64(0.1))
    step(optimizer, np.ones(3, "f"))
    assert p.dtype == "float32"
    assert all(a.dtype == "float32" for state in optimizer.state for a in state)


@kinds
def test_parameters_of_two_dtypes_and_one_size(kind, rng):
    start, g = rng.normal(size=7), rng.normal(size=7)
    alone, single, double = parameter(start), parameter(start.astype("f")), parameter(start)
    step(make(kind, [alone]), g)
    step(make(kind, [single, double]), g.astype("f"), g)
    assert (single.dtype, double.dtype) == ("float32", "float64")
    assert (to_numpy(alone) == to_numpy(double)).all()


# --- blocks, threads, memory order ----------------------------------------------------------------

SHAPES = [(5 * optim.BLOCK + 17,), (3,), (), (300, 301), (optim.BLOCK,)]


def after_three_steps(kind, order="C"):
    draw = np.random.default_rng(1)
    params = [parameter(draw.normal(size=s).astype("f")) for s in SHAPES]
    optimizer = make(kind, params)
    for p in params:
        p.data = xp.asarray(np.array(to_numpy(p), order=order))
    for _ in range(3):
        step(optimizer, *[np.array(draw.normal(size=s).astype("f"), order=order) for s in SHAPES])
    return [to_numpy(p) for p in params] + [to_numpy(a) for state in optimizer.state for a in state]


def watch_updates(monkeypatch, kind):
    """A list that receives the thread and the number of elements of each update of a block."""
    seen, make_update = [], KINDS[kind][0].update

    def watched(self, lr):
        update = make_update(self, lr)
        return lambda p, *rest: (seen.append((threading.get_ident(), p.size)), update(p, *rest))
    monkeypatch.setattr(KINDS[kind][0], "update", watched)
    return seen


@kinds
@pytest.mark.host_only(reason="only the CPU works in blocks and threads")
def test_two_threads_and_blocks_give_the_same_bits_as_one(kind, monkeypatch):
    monkeypatch.setattr(blocks, "CPUS", 2)
    seen = watch_updates(monkeypatch, kind)
    in_two = after_three_steps(kind)
    threads, sizes = zip(*seen)
    assert len(set(threads)) == 2 and max(sizes) == optim.BLOCK
    monkeypatch.setattr(blocks, "CPUS", 1)
    monkeypatch.setattr(optim, "BLOCK", 1 << 30)
    seen.clear()
    for a, b in zip(in_two, after_three_steps(kind)):
        assert (a == b).all()
    threads, sizes = zip(*seen)
    assert len(set(threads)) == 1 and max(sizes) == 5 * (1 << 16) + 17


def test_beside_the_cpu_a_parameter_is_updated_whole(monkeypatch):
    """On a GPU each block would cost its own kernel launches."""
    seen = watch_updates(monkeypatch, "adam")
    after_three_steps("adam")
    blocks = 6 + 1 + 1 + 2 + 1 if xp.__name__ == "numpy" else len(SHAPES)
    assert len(seen) == 3 * blocks


@kinds
def test_memory_order_of_parameters_and_gradients_does_not_matter(kind):
    for a, b in zip(after_three_steps(kind), after_three_steps(kind, order="F")):
        assert (a == b).all()


def test_a_parameter_that_is_a_view_of_every_second_element():
    p, g = parameter(np.zeros(10, "f")), np.arange(20.0, dtype="f")
    p.data = xp.zeros(20, dtype="float32")[::2]
    p.grad = xp.asarray(g)[::2]
    SGD([p], lr=1.0).step()
    np.testing.assert_array_equal(to_numpy(p), -g[::2])


# --- which parameters -----------------------------------------------------------------------------

@kinds
def test_a_parameter_without_gradient_is_left_alone(kind):
    p, q = parameter(np.ones(3)), parameter(np.ones(2))
    optimizer = make(kind, [p, q])
    step(optimizer, np.ones(3), None)
    assert (to_numpy(q) == 1).all() and (to_numpy(p) != 1).all()
    assert all((to_numpy(a) == 0).all() for a in optimizer.state[1])
    optimizer.zero_grad()
    assert p.grad is None


def test_t_counts_steps_in_which_a_parameter_had_no_gradient():
    p, q = parameter(np.ones(1)), parameter(np.ones(1))
    optimizer = Adam([p, q], lr=0.1, betas=(0.9, 0.99))
    step(optimizer, np.ones(1), None)
    step(optimizer, np.ones(1), np.ones(1))
    assert optimizer.t == 2
    ratio = (0.1 / (1 - 0.9 ** 2)) / np.sqrt(0.01 / (1 - 0.99 ** 2))
    assert q.item() == pytest.approx(1 - 0.1 * ratio)


def test_parameters_from_a_generator_and_given_twice_are_updated_once():
    p, q = parameter(np.ones(2)), parameter(np.ones(3))
    optimizer = SGD((x for x in [p, q, p]), lr=0.25)
    for _ in range(2):
        step(optimizer, np.ones(2), np.ones(3))
    assert to_numpy(p).tolist() == [0.5] * 2 and to_numpy(q).tolist() == [0.5] * 3


def test_one_tensor_counts_as_a_list_of_one():
    p = parameter(np.ones(2))
    step(SGD(p, lr=0.25), np.ones(2))
    assert to_numpy(p).tolist() == [0.75] * 2


def test_a_gradient_of_another_shape_is_refused_before_anything_changes():
    p, q = parameter(np.ones(2)), parameter(np.ones(3))
    optimizer = SGD([p, q], lr=0.1)
    with pytest.raises(ValueError, match=r"gradient of shape \(2,\) for a parameter of \(3,\)"):
        step(optimizer, np.ones(2), np.ones(2))
    assert optimizer.t == 0 and (to_numpy(p) == 1).all()


# --- saving and going on --------------------------------------------------------------------------

@kinds
def test_saved_and_loaded_it_goes_on_bit_for_bit(kind, rng):
    start, gs = rng.normal(size=(2, 3)).astype("f"), rng.normal(size=(6, 2, 3)).astype("f")
    p = parameter(start)
    whole = make(kind, [p])
    for g in gs[:3]:
        step(whole, g)
    q, saved = parameter(to_numpy(p)), whole.state_dict()
    for g in gs[3:]:
        step(whole, g)                              # must not reach into `saved`
    resumed = make(kind, [q], lr=7.0)
    resumed.load_state_dict(saved)
    assert resumed.lr == 0.1
    for g in gs[3:]:
        step(resumed, g)
    assert (to_numpy(p) == to_numpy(q)).all()
    for name, a in whole.state_dict().items():
        assert isinstance(a, np.ndarray) and (a == resumed.state_dict()[name]).all()


@pytest.mark.parametrize("change, named", [
    (lambda s: s.pop("m.0"), "m.0"), (lambda s: s.update(extra=np.ones(1)), "extra"),
    (lambda s: s.update({"v.1": np.ones(9)}), "v.1"), (lambda s: s.pop("t"), "t")])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, named):
    optimizer = Adam([parameter(np.ones(2)), parameter(np.ones(3))], lr=0.1)
    step(optimizer, np.ones(2), np.ones(3))
    before, state = optimizer.state_dict(), optimizer.state_dict()
    state["t"], state["m.1"] = np.array(5), np.zeros(3)
    change(state)
    with pytest.raises(ValueError, match=f"state of this Adam: {named} missing, unexpected"):
        optimizer.load_state_dict(state)
    assert all((a == before[name]).all() for name, a in optimizer.state_dict().items())


# --- the step size --------------------------------------------------------------------------------

def test_lr_may_be_changed_between_steps():
    p = parameter(np.zeros(1))
    optimizer = SGD([p], lr=1.0)
    step(optimizer, np.ones(1))
    optimizer.lr = 0.5
    step(optimizer, np.ones(1))
    assert p.item() == -1.5 and optimizer.state_dict()["lr"] == 0.5


def test_lr_may_be_a_schedule_of_t():
    p, seen = parameter(np.zeros(1)), []

    def schedule(t):
        seen.append(t)
        return np.float64(1 / t)
    optimizer = SGD([p], lr=schedule)
    for _ in range(3):
        step(optimizer, np.ones(1))
    assert seen == [1, 2, 3] and p.item() == pytest.approx(-(1 + 1 / 2 + 1 / 3))
    resumed = SGD([parameter(np.zeros(1))], lr=schedule)
    resumed.load_state_dict(optimizer.state_dict())
    step(resumed, np.ones(1))
    assert seen[-1] == 4 and "lr" not in resumed.state_dict()


def test_cosine_rises_in_a_line_and_falls_along_half_a_cosine():
    rate = cosine(1e-3, 110, warmup=10, last=1e-4)
    np.testing.assert_allclose([rate(t) for t in (1, 5, 10, 11)], [1e-4, 5e-4, 1e-3, 1e-3])
    np.testing.assert_allclose([rate(36), rate(61), rate(86)],
                               5.5e-4 + 4.5e-4 * np.cos(np.pi * np.array([0.25, 0.5, 0.75])))
    assert rate(111) == rate(10_000) == pytest.approx(1e-4)
    assert cosine(0.1, 4)(1) == 0.1
    with pytest.raises(ValueError, match="warmup is 5 of 5 steps"):
        cosine(0.1, 5, warmup=5)


def test_step_decay_is_a_staircase_and_exponential_a_slope_through_it():
    stairs, slope = step_decay(0.1, 10, 0.5), exponential(0.1, 10, 0.5)
    np.testing.assert_allclose([stairs(t) for t in (1, 10, 11, 20, 21)],
                               [0.1, 0.1, 0.05, 0.05, 0.025])
    np.testing.assert_allclose([slope(t) for t in (1, 6, 11, 21)],
                               [0.1, 0.1 * 0.5 ** 0.5, 0.05, 0.025])


def test_warmup_leads_into_any_schedule():
    rate = warmup(step_decay(0.1, 5, 0.5), 10)
    np.testing.assert_allclose([rate(t) for t in (1, 5, 10, 11)], [0.01, 0.05, 0.05, 0.025])
    assert warmup(0.3, 3)(2) == pytest.approx(0.2) and warmup(0.3, 3)(9) == 0.3


# --- weight averages ------------------------------------------------------------------------------

def averaging(decay=0.9):
    p = parameter(np.array([1.0, -2.0]))
    return p, EMA(SGD([p], lr=0.5), decay)


def test_averages_are_the_formula_and_serve_inside_their_block_only():
    p, ema = averaging()
    expected = to_numpy(p).copy()
    for t in range(1, 101):
        step(ema, np.array([0.1, -0.3]) * t)
        d = min(0.9, (1 + t) / (10 + t))
        expected = d * expected + (1 - d) * to_numpy(p)
    own = to_numpy(p).copy()
    with pytest.raises(KeyError), ema.averaged():
        np.testing.assert_allclose(to_numpy(p), expected, rtol=1e-12)
        p.data *= 0                                     # what is done to p there stays there
        raise KeyError
    assert (to_numpy(p) == own).all() and abs(own - expected).min() > 1
    np.testing.assert_allclose(to_numpy(ema.averages[0]), expected, rtol=1e-12)


def test_averages_go_on_from_a_saved_state_bit_for_bit():
    (p, ema), (q, other) = averaging(), averaging()
    for i in range(6):
        step(ema, np.array([1.0, 2.0]))
        if i == 2:
            state, q.data = ema.state_dict(), p.data.copy()
            other.load_state_dict(state)
        if i > 2:
            step(other, np.array([1.0, 2.0]))
    assert (q.data == p.data).all() and (other.averages[0] == ema.averages[0]).all()
    with pytest.raises(ValueError, match="holds 0 averages; needs 1"):
        ema.load_state_dict(ema.optimizer.state_dict())


def test_averages_keep_float32():
    p = parameter(np.ones(2, "f"))
    ema = EMA(Adam([p]), 0.5)
    step(ema, np.ones(2, "f"))
    with ema.averaged():
        assert p.dtype == np.float32


# --- denormal numbers -----------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["momentum", "adam", "adamw"])
def test_the_flush_of_tiny_moments_changes_no_result_and_leaves_no_denormals(kind, monkeypatch):
    g, changes = np.array([1, 1e-8, 1e-12, 1e-18, -1e-22, 0], "f"), {}
    if "adam" in kind:
        changes = dict(betas=(0.9, 0.9))
    ends = []
    for every in (8, 10 ** 9):
        monkeypatch.setattr(optim, "FLUSH_EVERY", every)
        p = parameter(np.zeros(6, "f"))
        optimizer = make(kind, [p], **changes)
        for t in range(1000):
            step(optimizer, g if t < 5 else 0 * g)
        ends.append((to_numpy(p), np.concatenate([to_numpy(a) for a in optimizer.state[0]])))
    (p, flushed), (q, kept) = ends
    np.testing.assert_allclose(p, q, rtol=0, atol=1e-20)
    tiny = np.finfo("f").tiny
    assert ((kept != 0) & (abs(kept) < tiny)).any(), "this test must reach denormals"
    assert not ((flushed != 0) & (abs(flushed) < tiny)).any()


def test_the_flush_leaves_float64_what_float32_could_not_hold(monkeypatch):
    monkeypatch.setattr(optim, "FLUSH_EVERY", 1)
    optimizer = SGD([parameter(np.zeros(3))], lr=1.0, momentum=0.5)
    step(optimizer, np.array([1e-60, 1e-310, np.nan]))
    np.testing.assert_array_equal(to_numpy(optimizer.state[0][0]), [1e-60, 0, np.nan])


# --- clipping -------------------------------------------------------------------------------------

def test_clip_grad_norm_scales_all_gradients_together():
    p, q, r, none = (parameter(np.ones(s)) for s in ((2,), (), (1, 2), (3,)))
    p.grad, r.grad = xp.asarray([2.0, 0.0]), xp.asarray([[0.0, 6.0]])
    q.grad = xp.asarray([3.0]).sum()                            # on NumPy a number, not an array
    assert clip_grad_norm([p, q, r, none], 14) == pytest.approx(7)
    assert to_numpy(r.grad).tolist() == [[0.0, 6.0]]            # 7 is below 14: as they were
    assert clip_grad_norm((x for x in [p, q, r, none]), 3.5) == pytest.approx(7)
    for x, g in (p, [1, 0]), (q, 1.5), (r, [[0, 3]]):
        np.testing.assert_allclose(to_numpy(x.grad), g)
    assert none.grad is None and clip_grad_norm([none], 1.0) == 0
    assert clip_grad_norm(r, 1.5) == pytest.approx(3) and to_numpy(r.grad).tolist() == [[0, 1.5]]


def test_clip_grad_norm_keeps_float32():
    p = parameter(np.ones(2, "f"))
    p.grad = xp.asarray(np.full(2, 10, "f"))
    clip_grad_norm([p], 1.0)
    assert p.grad.dtype == "float32"


# --- mistakes -------------------------------------------------------------------------------------

def leaves():
    return [parameter(np.ones(2))]


@pytest.mark.parametrize("mistake, error, message", [
    (lambda: SGD([], lr=0.1), ValueError, "SGD: given no parameters"),
    (lambda: SGD([p * 2 for p in leaves()], lr=0.1), TypeError, "SGD: parameters must be leaf"),
    (lambda: SGD([tg.tensor([1.0])], lr=0.1), TypeError, "with requires_grad=True"),
    (lambda: Adam([np.ones(3)]), TypeError, "Adam: parameters must be leaf"),
    (lambda: AdamW(Linear(2, 3)), TypeError, r"AdamW: .* pass model.parameters\(\)"),
    (lambda: SGD(Linear(2, 3).parameters, lr=0.1), TypeError, r"pass model.parameters\(\)"),
    (lambda: SGD(leaves(), lr=0), ValueError, "SGD: lr is 0; needs a number above 0"),
    (lambda: SGD(leaves(), lr=-0.1), ValueError, "lr is -0.1"),
    (lambda: Adam(leaves(), lr=float("nan")), ValueError, "Adam: lr is nan"),
    (lambda: SGD(leaves(), lr=0.1, momentum=1.0), ValueError, "needs 0 <= momentum < 1"),
    (lambda: SGD(leaves(), lr=0.1, momentum=-0.5), ValueError, "momentum is -0.5"),
    (lambda: SGD(leaves(), lr=0.1, nesterov=True), ValueError, "nesterov needs a momentum above 0"),
    (lambda: SGD(leaves(), lr=0.1, weight_decay=-1), ValueError, "SGD: weight_decay is -1"),
    (lambda: Adam(leaves(), betas=(0.9, 1.0)), ValueError, r"Adam: betas are \(0.9, 1.0\)"),
    (lambda: Adam(leaves(), betas=(-0.1, 0.9)), ValueError, r"needs two, 0 <= beta < 1"),
    (lambda: AdamW(leaves(), betas=(0.9,)), ValueError, "AdamW: betas are"),
    (lambda: Adam(leaves(), eps=0), ValueError, "Adam: eps is 0; needs a number above 0"),
    (lambda: EMA(SGD(leaves(), lr=0.1), 1.0), ValueError, "EMA: decay is 1.0; needs 0 <= decay"),
    (lambda: step_decay(0.1, 0), ValueError, "step_decay: every is 0 and factor 0.1"),
    (lambda: exponential(0.1, 9, 2), ValueError, "exponential: every is 9 and factor 2"),
    (lambda: warmup(0.1, 0), ValueError, "warmup: steps is 0; needs at least 1"),
    (lambda: SGD(leaves(), lr="a"), ValueError, "SGD: lr is 'a'; needs a number"),
    (lambda: SGD(leaves(), lr=0.1, weight_decay=None), ValueError, "weight_decay is None; needs"),
    (lambda: Adam(leaves(), betas=0.9), ValueError, "Adam: betas are 0.9; needs two"),
    (lambda: EMA(SGD(leaves(), lr=0.1), "a"), ValueError, "EMA: decay is 'a'; needs 0 <= decay"),
    *[(lambda lr=lr: SGD(leaves(), cosine(lr, 9)).step(), ValueError,
       f"step: lr is {shown} at step 1; needs a number from 0 up")
      for lr, shown in ((-0.1, -0.1), (np.inf, "inf"), (np.nan, "nan"))],
    (lambda: clip_grad_norm(leaves(), 0), ValueError, "clip_grad_norm: max_norm is 0"),
])
def test_mistakes_are_told_in_one_sentence(mistake, error, message):
    with pytest.raises(error, match=message) as raised:
        mistake()
    assert "\n" not in str(raised.value)


def test_an_optimizer_without_an_update_says_so():
    optimizer = Optimizer(leaves(), 0.1, 0.0)
    with pytest.raises(NotImplementedError):
        step(optimizer, np.ones(2))
