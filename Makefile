# `make serve` is all a newcomer needs; every target installs what it needs, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRA ?= cpu
BENCH ?= engine

LOCKS := $(wildcard requirements/*.txt) requirements/install.py requirements/pip_settings.py
PIP_PROJECT := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .

.PHONY: install serve test test-bounds test-served test-rest lint lock sbom audit bench load docs evaluate experiments soundness mutants fuzz soak screens emoji emoji-vectors train \
  test-docker clean
install: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(LOCKS) | $(BIN)/python
	$(BIN)/python requirements/install.py --quiet $(EXTRA)
	$(PIP_PROJECT)
	touch $@

$(VENV)/.installed-dev: pyproject.toml $(LOCKS) | $(BIN)/python
	$(BIN)/python requirements/install.py --quiet $(EXTRA) backbones otel postgres cluster research docs dev
	$(PIP_PROJECT)
	touch $@ $(VENV)/.installed

lock:  ## the locks in requirements/, from the ranges in pyproject.toml; UPGRADE=1 for newer versions
	test -x $(VENV)/lock/bin/uv || { $(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet 'uv>=0.10,<1'; }
	$(VENV)/lock/bin/python requirements/lock.py $(if $(UPGRADE),--upgrade)

# Digits instead, with a smaller model: make serve RETRIEVALGUARD_MODEL=digits-cnn
serve: export RETRIEVALGUARD_MODEL ?= emoji-small
serve: export RETRIEVALGUARD_DATA_DIR ?= data/$(notdir $(RETRIEVALGUARD_MODEL))
serve: install  ## the demo: which emoji is this? on http://127.0.0.1:8000
	$(BIN)/retrievalguard serve --demo

# Three lanes for two cores, about as long: who waits for a server leaves its core to another.
BOUNDS := tests/certify tests/index tests/house tests/requirements tests/docker
SERVED := tests/service
REST := $(filter-out tests/__pycache__ $(BOUNDS) $(SERVED),$(patsubst %/,%,$(wildcard tests/*/))) $(wildcard tests/test_*.py)

test: $(VENV)/.installed-dev  ## the whole suite, with a real server and a real Redis
	$(MAKE) --no-print-directory --jobs 3 --keep-going test-served test-rest test-bounds

test-bounds: $(VENV)/.installed-dev
	$(BIN)/pytest -q $(BOUNDS)

test-served: $(VENV)/.installed-dev
	$(BIN)/pytest -q $(SERVED)

test-rest: $(VENV)/.installed-dev
	$(BIN)/pytest -q $(REST)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile
	@if docker compose version > /dev/null 2>&1; then docker compose --profile '*' config --quiet; \
	  else echo "docker-compose.yml is not checked: there is no docker compose"; fi
	@if command -v promtool > /dev/null; then promtool test rules docker/prometheus/alerts.test.yml; \
	  else echo "the alert rules are parsed by a test alone: there is no promtool"; fi

AUDIT := $(VENV)/audit/bin
AUDITED := requirements/cpu.txt
$(AUDIT)/pip-audit: | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/audit
	$(AUDIT)/pip install --quiet 'cyclonedx-bom>=7,<8' 'pip-audit>=2.9,<3'

sbom: $(AUDIT)/pip-audit  ## what the service is built of, to build/sbom.json (CycloneDX)
	mkdir -p build
	$(AUDIT)/cyclonedx-py requirements $(AUDITED) --pyproject pyproject.toml --output-file build/sbom.json

audit: $(AUDIT)/pip-audit  ## known weaknesses of it; needs the advisories of PyPI, which a mirror may lack
	$(AUDIT)/pip-audit --disable-pip --no-deps --requirement $(AUDITED)

bench: $(VENV)/.installed-dev  ## BENCH=engine (the default), query, certification, gallery, cluster or simulation
	$(BIN)/python -m bench.$(BENCH)

load: $(VENV)/.installed-dev  ## Locust against a server it starts; the last line is JSON
	$(BIN)/python -m bench.load

docs: $(VENV)/.installed-dev  ## the documents as a site, with its search, to build/docs/index.html; needs no network to be read
	$(BIN)/sphinx-build --quiet --nitpicky --fail-on-warning -c docs/site docs build/docs

EVALUATE := $(BIN)/retrievalguard evaluate --samples 10000 \
  --method paper --method bisector --method mean --method cdf --method vote
