# Behavior: two commands get you everywhere.
#   make run                              simulate a shop, run the real DAG, print the verdict
#   make run INPUT=log.csv PRESET=taobao  the same with your own log
#   make test                             set up and run every check and test
# `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUT ?=
PRESET ?= canonical
SET ?=
ROTATE ?=
export BEHAVIOR_HOME ?= var
# A state folder belongs to one MLflow: the cluster's is another than that of `make up`.
NATIVE_HOME ?= var-native
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow test-soak test-gpu check up native secrets status clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Create .venv and install the pinned requirements

$(VENV)/.installed: requirements.txt requirements-dev.txt requirements-no-deps.txt requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) can't create virtual environments here. On Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing the pinned requirements into $(VENV) (a few minutes, once) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-dev.txt -c requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps -r requirements-no-deps.txt
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

run: setup ## Run the DAG on a simulated shop, or on INPUT=path PRESET=name (SET="key=value …")
	@$(BIN)/behavior run --airflow --preset "$(PRESET)" $(if $(INPUT),--input "$(INPUT)") $(foreach s,$(SET),--set "$(s)")

up: setup ## Start Airflow and MLflow in the browser; Ctrl-C stops both
	@exec $(BIN)/behavior up

secrets: ## Write .env with every password and key of a cluster, once (ROTATE=NAME renews one)
	@$(PYTHON) scripts/make_secrets.py $(if $(ROTATE),--rotate "$(ROTATE)")

native: setup ## Start the cluster of docker-compose.yaml on this machine without containers; Ctrl-C stops it
	@BEHAVIOR_HOME=$(NATIVE_HOME) exec $(BIN)/python -m scripts.native up

status: setup ## Show the last runs, the champion and what is running
	@$(BIN)/behavior status

check: setup ## Lint, format, import order and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

# A worker a core: threads beyond that only get in each other's way. The tests start hundreds of Python processes, so
# what is compiled is kept. The files come in the order of tests/conftest.py, the dearest first.
test test-slow: export OMP_NUM_THREADS := 1
test test-slow: export OMP_WAIT_POLICY := passive
test test-slow: export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: check ## Every check and the default tests
	@$(PYTEST)

test-slow: setup ## The slow suites
	@$(PYTEST) -m slow tests

test-soak: setup ## What .ci/run has no time for: a training that outlasts its token, benchmarks as scripts, every preset audited, compiling, a long training
	@$(BIN)/python -m pytest -m soak

test-gpu: setup ## What needs an NVIDIA GPU; says why when there is none
	@$(BIN)/python -m pytest -m gpu tests/model/test_gpu.py

clean: ## Delete the virtual environment and the tools' caches; the state folder stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

.PHONY: docs
docs: setup ## Build the documentation into site/, with every link checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"
