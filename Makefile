# `make demo` and `make test` need only Python 3.11+ and a C compiler; each prepares the virtual environment .venv itself.
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev,torch,train
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

SECONDS_OF_FUZZING ?= 3600
SURFACES := onnx_model ir_text artifact_folder split_frames

.PHONY: demo test lint docs bench fuzz clean

demo: $(VENV)/.demo ## compile, run, benchmark and explain a real trained model
	$(BIN)/optc compile samples/models/cifar10_resnet8.onnx --target cpu --dim batch=1 -o build/demo
	$(BIN)/optc run build/demo
	$(BIN)/optc bench build/demo
	$(BIN)/python samples/classify.py
	$(BIN)/optc explain build/demo --measure --html build/demo.html

test: $(VENV)/.test ## run the whole test suite, a process for each core
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(VENV)/.test ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(VENV)/.fuzz ## fuzz every way in for SECONDS_OF_FUZZING each; stops at the first fault and leaves its input in build/fuzz
	for surface in $(SURFACES); do $(BIN)/python tests/fuzzing/campaign.py $$surface \
	  --seconds $(SECONDS_OF_FUZZING) --corpus build/fuzz/$$surface || exit 1; done

docs: $(VENV)/.docs ## the documentation as a site: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.bench ## measure everything on the model zoo and write benchmarks/RESULTS.md; leave the machine alone
	test -f build/zoo/manifest.json || $(BIN)/python benchmarks/zoo.py --build --out build/zoo
	$(BIN)/python benchmarks/peers.py --zoo build/zoo --prepare
	$(BIN)/python benchmarks/peers.py --zoo build/zoo --out build/bench/peers --resume
	$(BIN)/python benchmarks/tune_zero.py --zoo build/zoo --out build/bench/tune_zero --resume
	$(BIN)/python benchmarks/entry_overhead.py --out build/bench/entry_overhead
	$(BIN)/python benchmarks/compile_zoo.py --zoo build/zoo --out build/bench/compile_zoo
	$(BIN)/python benchmarks/report.py --figures build/bench --out benchmarks/RESULTS.md

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[$(EXTRAS)]'
	touch $@ $(VENV)/.demo

$(VENV)/.fuzz: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev,fuzz]'
	touch $@

$(VENV)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[bench]'
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf build $(VENV)