evaluate: $(VENV)/.installed-dev  ## the tables of docs/benchmarks.md: certified Recall@1 for every method; hours, and goes on when cut short
	$(EVALUATE) --data digits --queries 296 --json docs/evaluation.json --plot docs/evaluation.png
	$(EVALUATE) --data digits --queries 296 --sigma 0.5 \
	  --json docs/evaluation-sigma-0.5.json --plot docs/evaluation-sigma-0.5.png
	$(EVALUATE) --data emoji --model emoji-small --queries 200 --json docs/evaluation-emoji.json
	$(EVALUATE) --data emoji-unseen --model emoji-small --queries 100 --json docs/evaluation-emoji-unseen.json
	$(BIN)/python -m evaluation.limit docs/limit.json
	$(BIN)/python -m evaluation.picture docs/evaluation-emoji.json docs/answer.png
	$(BIN)/python -m evaluation.perturbation docs/perturbation.png

ROWS := --method paper --method bisector --method mean --method cdf --method vote
SIGMAS := --sigma 0.1 --sigma 0.25 --sigma 0.5 --sigma 1
ATTACK := $(BIN)/retrievalguard attack --scale 0.9 --restarts 2 --smallest
experiments: $(VENV)/.installed-dev  ## the tables and attacks of docs/experiments.md; hours, and goes on when cut short
	test -d build/digits-zero-shot || $(BIN)/retrievalguard train --data digits-zero-shot --sigma 0.25 --output build/digits-zero-shot
	RETRIEVALGUARD_LABEL_WEIGHT=0 RETRIEVALGUARD_GALLERY_SAMPLES=256 $(BIN)/retrievalguard evaluate $(ROWS) $(SIGMAS) \
	  --data digits-zero-shot --model build/digits-zero-shot --queries 60 --samples 2000 --json docs/zero-shot-digits.json
	RETRIEVALGUARD_LABEL_WEIGHT=0 $(BIN)/retrievalguard evaluate $(ROWS) $(SIGMAS) \
	  --data emoji-zero-shot --model emoji-small --queries 60 --samples 2000 --json docs/zero-shot-emoji.json
	RETRIEVALGUARD_DATA_DIR=build/digits $(BIN)/retrievalguard gallery add digits
	RETRIEVALGUARD_DATA_DIR=build/digits $(ATTACK) --gallery --queries 310 --samples 2000 --steps 15 --draws 32 \
	  --json docs/attack-digits.json --plot docs/attack-digits.png
	$(ATTACK) --data emoji --model emoji-small --queries 210 --samples 2000 --steps 15 --draws 32 \
	  --json docs/attack-emoji.json --plot docs/attack-emoji.png

# Hours each; both go on where they were stopped. MINUTES=60 stops after about an hour.
STUDY = $(if $(MINUTES),--minutes $(MINUTES))
soundness: $(VENV)/.installed-dev  ## certificates against closed-form truths, 10,000 times each
	$(BIN)/python -m tests.certify.study docs/soundness.json $(STUDY)

mutants: $(VENV)/.installed-dev  ## breaks certify/ and the choice of rivals line by line: a test must notice
	$(BIN)/python -m tests.mutants docs/mutants.json $(STUDY)

fuzz: $(VENV)/.installed-dev  ## hostile requests, connections, files and manifests; MINUTES=2, SEED=1; the last line is JSON
	$(BIN)/python -m tests.service.fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.installed-dev  ## half an hour of mixed load while Redis is killed, hangs, is emptied and forged; MINUTES=30
	$(BIN)/python -m tests.service.soak $(if $(MINUTES),--minutes $(MINUTES))

screens: $(VENV)/.installed-dev  ## the pictures of the page in docs/; needs chromium
	RETRIEVALGUARD_MODEL=emoji-small $(BIN)/python -m tests.service.http.screens docs
	RETRIEVALGUARD_MODEL=digits-cnn $(BIN)/python -m tests.service.http.moving docs/page.gif

EMOJI := models/datasets/emoji_sheets
emoji: $(VENV)/.installed-dev  ## draws the sheets of emoji again; needs npm, a few minutes
	npm ci --prefix $(EMOJI) --no-audit --no-fund
	$(BIN)/python $(EMOJI)/render.py $(EMOJI)/node_modules/@iconify-json $(EMOJI)

VECTORS := RETRIEVALGUARD_MODEL=emoji-small RETRIEVALGUARD_GALLERY_SAMPLES=64 RETRIEVALGUARD_DATA_DIR=build/emoji-vectors
emoji-vectors: install  ## the vectors that ship with emoji-small: after a training, or other sheets; a quarter of an hour
	$(VECTORS) $(BIN)/retrievalguard gallery add --prune emoji
	$(VECTORS) $(BIN)/retrievalguard gallery vectors models/pretrained/emoji-small/gallery.safetensors

train: $(VENV)/.installed-dev  ## reproduces the shipped weights
	$(BIN)/retrievalguard train --data digits --sigma 0.25 --output models/pretrained/digits-cnn

test-docker: $(VENV)/.installed-dev  ## docker compose up for real; skipped, and said so, without an engine
	TEST_DOCKER=1 $(BIN)/pytest -m docker tests/docker

clean:
	rm -rf $(VENV) build *.egg-info
