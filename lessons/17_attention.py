"""Lesson 17: what if every letter could ask all letters before it?

A state handed from letter to letter must hold all that may ever matter. Attention looks it up
instead: each place t asks a question q_t, each earlier place s offers a key k_s and a value v_s:

    y_t = sum over s <= t of p_ts v_s,      p_t = softmax(q_t . k_s / sqrt(d)):  a weighted average

A Transformer is a stack of such layers, each with a small MLP on every place by itself.

Promise: attention by hand is tinygen's; every place sees all before it and none after; the memory
changes no logit by 1e-3; the Transformer ends within half a nat of the floor.
Changed since lesson 16: no state; every place is computed at once, and reaches every earlier one
- causal: the softmax runs over earlier places only (the mask)
- sampling keeps the keys and values of earlier places: the same numbers, computed once

    python lessons/17_attention.py                      about a minute on two cores
    python lessons/17_attention.py --data names.txt     any file with a name a line (no floor)

어텐션은 상태를 물려주는 대신 필요한 것을 찾아본다. 각 자리는 질문(쿼리) q를 던지고, 앞선 자리들의 열쇠(키) k와
맞는 만큼 값 v를 가져온다. 트랜스포머는 이런 층과 작은 신경망을 번갈아 쌓은 것이다. 표본을 뽑을 때는 앞선 k와 v를
기억해 둔다.
"""
# %% Attention in five lines of NumPy, and what the mask does
import numpy as np

import tinygen as tg
from tinygen import evaluation, nn, plotting
from tinygen.commands import lesson_options, one_sentence
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Words
from tinygen.datasets.text import Vocabulary, padded, read_names, split_names, unpadded
from tinygen.models.tractable.recurrent import RecurrentLM
from tinygen.models.tractable.transformer import Transformer
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("Attention, a small Transformer, and its memory.", ("words", "FILE.txt"))
rng = np.random.default_rng(args.seed)


def attention(q, k, v):
    """q, k, v (T, d) -> y (T, d), and the weights p (T, T)"""
    scores = q @ k.T / np.sqrt(q.shape[1])
    scores[np.triu_indices(len(q), 1)] = -np.inf            # place t may not ask places after it
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return p @ v, p


q, k, v = rng.normal(size=(3, 6, 4))
y, p = attention(q, k, v)
ours = tg.to_numpy(tg.attention(*(a[None, None] for a in (q, k, v)), np.triu(
    np.full((6, 6), -1e9), 1)))[0, 0]
print(f"each row of p adds up to {p.sum(1).round(6)[0]}, nothing above the diagonal: "
      f"{np.triu(p, 1).max():.0f}; tinygen.attention differs by {abs(y - ours).max():.0e}")

# %% A Transformer and a GRU on the same names
if args.data == "words":
    world, N = Words(), 2000 if args.quick else 20_000
    names, floor, new = world.sample(N, rng), world.entropy()[0], list(world.support)
    longest, new = max(map(len, new)) + 1, new[:: 200 if args.quick else 1]
    log_p = world.log_prob(new)
    weight = np.exp(log_p) / np.exp(log_p).sum()
else:
    with one_sentence():
        names, _, new = split_names(read_names(args.data))
    world, longest, log_p = None, max(map(len, names + new)) + 1, 0.0       # p_data is unknown
    weight = np.full(len(new), 1 / len(new))
with one_sentence():
    vocabulary = Vocabulary(world.alphabet if world else names + new, boundary=".")
    train, everything = padded(names, vocabulary)[1], padded(new, vocabulary)[1]
V = len(vocabulary)
models = {"GRU": RecurrentLM(V, nn.GRUCell, 24, 96),
          "Transformer": Transformer(V, longest, layers=2, heads=4, width=64, start=0, end=0)}
steps, histories, rows = args.steps or (10 if args.quick else 500), {}, []
for name, model in models.items():
    rate = cosine(1e-2 if name == "GRU" else 3e-3, steps, warmup=min(40, steps // 2))
    goals = [("nll", model.loss, Adam(model.parameters(), rate))]
    batches = Endless(train, min(128, len(train)), rng)
    histories[name] = fit(model, batches, steps, goals, report=Progress(name), clip=1.0)["nll"]
    with tg.no_grad():
        log_q = np.concatenate([tg.to_numpy(model.log_prob(everything[i:i + 500]))
                                for i in range(0, len(everything), 500)])
    drawn = unpadded(tg.to_numpy(model.sample(200)), vocabulary)
    rows.append([name, sum(w.size for w in model.parameters()), float(weight @ (log_p - log_q)),
                 np.mean([n in world.support for n in drawn]) if world else None,
                 " ".join(drawn[:3])])
print(f"floor H(p_data) {floor:.3f} nats per name" if world else
      f"{len(names)} names; p_data is unknown: nll on {len(new)} others, nats per name")
measure = "KL, nats" if world else "nll, nats"
print(evaluation.table(["model", "weights", measure, "possible", "samples"], rows))

# %% Who sees whom: every place every earlier one, at full strength from the first layer on
model = models["Transformer"]
ids = everything[:8, :12]
T = ids.shape[1]
strength = evaluation.dependency_map(model, np.eye(V, dtype="float32")[ids])
before = np.tri(T, k=-1, dtype=bool)
print(f"{(strength[~before] > 0).sum()} leaks, {(strength[before] == 0).sum()} dependencies dead")

# %% Memory: the same logits, each place computed once
memory, x = {}, everything[:64, :T]
with tg.no_grad():
    whole = tg.to_numpy(model(x))
    pieces = np.concatenate([tg.to_numpy(model(x[:, t:t + 1], memory)) for t in range(T)], 1)
print(f"logits with the memory differ by {abs(whole - pieces).max():.0e} from those without")

# %% Which earlier letters does a place ask? The first layer's weights of attention, for one name
block, name = model.blocks[0], "kimhayeon" if world else new[0]
with tg.no_grad():
    here = np.concatenate([[0], vocabulary.encode(name)])[None]
    h = model.token(here) + model.position[:here.shape[1]]
    q, k, v = (tg.to_numpy(a)[0].reshape(-1, 4, 16).swapaxes(0, 1)
               for a in tg.split(block.attention.qkv(block.norm1(h)), 3, axis=2))
heads = [attention(q[i], k[i], v[i])[1] for i in range(4)]

# %% The picture
fig, axes = plotting.figure(1, 5, (17, 3.8))
for i, (ax, w) in enumerate(zip(axes[0], heads)):
    ax.imshow(w, cmap="Blues", vmin=0, vmax=1)
    letters = list("." + name)
    ax.set_xticks(range(len(letters)), letters)
    ax.set_yticks(range(len(letters)), letters)
    ax.set(title=f"head {i + 1}: row asks column", xlabel="key: earlier letter", ylabel="question")
for label, losses in histories.items():
    plotting.curve(axes[0, 4], losses, label)
if world:
    plotting.floor_line(axes[0, 4], floor, "floor H(p_data)")
axes[0, 4].set(xlabel="step", ylabel="nll, nats per name", title="learning",
               ylim=(9.5, 18) if world else None)
axes[0, 4].legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "17_attention.png", args.show))

# %% The promise of this lesson
assert abs(y - ours).max() < 1e-12 and abs(whole - pieces).max() < 1e-3
assert not (strength[~before] > 0).any() and (strength[before] > 0).all()
assert args.quick or args.steps or not world or rows[1][2] < 0.5

# %% What we left out: tokens larger than letters, positions that are not learned, and scale.
# python -m tinygen.reproduce P10 trains one on plays. Exercises: ex16_attention, ex10_layer_norm.
