# make demo   install into .venv, rank the networks of examples/candidates.py
# make test   install the test extra too, run every test, the slow ones included
# make lint   ruff and mypy
# Each works in a fresh clone with Python 3.11+, pip and make.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint clean

demo: .venv/demo.stamp
	@mkdir -p demo
	@echo "== ranking the networks of examples/candidates.py (no training, CPU is enough)"
	$(BIN)/archrank rank examples/candidates.py --out demo/ranking.csv --plot demo/ranking.png
	@best=$$(sed -n 2p demo/ranking.csv | cut -d, -f2) && \
	echo "== drawing the graph of the best, $$best" && \
	$(BIN)/archrank graph examples/candidates.py:$$best --draw demo/best.svg
	@echo "== written: demo/ranking.csv, demo/ranking.png, demo/best.svg"

test: .venv/test.stamp
	@echo "== running all tests, the slow ones included"
	$(BIN)/python -m pytest

lint: .venv/test.stamp
	@echo "== ruff, then mypy --strict on the package"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p .build && ln -sfn .. .build/archrank
	$(BIN)/mypy .build/archrank/*.py .build/archrank/data .build/archrank/graphs .build/archrank/proxies

.venv/bin/python:
	@echo "== creating .venv with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing archrank with the extra [plots] (PyTorch is a large download)"
	$(PIP) -e '.[plots]'
	@touch $@

.venv/test.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing archrank with the extra [test]"
	$(PIP) -e '.[test]'
	@touch $@

clean:
	rm -rf .build build demo *.egg-info
