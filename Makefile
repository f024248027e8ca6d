# Each target makes the environment that it needs; the two commands of the README are demo and test.

PYTHON ?= python3
# Another Airflow than the pinned one, such as AIRFLOW=3.1.8: needs tests/constraints-3.1.8.txt.
AIRFLOW ?=

ifeq ($(AIRFLOW),)
VENV := .venv
CONSTRAINTS := constraints.txt
COVERAGE := --cov --cov-report=term
else
VENV := .venv-$(AIRFLOW)
CONSTRAINTS := tests/constraints-$(AIRFLOW).txt
# Another version changes nothing in these, nor in tests/emulator and tests/docs; make matrix runs the README's DAG.
LEFT_OUT := audio useapi test_house.py test_matrix.py test_benchmarks.py test_cluster.py
TESTS := tests/unit tests/integration tests/airflow tests/stores $(addprefix --ignore=tests/unit/,$(LEFT_OUT))
# Older releases of Airflow and requests have fewer types of their own, and fewer names, which is guarded where they are used.
MYPY_OPTIONS := --allow-subclassing-any --allow-untyped-calls --no-warn-unused-ignores --disable-error-code attr-defined \
	--package airflow_provider_riffusion
endif

BIN := $(VENV)/bin
# Three test processes keep two cores busy, because many tests wait for a server; four take longer.
WORKERS ?= 3
# Whoever has it set would wait twice as long for each of the many processes that tests start.
export PYTHONDONTWRITEBYTECODE :=
# The stores that test-stores uses: any of local, s3, azure (which needs npm), gcs and sftp.
STORES ?= local,s3,azure,gcs,sftp
# How many downloads of each kind test-stores kills in each store.
KILLS ?= 50
# How many songs soak and cluster handle, at most Airflow's max_map_length of 1024; 500 and 200 when it is empty.
SONGS ?=
# The rows that the benchmark measures, divided by commas; all when it is empty.
ROWS ?=
# Which interpreters and versions of Airflow the matrix takes, divided by commas; all when it is empty.
PYTHONS ?=
AIRFLOWS ?=
# Whether the benchmark writes its page, and ui-test the pictures of the documents.
WRITE ?=
# How many kinds of faults, by chance, the soak's search for the token meets; all when it is empty.
FAULTS ?=
AZURITE := $(VENV)/azurite/node_modules/.bin/azurite-blob
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -n $(WORKERS)

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit test-stores reliability soak cluster benchmark ui-test docs dist matrix constraints clean

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## Fetch songs with a real Airflow, from the bundled emulator or from your own account.
	@$(BIN)/python -m tests.programs.demo

test: lint  ## Lint, then all tests but those of the pages, in parallel, and coverage.
	$(PYTEST) $(COVERAGE) $(TESTS)

lint: $(VENV)/.installed-test  ## Check style, format and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(MYPY_OPTIONS)

unit: $(VENV)/.installed-test  ## Only the tests without a socket.
	$(PYTEST) tests/unit

test-stores: $(VENV)/.installed-stores $(if $(findstring azure,$(STORES)),$(AZURITE))  ## Download into S3, Azure, GCS and SFTP servers on this machine, and kill KILLS downloads.
	$(PYTEST) tests/stores --stores=$(STORES) --kills=$(KILLS)

reliability: $(VENV)/.installed-test  ## Run every fault and every end of a create request's try, and write docs/reliability.md anew.
	$(BIN)/python -m tests.programs.fault_matrix
	$(BIN)/python -m tests.programs.create_table

soak: $(VENV)/.installed-test  ## Download SONGS songs with random faults through a real scheduler; then look for the token after FAULTS kinds of faults.
	$(BIN)/python -m tests.programs.soak $(if $(SONGS),--songs $(SONGS)) $(if $(FAULTS),--faults $(FAULTS))

cluster: $(VENV)/.installed-cluster  ## Make SONGS songs on PostgreSQL, Redis and Celery workers, and kill a worker and a triggerer.
	@$(BIN)/python -m tests.programs.cluster $(if $(SONGS),--songs $(SONGS))

