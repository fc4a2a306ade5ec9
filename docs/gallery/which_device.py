# %% [markdown]
# # Which device?
#
# This example predicts latency on devices that you do not have, and memory, from graphs alone. No
# network is run.

# %%
import archrank
from archrank.costs import estimate

names = "resnet18 resnet50 mobilenet_v3_large efficientnet_b0 vit_b_16 swin_t".split()
there = estimate(
    [f"torchvision:{name}" for name in names],
    on=("rtx4090", "rtx3090", "i9-10940x-compiled"),
)
there[["name", "device", "batch_size", "ms", "low_ms", "high_ms"]].round(1)

# %% [markdown]
# The same side by side, in milliseconds per step:

# %%
times = there.pivot_table(index="name", columns="device", values="ms")
times.round(1).sort_values("rtx4090")

# %% [markdown]
# The memory of a forward pass and of a training step:

# %%
on_one = there[there["device"] == "rtx4090"].set_index("name")
on_one[["memory_mb", "train_memory_mb"]].round(0)

# %% [markdown]
# The networks that run a batch of 64 within 40 ms on an RTX 4090 with a probability of 90 %, the
# most accurate first:

# %%
ranking = archrank.rank(
    [f"torchvision:{name}" for name in names],
    level="graphs",
    speed="rtx4090@64",
    limits={"latency": 40},
    confidence=0.9,
    progress=False,
)
ranking
