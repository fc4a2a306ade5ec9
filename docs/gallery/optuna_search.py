# %% [markdown]
# # Search with Optuna
#
# This study uses a sampler that proposes architectures with a predictor. The objective is a formula
# here; replace it by your own training.

# %%
import optuna
import pandas as pd

from archrank.data import space
from archrank.search import PredictorSampler, Surrogate, suggest

optuna.logging.set_verbosity(optuna.logging.WARNING)
digits = space("digits")


def objective(trial: optuna.Trial) -> float:
    graph = digits.graph(suggest(trial, digits))
    return 1 - (1 + graph.params / 5000) ** -0.5 + 0.01 * min(graph.depth, 20)


# %%
samplers = {
    "by predictor": PredictorSampler(
        "digits", Surrogate(("statistics", "code")), start=8, candidates=60, seed=0
    ),
    "at random": optuna.samplers.RandomSampler(seed=0),
}
best = {}
for name, sampler in samplers.items():
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=24)
    best[name] = pd.Series([trial.value for trial in study.trials]).cummax()

# %% [markdown]
# The best value so far:

# %%
pd.DataFrame(best).iloc[[0, 3, 7, 11, 15, 19, 23]].round(3)

# %%
axes = pd.DataFrame(best).plot(drawstyle="steps-post", xlabel="trials", ylabel="best so far")
axes.figure
