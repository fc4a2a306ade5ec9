"""The command ``archrank proxies``: lists, prints; no logic."""

from __future__ import annotations

import json

from .console import errors
from .options import AsJson


def proxies(as_json: AsJson = False) -> None:
    """List all proxies, and the scores of whole populations, with their facts."""
    with errors():
        from dataclasses import asdict

        from ..proxies import list as all_proxies
        from ..ranking.aggregation import POPULATION

        shown = (
            "name version summary formula reference higher_is_better needs options mode "
            "initialisation dtype deterministic labels cost"
        ).split()
        facts = [{name: getattr(p, name) for name in shown} for p in all_proxies()]
        populations = [asdict(population) for population in POPULATION.values()]
        if as_json:
            print(json.dumps({"proxies": facts, "populations": populations}, indent=2))
            return
        for p in facts:
            better = "higher" if p["higher_is_better"] else "lower"
            print(f"{p['name']}: {p['summary']}")
            print(f"    {p['formula']}")
            print(f"    {better} is better; cost: {p['cost']}; {p['reference']}")
            if p["options"]:
                options = ",".join(f"{name}={value}" for name, value in p["options"].items())
                print(f"    options: {p['name']}[{options}]")
        print("\nauto, the default of archrank rank --by, is the pretrained predictor.")
        print("Scores of whole populations, for archrank rank --by:")
        for q in populations:
            print(f"{q['name']}: {q['summary']}")
            print(f"    {q['formula']}")
            print(f"    of {', '.join(q['proxies'])}; {q['reference']}")
