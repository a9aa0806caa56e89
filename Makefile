# `make serve` is all a newcomer needs; every target installs what it needs, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRA ?= cpu
BENCH ?= engine

.PHONY: install serve test lint bench load evaluate soundness mutants train test-docker clean
install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$(EXTRA)]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$(EXTRA),research,dev]'
	touch $@

serve: install  ## the demo: the digits gallery on http://127.0.0.1:8000
	$(BIN)/retrievalguard serve --demo

test: $(VENV)/.installed-dev  ## the whole suite, with a real server and a real Redis
	$(BIN)/pytest -n 2 --dist loadgroup

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## BENCH=engine (the default), query or certification
	$(BIN)/python -m bench.$(BENCH)

load: $(VENV)/.installed-dev  ## Locust against a server it starts; the last line is JSON
	$(BIN)/python -m bench.load

evaluate: $(VENV)/.installed-dev  ## the tables of docs/benchmarks.md: certified Recall@1 for every method, σ 0.25 and 0.5
	$(BIN)/retrievalguard evaluate --data digits --queries 296 --samples 10000 \
	  --method paper --method bisector --method mean --method cdf --method vote \
	  --json docs/evaluation.json --plot docs/evaluation.png
	RETRIEVALGUARD_SIGMA=0.5 $(BIN)/retrievalguard evaluate --data digits --queries 296 --samples 10000 \
	  --method paper --method bisector --method mean --method cdf --method vote \
	  --json docs/evaluation-sigma-0.5.json --plot docs/evaluation-sigma-0.5.png
	$(BIN)/python -m evaluation.limit docs/limit.json
	$(BIN)/python -m evaluation.picture docs/evaluation.json docs/answer.png
	$(BIN)/python -m evaluation.perturbation docs/perturbation.png

soundness: $(VENV)/.installed-dev  ## certificates against closed-form truths, 10,000 times each; about 20 minutes
	$(BIN)/python -m tests.certify.soundness docs/soundness.json

mutants: $(VENV)/.installed-dev  ## breaks certify/ line by line: every mutant must be caught by a test
	$(BIN)/python -m tests.mutants docs/mutants.json

train: $(VENV)/.installed-dev  ## reproduces the shipped weights
	$(BIN)/retrievalguard train --data digits --sigma 0.25 --output models/pretrained/digits-cnn

test-docker: $(VENV)/.installed-dev  ## docker compose up for real; skipped, and said so, without an engine
	TEST_DOCKER=1 $(BIN)/pytest -m docker tests/docker

clean:
	rm -rf $(VENV) build *.egg-info