benchmark: $(VENV)/.installed-test  ## Compare speed and memory side by side, all ROWS or some; WRITE=1 writes docs/benchmarks.md.
	$(BIN)/python -m tests.programs.benchmarks $(if $(ROWS),--rows $(ROWS)) $(if $(WRITE),--write)

ui-test: $(VENV)/.installed-ui  ## Look at Airflow's UI with Debian's chromium; WRITE=1 writes docs/images.
	@$(BIN)/python -m tests.programs.ui $(if $(WRITE),--write)

docs: $(VENV)/.installed-test  ## Build the documentation into docs/_build, where a warning is an error, and run its DAGs, tests and commands.
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build
	$(PYTEST) tests/pages

dist: $(VENV)/.installed-package  ## Build wheel and sdist into the folder dist, and check what is in them.
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m tests.programs.check_dist

matrix: dist  ## Install and use the wheel alone on all PYTHONS and AIRFLOWS, or some; pyenv needs PYENV_VERSION=3.12.1:3.13.0.
	$(BIN)/python -m tests.programs.matrix $(if $(PYTHONS),--pythons $(PYTHONS)) $(if $(AIRFLOWS),--airflows $(AIRFLOWS))

constraints: $(VENV)/.installed  ## Renew both pin files; see CONTRIBUTING.md.
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --no-annotate --no-header --all-extras \
		--group pip --group stores --group cluster --group package --group ui pyproject.toml --output-file constraints.txt
	echo 'apache-airflow==3.1.8' | $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --no-annotate \
		--no-header --all-extras --group pip --group stores --group cluster --resolution lowest-direct --constraints - \
		pyproject.toml --output-file tests/constraints-3.1.8.txt

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) -V), and Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -f $(CONSTRAINTS) || \
		{ echo "There is no $(CONSTRAINTS); these versions are pinned: $$(ls tests/constraints-*.txt)"; exit 1; }
ifneq ($(AIRFLOW),)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || \
		{ echo "Airflow $(AIRFLOW) does not run on $$($(PYTHON) -V); give an older one: make $(MAKECMDGOALS) AIRFLOW=$(AIRFLOW) PYTHON=python3.12"; exit 1; }
endif
	$(PYTHON) -m venv $(VENV)

# Runs only when the pins or the dependencies have changed. The pip of an older Python knows no dependency groups.
$(VENV)/.installed: $(VENV)/bin/python $(CONSTRAINTS) pyproject.toml
	@echo "Installing Airflow and this provider into $(VENV), which takes a minute or two ..."
	@$(PIP) install --quiet --upgrade --constraint $(CONSTRAINTS) pip
	@$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing the test tools into $(VENV) ..."
	@$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable '.[s3,socks,openlineage]' --group test
	@touch $@

$(VENV)/.installed-cluster: $(VENV)/.installed
	@echo "Installing Celery and the drivers of PostgreSQL into $(VENV) ..."
	@$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable . --group cluster
	@touch $@

$(VENV)/.installed-ui: $(VENV)/.installed
	@echo "Installing what drives a browser into $(VENV) ..."
	@$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable . --group ui
	@touch $@

$(VENV)/.installed-package: $(VENV)/.installed
	@echo "Installing the tools that build and check a release into $(VENV) ..."
	@$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable . --group package
	@touch $@

$(VENV)/.installed-stores: $(VENV)/.installed-test
	@echo "Installing the providers of Azure, GCS and SFTP into $(VENV) ..."
	@$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable '.[all]' --group stores
	@touch $@

# Azurite is Microsoft's own emulator of Azure Blob Storage, and exists only as a package for Node.js.
$(AZURITE): $(VENV)/.installed
	@command -v npm >/dev/null || { echo "npm is needed, which comes with Node.js: it installs Azurite."; exit 1; }
	@npm install --silent --fetch-timeout=60000 --fetch-retries=2 --no-fund --no-audit --no-save --prefix $(VENV)/azurite azurite@3.37.0
	@touch $@

clean:  ## Remove the environments and all that demo and tests left.
	rm -rf .venv .venv-* .demo .matrix docs/_build .coverage* .mypy_cache .pytest_cache .ruff_cache dist
