# %% [markdown]
# # Benchmark my proxy
#
# A proxy is a function from signals to a number. Once registered, it works like any other proxy
# in scoring, ranking and benchmarks. This one is the share of weights whose gradient has the sign
# of the weight.

# %%
from torch import Tensor

from archrank import benchmark
from archrank.proxies import Measure, register
from archrank.proxies.registry import total_of


@register(
    "sign_agreement",
    summary="Share of weights that a step makes smaller.",
    formula="sum_l mean(sign(W_l) = sign(g_l))",
    reference="an example",
    cost="1 forward + 1 backward",
    labels=True,
)
def sign_agreement(weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> Measure:
    return total_of(
        {n: float((weights[n].sign() == g.sign()).float().mean()) for n, g in gradients.items()}
    )


# %% [markdown]
# The benchmark scores forty networks of the embedded benchmark, each of which was trained three
# times. Every score is kept in the store, so a call that was stopped can be repeated to continue
# it.

# %%
proxies = ["sign_agreement", "params", "flops", "near", "synflow"]
benchmark.run("mine.sqlite", "digits", proxies=proxies, sample=40, batch_size=16, progress=False)
judged = benchmark.judge("mine.sqlite", resamples=200)

# %% [markdown]
# The table shows Kendall's tau with the measured accuracy and its 95 % interval. The proxy adds
# up over layers, so it is no better than a size. The noise ceiling says how well two trainings
# agree.

# %%
shown = judged.table[["name", "kind", "tau", "tau_low", "tau_high"]]
shown.sort_values("tau", ascending=False).head(12).round(3)

# %% [markdown]
# `benchmark.write_report("mine.sqlite", "mine.html")` writes the whole report as a page.
