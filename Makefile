# Variables that may be given to every target:
#   PYTHON=python3.12          the Python to make the environment with
#   VENV=/path                 another place for it, or an existing environment to use
#   DETECTRON2=git             build upstream Detectron2 (C++ compiler needed) instead of its Python code
#   DETECTRON2_SOURCE=/path    where to build it from when GitHub cannot be reached
#   PYTEST_ARGS, WORKERS       for `make test`; ARGS for `make quickstart`
VENV ?= .venv
PYTHON ?=
DETECTRON2 ?=
DETECTRON2_SOURCE ?=
WORKERS ?= 2
RUN = "$(VENV)/bin/python"

.PHONY: help env quickstart test lint format docs
.DEFAULT_GOAL := help

help:
	@echo "make quickstart   set up, then train, evaluate and picture RetinaNet with the scale-balanced loss"
	@echo "make test         set up, then run the tests"
	@echo "make env          set up only: an environment in .venv (see docs/install.md)"
	@echo "make lint         check style and types; make format mends the style"
	@echo "make docs         the documentation site, into build/site"
	@echo "Variables: PYTHON VENV DETECTRON2 DETECTRON2_SOURCE PYTEST_ARGS WORKERS ARGS (explained in the Makefile)"

env:
	@sh tools/with_python.sh "$(PYTHON)" tools/setup_env.py --venv "$(VENV)" --python "$(PYTHON)" \
	    --detectron2 "$(DETECTRON2)" --detectron2-source "$(DETECTRON2_SOURCE)"

# Threads that sleep while they wait: on busy cores spinning ones make training many times slower.
quickstart: env
	OMP_WAIT_POLICY=PASSIVE $(RUN) -m scb_d2 quickstart $(ARGS)

# One thread for each worker: more only fight for the same cores.
test: env
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	    $(RUN) -m pytest -q -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: env
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: env
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: env
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(RUN) tools/docs_site.py build/docs
	$(RUN) -m mkdocs build
