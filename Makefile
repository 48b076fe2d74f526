# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs schemas bench bench-compare soak clean

demo: $(VENV)/.demo
	$(BIN)/pulmoscope demo -o out/demo --force

# Tests of a file stay together as long as there are others, so that what they share is made once.
test: $(VENV)/.test check docs
	$(BIN)/pytest -n 2 --dist worksteal

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Of recipes, from their types.
schemas: $(VENV)/.test
	$(BIN)/python -m pulmoscope.recipes.schema docs/schemas

# An environment of its own: what builds pages has no business beside what reads patients' images. A broken link fails.
docs: $(VENV)-docs/.done
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict
	@echo "Site: out/site/index.html"

# Ours and others by turns, in one run: figures in out/bench. BENCH=--quick tries it; docs/speed.md says more.
bench: $(VENV)-bench/.done
	$(VENV)-bench/bin/python benchmarks/suite.py $(BENCH)

# The last run, or a new one where there is none, beside what is stored. Fails where a ratio is worse beyond noise.
bench-compare: $(VENV)-bench/.done
	test -f out/bench/bench.json || $(MAKE) bench
	$(VENV)-bench/bin/python benchmarks/compare.py

# An archive on four nodes of this machine, while a node and the driver are killed: a quarter of an hour. docs/scale.md.
soak: $(VENV)/.test
	rm -rf out/soak
	$(BIN)/python benchmarks/soak.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The extra brings a real radiograph; where it can't be had, the demo does without. Python compiles what it imports, when
# it does: compiling everything now takes a quarter of a minute and 100 MiB.
$(VENV)/.demo: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet --no-compile -e '.[demo]' 2>/dev/null \
		|| $(BIN)/pip install --quiet --no-compile -e .
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet -e '.[train,onnx,torch,scale,results,test]'
	touch $@

$(VENV)-docs/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install --quiet $$($(PYTHON) -c "import tomllib; \
		print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'])")
	touch $@

# What ours is compared with has no business beside it either.
$(VENV)-bench/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/pip install --quiet -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-docs $(VENV)-bench build out
