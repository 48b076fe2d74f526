# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs clean

demo: $(VENV)/.demo
	$(BIN)/pulmoscope demo -o out/demo --force

test: $(VENV)/.test check
	$(BIN)/pytest -n 2

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Needs no network; a broken link fails. The pages open from out/site/index.html.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Site: out/site/index.html"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The extra brings a real radiograph; where it can't be had, the demo does without. Python compiles what it imports, when
# it does: compiling everything now takes a quarter of a minute and 100 MiB.
$(VENV)/.demo: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet --no-compile -e '.[demo]' 2>/dev/null \
		|| $(BIN)/pip install --quiet --no-compile -e .
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet -e '.[train,onnx,torch,test,docs]'
	touch $@

$(VENV)/.docs: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build out
