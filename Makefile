# Branchline. `make run` starts everything on this machine and opens nothing but loopback ports; `make` lists the rest.
# Needed beforehand: Python 3.11 or later, and make.

# The first Python that is new enough; `make setup PYTHON=…` names another.
ifndef PYTHON
PYTHON := $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
endif
ENVIRONMENT := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test test-long check audit bench bench-full lock mutants clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## */  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup:  ## make .venv with the `branchline` command in it (nothing to do if it is up to date)
	@$(if $(PYTHON),,echo "Branchline needs Python 3.11 or later; no python3 on the PATH is one" >&2; exit 1;) \
	$(PYTHON) -m tools.bootstrap

run: setup  ## everything on this machine, with demo data; ARGS go to `branchline up`
	@exec $(ENVIRONMENT)/branchline up $(ARGS)

test: setup  ## all tests; ARGS go to pytest
	@$(ENVIRONMENT)/python -m tools.run_tests $(ARGS)

test-long: setup  ## the full forms of the tests that have one, minutes to hours
	@$(ENVIRONMENT)/python -m tools.run_tests -m long $(ARGS)

check: setup  ## ruff, mypy --strict and the import rule
	@$(ENVIRONMENT)/ruff check .
	@$(ENVIRONMENT)/ruff format --check .
	@$(ENVIRONMENT)/mypy
	@$(ENVIRONMENT)/lint-imports

bench: setup  ## the benchmark suite; ARGS go to `branchline bench`
	@exec $(ENVIRONMENT)/branchline bench $(ARGS)

bench-full: setup  ## the same with a log of ten million changes and the slow peers; about half an hour, 20 GB
	@exec $(ENVIRONMENT)/branchline bench --full

audit: setup  ## known faults of what the locks pin; fails as well where no source of advisories answers
	@$(ENVIRONMENT)/python -m tools.audit

mutants: setup  ## break each invariant by a small patch: its named test must fail; ARGS name some of them
	@$(ENVIRONMENT)/python -m tools.mutants $(ARGS)

lock: setup  ## write requirements/ from pyproject.toml; ARGS=--upgrade takes newer versions
	@$(ENVIRONMENT)/python -m tools.lock $(ARGS)
	@$(MAKE) --no-print-directory setup

clean:  ## remove .venv and the caches; data in .branchline stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-results
