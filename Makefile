# Works from an empty clone with Python 3.11 or newer, make and pip. Every target first brings .venv up to date
# (bootstrap.py, nothing to do when nothing changed).

PYTHON ?= python3
WORKERS ?= 2
PYTEST_ARGS ?=

BOOTSTRAP := $(PYTHON) bootstrap.py
BIN := .venv/bin
# One thread a process: the workers share the cores, and sums come out the same on every machine.
PYTEST = OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow soak tickets lint check bench clean

help: ## show this list
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: PYTHON=python3.12, WORKERS=4, PYTEST_ARGS='-k fusion'; TORCH_INDEX_URL (see CONTRIBUTING.md)."

demo: ## train on planted data and write a report (runs/demo)
	@$(BOOTSTRAP)
	$(BIN)/plait demo

test: ## tier 1: the tests of every change, 12 minutes at most
	@$(BOOTSTRAP) --extras test
	$(PYTEST) $(PYTEST_ARGS)

test-slow: ## tier 2: what takes longer, 25 minutes at most
	@$(BOOTSTRAP) --extras test
	$(PYTEST) -m "slow and not soak" $(PYTEST_ARGS) || { code=$$?; [ $$code -eq 5 ] || exit $$code; \
	  echo "make test-slow: pytest collected no test (exit code 5), so tier 2 has proved nothing"; }

soak: ## tier 3: runs of hours, by hand, one process, no time limit
	@$(BOOTSTRAP) --extras test
	$(BIN)/python -m pytest -m soak --timeout 0 $(PYTEST_ARGS)

tickets: ## tests of each ticket, beside the number its design document asks for
	@$(BOOTSTRAP) --extras test
	@$(BIN)/python tests/seeds/tickets.py

lint: ## formatting, lint and types
	@$(BOOTSTRAP) --extras dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src

check: lint ## lint, then test
	@$(MAKE) --no-print-directory test

bench: ## run every script of benchmarks/ in turn
	@$(BOOTSTRAP) --extras test
	@set -e; found=; for script in benchmarks/[!_]*.py; do \
	  [ -e "$$script" ] || continue; found=1; echo "== $$script"; $(BIN)/python "$$script"; \
	done; [ -n "$$found" ] || echo "make bench: there is no script in benchmarks/"

clean: ## remove caches and build outputs; .venv and runs/ stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
