# %% [markdown]
# # Few labels
#
# Twenty networks were trained. How good are the other hundred?

# %%
import matplotlib.pyplot as plt
import pandas as pd

from archrank.data import space, table
from archrank.metrics import kendall
from archrank.predictors import ArchRank

digits, accuracy = space("digits"), table("digits").labels()
drawn = accuracy.sample(120, random_state=0)
known, asked = drawn[:20], drawn[20:]

# %%
predictor = ArchRank(space="digits").fit(list(known.index), known)
predicted, deviation = predictor.predict(list(asked.index), return_std=True)
low, high = predictor.interval(list(asked.index), coverage=0.9)
print(f"tau {kendall(predicted, asked):.2f} with the accuracy of 100 networks not seen")
print(f"{((low <= asked) & (asked <= high)).mean():.0%} of them within intervals of 90 %")

# %% [markdown]
# For comparison, the sizes, which need no labels:

# %%
graphs = [digits.graph(arch) for arch in asked.index]
for size in ("params", "flops"):
    print(f"{size}: tau {kendall([getattr(graph, size) for graph in graphs], asked):.2f}")

# %%
figure, axes = plt.subplots(figsize=(6, 4.5))
axes.errorbar(predicted, asked, xerr=deviation, fmt="o", alpha=0.5, markersize=4, elinewidth=0.6)
axes.set(xlabel="predicted accuracy (%)", ylabel="measured accuracy (%)")
figure

# %% [markdown]
# The weights of its members, chosen by cross-validation on the labels:

# %%
weights = pd.Series(predictor.report_["weights"], name="weight")
weights.sort_values(ascending=False).round(2).to_frame()

# %% [markdown]
# The probability that one network is better than another:

# %%
first, second = list(asked.index[:5]), list(asked.index[5:10])
predictor.better(first, second).round(2)
