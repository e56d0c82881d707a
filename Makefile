# MedVL: everything a developer or user runs, by one word. `make demo` or `make test` alone does all the set-up.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WEIGHTS := $(VENV)/.weights
BROWSER := $(VENV)/.browser
UV_VERSION := 0.13.9
SAMPLE_STUDIES := sample-data/cache/studies
STUDIES ?= $(SAMPLE_STUDIES)

.PHONY: help setup demo serve sample-data pacs pacs-stop test test-slow test-clients check format bench docs lock golden hooks clean

help:  ## Lists these words.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(INSTALLED): requirements.lock pyproject.toml
	@echo "Installing PyTorch, MONAI Label and the rest into $(VENV); the first time this takes minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/uv --version 2>/dev/null | grep -q $(UV_VERSION) || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(WEIGHTS): $(INSTALLED) apps/medvl/configs/weights.yaml
	$(BIN)/medvl weights fetch
	@touch $@

setup: $(INSTALLED) $(WEIGHTS)  ## Environment in .venv and the default weights.

demo: setup  ## Segments organs of a real CT through the real HTTP server, from boxes, clicks and words; a report, a question, a diagnosis (also of PICTURES); in demo-output/.
	$(BIN)/python -m lib.cli.demo --output demo-output $(addprefix --picture ,$(PICTURES))

serve: setup $(if $(filter $(SAMPLE_STUDIES),$(STUDIES)),sample-data)  ## Serves STUDIES (a folder or a DICOMweb address) on http://127.0.0.1:8000.
	$(BIN)/medvl serve --studies $(STUDIES)

sample-data: $(INSTALLED)  ## A real CT, its labels, a DICOM series and a picture, into sample-data/cache.
	$(BIN)/python -m lib.cli.sample_data

pacs: $(INSTALLED) sample-data  ## Orthanc on http://127.0.0.1:8042 with the sample series, until ctrl-C or pacs-stop.
	$(BIN)/python -m lib.cli.pacs start

pacs-stop: $(INSTALLED)  ## Ends the Orthanc that `make pacs` started.
	$(BIN)/python -m lib.cli.pacs stop

test: setup  ## Tests that finish in minutes on two cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow and not gpu and not browser"

test-slow: setup sample-data  ## The slower checks.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "slow and not gpu"

$(BROWSER): $(INSTALLED) tests/clients/requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r tests/clients/requirements.lock
	@touch $@

test-clients: setup sample-data $(BROWSER)  ## OHIF in headless Chromium, Slicer's module and Orthanc against the server.
	$(BIN)/python tools/contained.py $(BIN)/python -m pytest -m "not gpu" tests/clients

check: $(INSTALLED)  ## Format, lint, types, layers, spelling, no large or patients' files: seconds.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell apps tests benchmarks docs tools *.md Makefile pyproject.toml
	@git ls-files -z | xargs -0 $(BIN)/python tools/check_files.py

format: $(INSTALLED)  ## Formats the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup sample-data  ## Benchmarks; the last line of each is one JSON document, kept in results/.
	$(BIN)/python benchmarks/bench_server.py --append results/bench_server.jsonl
	$(BIN)/python benchmarks/bench_engines.py --append results/bench_engines.jsonl
	$(BIN)/python benchmarks/bench_interactive.py --append results/bench_interactive.jsonl
	$(BIN)/python benchmarks/bench_words.py --append results/bench_words.jsonl
	$(BIN)/python benchmarks/bench_language.py --append results/bench_language.jsonl

docs: $(INSTALLED)  ## Writes the tables of README.md again from the code.
	$(BIN)/python tools/readme_tables.py

golden: $(INSTALLED)  ## Makes the golden client requests again from the plugins' source; look at the diff.
	$(BIN)/python tests/golden/make_golden.py
	git diff --stat -- tests/golden

hooks: $(INSTALLED)  ## Runs the quick checks before each commit (pre-commit, nothing is fetched).
	$(BIN)/pre-commit install

lock: $(INSTALLED)  ## Resolves the dependencies again.
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --all-extras pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header -c requirements.lock tests/clients/requirements.in -o tests/clients/requirements.lock

clean:  ## Removes the environment and what was downloaded or written.
	rm -rf $(VENV) demo-output test-output sample-data/cache apps/medvl/model
