"""Lesson 32: does the branch of the taxonomy say what a model will be good at?

Every lesson so far had one family and a world that suits it. Here each branch gets the same
pictures, the same split and the same few seconds, and is asked all the questions at once:

    density          nats above the floor: exact, a bound, or none at all
    generation       what the true p_data says of its samples, how many of the 540 templates they
                     find, and how soon there are 1000 of them
    representation   what one linear layer reads off its codes

`tinygen.compare` runs each model and seed in a process of its own. What differs between two models
by less than between two seeds of one model is no difference: so each number comes with its spread.

Promise: the GAN has no density, and finds fewer than 100 templates; no model is 0.5 nats below the
floor; none is best at everything; MADE takes over 10 times as long to sample as the VAE.
Changed since lesson 31: nothing is new but the comparison
    python lessons/32_taxonomy.py       about a minute; run again, it trains nothing twice
    python -m tinygen.compare           every family, 15 minutes of one core's time

같은 자료, 같은 분할, 같은 학습 시간을 주고 세 갈래를 한 표에서 견준다. 밀도 추정, 표본 생성, 표현 학습에서 으뜸인
모델이 서로 다르다. 시드를 바꿔 얻은 흩어짐보다 작은 차이는 차이라고 하지 않는다.
"""
# %% The contestants: the data themselves, two tractable, one approximate, one implicit
import numpy as np

from tinygen import evaluation, plotting
from tinygen.commands import lesson_options
from tinygen.compare import compare, show

args = lesson_options("One model of each branch, compared on every question.")
MODELS = ("data", "made", "bernoullis", "vae", "gan")
budget = {"steps": 3} if args.quick else {"steps": args.steps} if args.steps else {"seconds": 2.5}
seeds = range(args.seed, args.seed + (1 if args.quick else 2))
lines = compare(["glyphs"], MODELS, seeds, **budget, quick=args.quick, progress=show,
                out=f"{args.out}/32_taxonomy", command="python lessons/32_taxonomy.py")

# %% The table: mean over seeds, and how far the seeds differ
QUESTIONS = {"KL": ("nats above the floor", "the least"),
             "ln p_data(samples)": ("ln p_data of samples, nats", "the most"),
             "found": ("templates found by 500", "the most"),
             "s per 1000": ("s for 1000 samples", "the least"),
             "digit": ("digits read off, %", "the most")}


def answer(line, question):
    """(mean, spread), or None"""
    return line["probes"].get(question) if question == "digit" else line[question]


def shown(value):
    if value is None:
        return "-"
    return f"{value[0]:.4g}" + (f" ±{value[1]:.2g}" if value[1] is not None else "")


print(evaluation.table(
    ["branch", "model", "density", *(title for title, _ in QUESTIONS.values())],
    [[line["branch"], line["model"], line["kind"], *(shown(answer(line, q)) for q in QUESTIONS)]
     for line in lines]))
print(f"every number, and more samples: {args.out}/32_taxonomy/table.html")
for line in lines:
    if line["failed"]:
        print(f"{line['model']} failed: {line['failed']}")

# %% Who is best at what, and is that more than chance?
models, best = [line for line in lines if line["branch"] != "data" and line["seeds"]], {}
for question, (title, wanted) in QUESTIONS.items():
    sign = 1 if wanted == "the least" else -1
    ranked = sorted((sign * answer(line, question)[0], answer(line, question)[1] or 0,
                     line["model"]) for line in models if answer(line, question))
    (a, spread_a, best[question]), (b, spread_b, second) = ranked[:2]
    spread = np.hypot(spread_a, spread_b)
    print(f"{wanted} {title}: {best[question]}, before {second} by {b - a:.2g}, spread "
          f"{spread:.2g}" + ("" if b - a > 2 * spread else ": no difference"))

# %% The picture: samples above, answers below
fig, axes = plotting.figure(2, len(lines), (3 * len(lines), 5.6))
for ax, line in zip(axes[0], lines):
    ax.set_axis_off()
    if line["seeds"]:
        plotting.images(ax, line["samples"][:24], (16, 16), columns=6, title=line["model"],
                        color=plotting.BRANCH_COLORS[line["branch"]])
for ax in axes[1]:
    ax.remove()
grid = axes[1, 0].get_gridspec()
names = [line["model"] for line in lines]
for i, (question, (title, wanted)) in enumerate(QUESTIONS.items()):
    ax = fig.add_subplot(grid[1, i])
    for k, line in enumerate(lines):
        value = answer(line, question)
        if value:
            ax.barh(k, value[0], xerr=value[1], color=plotting.BRANCH_COLORS[line["branch"]])
        else:
            ax.annotate("none", (0.03, k), xycoords=("axes fraction", "data"), va="center")
    ax.set_yticks(range(len(lines)), names if i == 0 else [""] * len(lines), fontsize=8)
    ax.set(xlabel=title, title=f"{wanted} is best", ylim=(len(lines) - 0.5, -0.5))
    if question == "s per 1000":
        ax.set_xscale("log")
for branch, color in plotting.BRANCH_COLORS.items():
    axes[0, 0].barh(0, 0, color=color, label=branch)
fig.legend(loc="outside lower center", ncols=4, title="branch; thin lines: spread between seeds")
print("figure:", plotting.save(fig, args.out, "32_taxonomy.png", args.show))

# %% The promise of this lesson
by_name = {line["key"]: line for line in lines}
assert by_name["gan"]["nats"] is None, "an implicit model has no density"
assert args.quick or args.steps or by_name["gan"]["found"][0] < 100, "the plain GAN collapses"
assert all(line["KL"][0] > -0.5 for line in models if line["KL"]), "below the floor: a leak"
assert args.quick or args.steps or len(set(best.values())) > 1, "one model is best at everything"
assert args.quick or args.steps or (
    by_name["made"]["s per 1000"][0] > 10 * by_name["vae"]["s per 1000"][0]), "D passes against one"

# %% What we left out: the other families and worlds, unfamiliar inputs, the other factors
# (python -m tinygen.compare); and longer budgets, in which the order changes: tests/README.md has
# what each family reaches when it is given minutes. Exercises: all of them.
