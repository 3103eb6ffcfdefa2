# Two commands: `make bench` and `make test`. Each sets up .venv on the first run, and only what is missing later.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
INSTALLED := $(VENV)/.installed

.PHONY: help bench test peers setup

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

bench: $(INSTALLED)  ## measure the compression suite and save the run
	@echo "+ pytest benchmarks --energy --benchmark-autosave"
	@$(RUN) pytest benchmarks --energy --benchmark-autosave $(ARGS)

test: $(INSTALLED)  ## run the tests
	@$(RUN) pytest $(ARGS)

peers: $(INSTALLED)  ## what a window costs, beside zeus, pyRAPL, pyJoules and codecarbon (Linux)
	@$(RUN) tests.energy.studies.peers $(ARGS)

setup: $(INSTALLED)  ## install into .venv

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "+ pip install -e .[tsbench,nvml,test]   (into $(VENV); the first time this downloads torch)"
	@$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[tsbench,nvml,test]'
	@touch $@
