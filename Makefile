# Everything a person types. `make` alone lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NPM := $(shell command -v npm 2>/dev/null)

.PHONY: help up test check format browser bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

up: $(VENV)/.installed assets ## run the whole portal; Ctrl-C stops it
	@exec $(BIN)/python manage.py up

test: $(VENV)/.installed-dev assets ## run the tests on services of their own
	@$(BIN)/python -m pytest -n 4 --dist loadfile $(ARGS)

check: $(VENV)/.installed-dev ## lint, format and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy alphaq_portal monitoring alerts

format: $(VENV)/.installed-dev ## put the code into its one format
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## run every benchmark against its peer (needs Debian's prometheus packages)
	@for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean: ## remove what was installed; data in var/ stays
	rm -rf $(VENV) node_modules .pytest_cache .mypy_cache .ruff_cache

# The chart library is fetched by npm where npm is; without it the pages draw with the one that Unfold brings.
.PHONY: assets
assets:
ifneq ($(NPM),)
	@test -e node_modules/.alphaq-$(shell cksum < package-lock.json | cut -d' ' -f1) || \
	  { echo "Fetching the chart library"; npm ci --ignore-scripts --silent --no-audit --no-fund && \
	    touch node_modules/.alphaq-$(shell cksum < package-lock.json | cut -d' ' -f1); } || \
	  echo "npm could not fetch it; charts use the built-in library"
endif

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The portal needs Python 3.11 or newer.")'
	@echo "Creating the virtual environment"
	@$(PYTHON) -m venv $(VENV) || { echo "Python lacks venv; on Debian: apt install python3-venv"; exit 1; }

$(VENV)/.installed: $(VENV)/bin/python requirements.txt
	@echo "Installing (once, under a minute)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements-dev.txt
	@touch $@
