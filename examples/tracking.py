"""Send results to an experiment tracker: TensorBoard, MLflow, or Weights & Biases.

``rank``, ``benchmark.run`` and ``Searcher`` take a ``callback``, a function that receives each
result (``archrank.basics.Finished``: number, name, values, failures) as soon as it is known. Each
function below makes one. Run one of

``python examples/tracking.py tensorboard``, then ``tensorboard --logdir tracked``
``python examples/tracking.py mlflow``, then ``mlflow ui --backend-store-uri sqlite:///tracked.db``
``python examples/tracking.py wandb``, then ``wandb sync tracked/wandb/offline-run-*``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import archrank
from archrank.basics import Callback, Finished
from archrank.data import space


@contextmanager
def tensorboard(folder: str = "tracked") -> Iterator[Callback]:
    """Write values as scalars, one step a network, and failures as texts (needs tensorboard)."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:

        def write(result: Finished) -> None:
            for name, value in result.values.items():
                writer.add_scalar(name, value, result.number)
            for name, reason in result.failures.items():
                writer.add_text(f"failed/{name}", f"{result.name}: {reason}", result.number)
            writer.add_text("network", result.name, result.number)

        yield write


@contextmanager
def mlflow(folder: str = "tracked") -> Iterator[Callback]:
    """Log values as metrics, and a table of everything at the end (needs mlflow)."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}.db")
    with mlflow.start_run(run_name="archrank"):
        rows: list[dict[str, object]] = []

        def write(result: Finished) -> None:
            mlflow.log_metrics(dict(result.values), step=result.number)
            rows.append({"name": result.name, **result.values, "failures": str(result.failures)})

        yield write
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
        mlflow.log_table(columns, "results.json")


@contextmanager
def wandb(folder: str = "tracked") -> Iterator[Callback]:
    """Log values of each network as a step, without a connection (needs wandb)."""
    import wandb

    with wandb.init(project="archrank", dir=folder, mode="offline") as run:

        def write(result: Finished) -> None:
            named = {"network": result.name, "failures": str(dict(result.failures))}
            run.log({**named, **result.values}, step=result.number)

        yield write


TRACKERS = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tracker", choices=TRACKERS)
    parser.add_argument("--networks", type=int, default=20)
    arguments = parser.parse_args()
    names = [f"digits:{arch}" for arch in space("digits").sample(arguments.networks, seed=0)]
    with TRACKERS[arguments.tracker]() as callback:
        print(archrank.rank(names, by="naswot,params", callback=callback))


if __name__ == "__main__":
    main()
