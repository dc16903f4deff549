# clew. Everything starts from python3, pip and make: `make demo` and `make test` are all the set-up there is.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=
# Two processes halve the time of the suite, most of which is waiting for real servers to start.
PYTEST := $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

.PHONY: help demo test test-pythons test-fast test-faults test-phoenix soak lint fmt types bench bench-loss bench-store docs fix-docs cov lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/demo.stamp ## Run a real RAG service on real documents through the whole pipeline (ARGS=--exit to end by itself)
	$(BIN)/clew demo $(ARGS)

test: $(VENV)/dev.stamp debian ## Run the whole suite
	$(PYTEST) $(ARGS)

test-fast: $(VENV)/dev.stamp ## Run what is not slow
	$(PYTEST) -m "not slow and not faults" $(ARGS)

PYTHONS := 3.11 3.12 3.13 3.14 3.14t
test-pythons: debian ## Run what is not slow on each Python that is here, deprecations as errors (PYTHONS="3.12 3.13")
	sh tools/test_pythons.sh "$(PYTHONS)" $(ARGS)

test-faults: $(VENV)/dev.stamp debian ## Run the whole fault suite
	$(BIN)/python -m pytest tests/faults tests/properties/test_notices.py --run-faults $(ARGS)

PHOENIX_VERSION := 20.26.1
test-phoenix: $(VENV)/dev.stamp ## Ship a trace to a real Phoenix (fetched once, 1 GB, into ~/.cache/clew) and ask it back
	PHOENIX_PROGRAM="$$(PYTHON=$(PYTHON) sh tools/phoenix.sh $(PHOENIX_VERSION))" $(BIN)/python -m pytest tests/phoenix $(ARGS)

soak: $(VENV)/dev.stamp debian ## Run chaos for ten minutes (ARGS="--minutes 60"), resources watched
	PYTHONPATH=tests $(BIN)/python -m benchmarks.soak $(ARGS)

lint: $(VENV)/dev.stamp ## Check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/codespell src docs tests tools examples benchmarks Makefile *.md

fmt: $(VENV)/dev.stamp ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/dev.stamp ## Check the types of the public surface
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes clew --ignoreexternal

bench: $(VENV)/dev.stamp ## Measure, side by side with peers
	$(BIN)/python -m benchmarks $(ARGS)

bench-store: $(VENV)/dev.stamp ## Measure the store, side by side with DuckDB, ClickHouse and SQLite (ARGS="--events 10000000 --write")
	$(PYTHON) -m venv build/peers && build/peers/bin/pip install --quiet duckdb chdb pyarrow pytz
	$(BIN)/python -m benchmarks.store --peers build/peers/bin/python $(ARGS)

bench-loss: $(VENV)/dev.stamp ## Count what arrives when backends and processes break, side by side with peers
	$(BIN)/python -m benchmarks.loss $(ARGS)

docs: $(VENV)/dev.stamp ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo site/index.html

fix-docs: $(VENV)/dev.stamp ## Write the generated pages of the documentation and deploy/prometheus anew
	$(BIN)/python tools/fix_docs.py
	$(BIN)/clew alerts export prometheus -o deploy/prometheus --file /dev/null --url http://127.0.0.1:4319 >/dev/null

cov: $(VENV)/dev.stamp ## Run the suite and report coverage
	$(BIN)/coverage run -m pytest $(ARGS) && $(BIN)/coverage combine --quiet && $(BIN)/coverage report --skip-covered

lock: $(VENV)/bin/python ## Resolve the dependencies anew, a week old at least
	$(PIP) install "uv>=0.9,<1"
	sh tools/lock.sh $(BIN)/uv

clean: ## Remove what was built
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .hypothesis

.PHONY: debian
debian:
	@sh tools/debian_packages.sh

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("clew needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: requirements/demo.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements/demo.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements/dev.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/demo.stamp
