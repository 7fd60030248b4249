PYTHON ?= python3
PORT ?=

DEMO := .venv-demo
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The demo: no root, no Redis, nothing but Python.

.PHONY: demo
demo: $(DEMO)/.installed ## run the demo; PORT=8123 chooses the port, LAN=1 lets phones in, PYTHON=python3.12 the Python
	@$(DEMO)/bin/python -m demo_project $(PORT) $(if $(LAN),--lan)

$(DEMO)/.installed: pyproject.toml
	@$(PYTHON) scripts/require_python.py
	@echo "Installing livepush and daphne into $(DEMO) (once)…"
	@$(PYTHON) -m venv $(DEMO)
	@$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[demo]"
	@touch $@

# The tests: real databases, a real Valkey, real servers and a real Chromium.

WORKERS ?= 6
CHOSEN ?= -m "not long"
PYTEST = $(RUN) -m pytest -q --dist worksteal

.PHONY: test
test: ## pass what every change must pass: all but the long tests
	@$(MAKE) --no-print-directory --jobs $(VENV)/.installed node_modules/.installed system
	@$(MAKE) --no-print-directory --jobs --output-sync lint types js matrix python

.PHONY: test-all
test-all: ## pass everything: the long tests too (storms, Firefox, the soak), more random examples, a whole browser
	@LIVEPUSH_TEST_EXAMPLES=4 LIVEPUSH_TEST_COLD=1 LIVEPUSH_TEST_BROWSER=chromium $(MAKE) --no-print-directory test CHOSEN=
	@$(MAKE) --no-print-directory layers

.PHONY: test-fast
test-fast: $(VENV)/.installed ## the unit tests on PostgreSQL and SQLite, without browsers and brokers
	@LIVEPUSH_TEST_ON=postgresql,sqlite $(PYTEST) -n 4 $(CHOSEN) tests $(addprefix --ignore tests/,integration browser bridges recipes)

.PHONY: lint
lint: $(VENV)/.installed ## check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/.installed ## check types, strictly
	@$(BIN)/mypy

.PHONY: js
js: node_modules/.installed ## check and test the client, and that its built files are current
	@npm run --silent check
	@npm test --silent

.PHONY: python
python: $(VENV)/.installed node_modules/.installed system ## run the Python and browser tests; WORKERS=6, CHOSEN= for the long ones too
	+@$(PYTEST) -n $(WORKERS) $(CHOSEN) --durations=25 tests

.PHONY: matrix
matrix: $(VENV)/.installed system ## run what hangs on them on the other Pythons and Djangos
	@$(RUN) scripts/matrix.py $(if $(CHOSEN),,--whole)

.PHONY: bench
bench: $(VENV)/.installed ## measure beside the peers, for hours; PARTS=fanout SYSTEMS=goals CLIENTS=100,1000,4000 TURNS=7
	@$(RUN) scripts/bench.py $(PARTS) --systems $(or $(SYSTEMS),all) --clients $(or $(CLIENTS),1000,100,4000) \
		--turns $(or $(TURNS),7) $(if $(FRESH),--fresh) $(if $(PAGE),--page)

.PHONY: bench-quick
bench-quick: $(VENV)/.installed ## measure livepush and three peers with 1,000 clients, in five minutes
	@$(RUN) scripts/bench.py fanout --systems quick --clients 1000 --turns 1

.PHONY: bench-rooms
bench-rooms: $(VENV)/.installed system ## measure messages and cursors from client to client beside Socket.IO, in five minutes
	@$(RUN) scripts/bench.py rooms

.PHONY: bench-client
bench-client: $(VENV)/.installed system ## measure the client in Chromium: hello, events to eight tabs, a new leader
	@$(RUN) -m benchmarks.client

.PHONY: bench-inbox
bench-inbox: $(VENV)/.installed ## measure the inbox of 100,000 among a million users, in ten minutes; QUICK=1, PLANS=1
	@$(RUN) -m benchmarks.inbox $(if $(QUICK),--quick) $(if $(PLANS),--plans)

.PHONY: reliability
reliability: CHOSEN :=
reliability: $(VENV)/.installed system ## inject every fault at full size, for over an hour; ONLY=storm runs one scenario
	@$(RUN) scripts/reliability.py $(if $(ONLY),-k "$(ONLY)")

.PHONY: lower-bounds
lower-bounds: $(VENV)/.installed system ## run the tests with the lowest versions that the package allows
	@$(RUN) scripts/lower_bounds.py

.PHONY: layers
layers: $(VENV)/.installed system ## run the tests of every layer that the manual names
	@$(RUN) scripts/layers.py

.PHONY: compare
compare: $(VENV)/.installed system ## measure beside another checkout, in pairs; BEFORE=folder TURNS=7
	@$(RUN) scripts/compare.py --before $(BEFORE) --turns $(or $(TURNS),7)

.PHONY: soak
soak: $(VENV)/.installed system ## random faults for SECONDS=600 on CLIENTS=1000, from SEED=2026
	@LIVEPUSH_SOAK_SECONDS=$(or $(SECONDS),600) LIVEPUSH_SOAK_CLIENTS=$(or $(CLIENTS),1000) \
		LIVEPUSH_SOAK_SEED=$(or $(SEED),2026) $(RUN) -m pytest -q -s tests/integration/test_soak.py

.PHONY: format
format: $(VENV)/.installed ## format the Python code
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

.PHONY: messages
messages: $(VENV)/.installed system ## extract and compile the translations
	@$(RUN) scripts/messages.py

# The documentation site, in an environment of its own.

DOCS := .venv-docs
SITE := build/site

.PHONY: docs
docs: $(DOCS)/.installed ## make the documentation site in build/site/html; a broken link fails
	@$(DOCS)/bin/python -m scripts.site.prepare $(SITE)/source
	@$(DOCS)/bin/python -m sphinx -q -W --keep-going -c scripts/site $(SITE)/source $(SITE)/html
	@echo "$(SITE)/html/index.html"

$(DOCS)/.installed: pyproject.toml
	@$(PYTHON) scripts/require_python.py
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(DOCS)/bin/uv pip install --quiet --python $(DOCS)/bin/python --editable . --group docs
	@touch $@

.PHONY: picture
picture: $(VENV)/.installed system ## draw the README's moving picture from the demo
	@$(RUN) -m scripts.picture

.PHONY: system
system:
	@$(PYTHON) scripts/system.py $(if $(CHOSEN),,--whole)

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) scripts/require_python.py
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(RUN) --editable ".[all]" --group test --group lint
	@touch $@

node_modules/.installed: package.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer."; exit 1; }
	@npm install --silent --no-fund --no-audit
	@touch $@
