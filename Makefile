# Two commands do everything: `make demo` and `make test`. Both create what they need.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := train,encoders,metrics,export,scale,heic,parquet,hub,teachers,test

.PHONY: demo test lint types unit test-slow test-faults install clean

demo: .venv/installed
	$(BIN)/distilcap demo --to demo

test: lint types unit

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: .venv/installed
	$(BIN)/mypy

# Files of tests go to a process for each core, four at most (each takes over a gigabyte), and these have one
# thread: more hinder one another.
unit: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

# DISTILCAP_FAULT_SEED chooses other faults; DISTILCAP_FAULT_REPORT names a file for the figures.
test-faults: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'faults or not faults' tests/faults

install: .venv/installed

# Complete only when the mark is there: a broken-off install is done again.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf .venv demo
