# `make demo` trains on real digits, `make test` runs all tests. Both make the environment on first
# use and need no network afterwards. CONSTRAINTS= (empty) takes the newest versions instead.
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-exhaustive lint clean

demo: $(VENV)/.installed
	$(BIN)/python -m experiments.vae --dataset digits --seed 0

test: $(VENV)/.installed-dev
	$(PYTEST) --durations 15

# The long sweeps too: before a release.
test-exhaustive: $(VENV)/.installed-dev
	$(PYTEST) --durations 15 -m "exhaustive or not exhaustive"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(VENV)/.python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version)"; \
	    $$python -m venv $(VENV) && touch $@; exit $$?; \
	  fi; \
	done; echo "jaxvae needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 1

$(VENV)/.installed: $(VENV)/.python pyproject.toml $(CONSTRAINTS)
	@echo "Installing jaxvae (once, about a minute)"
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.python pyproject.toml $(CONSTRAINTS)
	@echo "Installing jaxvae and its development tools (once, about a minute)"
	$(PIP_INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV)
