.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The environment is right when .venv was built from this very requirements.txt. Compiled at once, because
# otherwise each of the many processes of a run compiles what it imports where Python may write no bytecode:
# where .venv is read-only, or PYTHONDONTWRITEBYTECODE is set.
$(VENV)/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	PATH="$$PATH:$(BIN)" uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.txt
	PATH="$$PATH:$(BIN)" uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

run: $(VENV)/ready ## run the default workflow: results/report.html
	$(BIN)/python -m snakemake

cluster: $(VENV)/ready ## the same on a SLURM cluster; after a breakdown, go on
	$(BIN)/python workflow/profiles/slurm/start

# Two workers, which take files of tests in the order of tests/conftest.py.
TESTS := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/ready ## run the tests: a quarter of an hour on two cores
	$(TESTS) -m "not slow"

test-all: $(VENV)/ready ## run every test but those on a cluster
	$(TESTS)

test-cluster: $(VENV)/ready ## tests on a real SLURM, started on this machine (root)
	tests/cluster/install
	$(BIN)/python -m pytest tests/cluster

lint: $(VENV)/ready ## ruff, snakefmt, pyright, snakemake --lint, and the CI file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/pyright
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/zizmor --offline --quiet .github/workflows/ci.yml
	$(BIN)/python -m snakemake --lint

report: $(VENV)/ready ## only what the report still needs
	$(BIN)/python -m snakemake results/report.html

schema: $(VENV)/ready ## write config/schema.json and config/README.md
	$(BIN)/python -m deep_restoration.study

lock: $(VENV)/ready ## pin the newest versions that pyproject.toml allows
	PATH="$$PATH:$(BIN)" uv pip compile --quiet --universal --upgrade --extra dev --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" pyproject.toml --output-file requirements.txt

clean: ## delete results, logs and Snakemake's records (not .venv)
	rm -rf results logs benchmarks/stages .snakemake

.PHONY: help run cluster test test-all test-cluster lint report schema lock clean
