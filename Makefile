# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check clean

demo: $(VENV)/.base
	$(BIN)/pulmoscope datasets phantom --kind xray --classes COVID --seed 7 -o out/demo/phantom --force
	$(BIN)/pulmoscope diagnose out/demo/phantom -o out/demo/diagnosis --force

test: $(VENV)/.test check
	$(BIN)/pytest -n 2

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet -e .
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet -e '.[train,onnx,torch,test]'
	touch $@ $(VENV)/.base

clean:
	rm -rf $(VENV) build out
