# make demo   install into .venv, rank untrained networks, compare with their measured accuracy
# make test   install the test extra too, run every test, the slow ones included
# make test-lowest  most tests that are not slow, with the lowest versions that are allowed
# make quick  the tests that are not slow
# make lint   ruff and mypy
# make docs   install the docs extra too, build docs/ and the reference into build/site
# Each works in a fresh clone with Python 3.11+, pip and make.

PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
LOWEST ?= .venv-lowest
LOWEST_TESTS := tests/graphs tests/scoring tests/ranking tests/cli tests/costs tests/predictors/test_contract.py tests/predictors/test_predicting.py
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-lowest quick lint docs clean

demo: .venv/demo.stamp
	@echo "== ranking 100 untrained networks of the embedded benchmark (CPU is enough)"
	$(BIN)/python examples/embedded_benchmark.py --networks 100 --out demo
	@echo "== ranking 40 well-known networks from their graphs alone"
	$(BIN)/python examples/real_networks.py --out demo
	@echo "== accuracy and speed together, on two devices that are not here"
	$(BIN)/python examples/fast_networks.py --out demo

test: .venv/test.stamp
	@echo "== running all tests, the slow ones included, on $(JOBS) cores"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal --durations=25

quick: .venv/test.stamp
	@echo "== running the tests that are not slow, on $(JOBS) cores"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses $(JOBS) --dist worksteal --durations=15

test-lowest:
	@echo "== testing with the lowest versions that pyproject.toml allows, in $(LOWEST)"
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python .ci/lowest.py data onnx optuna plots pymoo > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet -c $(LOWEST)/lowest.txt -e '.[data,onnx,optuna,plots,pymoo]' pytest hypothesis
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -m "not slow" $(LOWEST_TESTS)

lint: .venv/test.stamp
	@echo "== ruff, then mypy --strict on the package"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p .build && ln -sfn .. .build/archrank
	$(BIN)/mypy $(addprefix .build/archrank/,*.py benchmark cli costs data graphs predictors proxies ranking scoring search)

docs: .venv/docs.stamp
	@echo "== building the site into build/site; a broken link or reference fails"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/bin/python:
	@echo "== creating .venv with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing archrank with the extras [plots,zoo] (PyTorch is a large download)"
	$(PIP) -e '.[plots,zoo]'
	@touch $@

.venv/test.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing archrank with the extra [test]"
	$(PIP) -e '.[test]'
	@touch $@

.venv/docs.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing the extra [docs]"
	$(PIP) -e '.[docs]'
	@touch $@

clean:
	rm -rf .build build demo *.egg-info
