# make demo    doubles of public-domain portraits, in demo/
# make test    the tests, with coverage
# make fuzz    10,000 damaged files, read or refused (about ten minutes)
# make lint    style, types, import direction
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CODE := src tests training

.PHONY: demo test fuzz lint format install constraints clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/digidouble demo -o demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered --cov-fail-under=85

fuzz: $(STAMP)
	$(BIN)/python tests/fuzz/fuzz.py 10000

lint: $(STAMP)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Digidouble needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# After a change of bounds in pyproject.toml: install anew without pins, then pin what came. torch belongs to [neural].
constraints:
	$(PYTHON) -m venv --clear $(VENV)-pins
	$(VENV)-pins/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	{ head -1 constraints.txt; { $(VENV)-pins/bin/python -m pip freeze --exclude-editable; grep '^torch==' constraints.txt; } | LC_ALL=C sort -f; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf $(VENV)-pins

clean:
	rm -rf demo htmlcov .coverage .pytest_cache .ruff_cache
