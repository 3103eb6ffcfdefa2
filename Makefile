# Two commands: `make bench` and `make test`. Each sets up .venv on the first run, and only what is missing later.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
INSTALLED := $(VENV)/.installed
FULL := $(VENV)/.full
ALL := $(VENV)/.all
PIP := --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help bench bench-full bench-count test test-slow test-all test-full check lint coverage docs reference peers gate-study lint-workflows dist audit setup

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

bench: $(INSTALLED)  ## measure the compression suite and save the run
	@echo "+ pytest benchmarks --energy --benchmark-autosave"
	@$(RUN) pytest benchmarks --energy --benchmark-autosave $(ARGS)

bench-full: $(FULL)  ## the same with every variant and engine (installs OpenVINO)
	@echo "+ pytest benchmarks --energy --tsbench-full --benchmark-autosave"
	@$(RUN) pytest benchmarks --energy --tsbench-full --benchmark-autosave $(ARGS)

COUNTS := $(wildcard benchmarks/counts.json)
bench-count: $(INSTALLED)  ## count the work of the core set's models of PLAID, without measuring
	@echo "+ pytest benchmarks --energy-count -k 'PLAID and batch1'"
	@# Builds what is missing: under valgrind a compiled model takes minutes.
	@OMP_NUM_THREADS=1 $(RUN) pytest benchmarks -q -k "PLAID and batch1"
	@OMP_NUM_THREADS=1 $(RUN) pytest benchmarks --energy-count --energy-allow-ungated \
	  --energy-count-timeout=1800 -k "PLAID and batch1" $(COUNTS:%=--energy-compare=%) $(ARGS)

test: $(INSTALLED)  ## run the tests but the slow ones, two at a time (one at a time: ARGS="-n 0")
	@$(RUN) pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

test-slow: $(INSTALLED)  ## run the slow tests: engines, clusters, commits, whole suites
	@$(RUN) pytest -n 2 --dist worksteal -m slow $(ARGS)

test-all: test test-slow  ## run every test

test-full: $(ALL)  ## run every test, with every optional package (OpenVINO, aeon, Parquet, matplotlib)
	@$(RUN) pytest -n 2 --dist worksteal $(ARGS)

check: lint test-all docs  ## everything that must hold before a change goes in

lint: $(INSTALLED)  ## format, style, direction of imports, types, dead code
	@$(RUN) pip install $(PIP) --group check
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/mypy
	@$(VENV)/bin/vulture

coverage: $(INSTALLED)  ## what of pytest_energy its tests run, branches too; less than 95 % is an error
	@$(RUN) pip install $(PIP) --group check
	@rm -rf build/coverage
	@$(RUN) coverage run -m pytest -n 2 tests/energy tests/docs tests/examples $(ARGS)
# combine names some files that it cannot use: of processes that tests kill, or give a full disk.
	@$(RUN) coverage combine --quiet
	@rm -f build/coverage/data.*
	@$(RUN) coverage report

docs: $(INSTALLED)  ## the site, in build/site; warnings and broken links are errors, links to elsewhere are listed
	@$(RUN) pip install $(PIP) --group docs
	@$(VENV)/bin/zensical build --strict
	@$(RUN) scripts.links

reference: $(INSTALLED)  ## docs/reference.md from the code
	@$(RUN) scripts.reference

peers: $(INSTALLED)  ## what a window costs, beside zeus, pyRAPL, pyJoules and codecarbon (Linux)
	@$(RUN) studies.peers $(ARGS)

lint-workflows: $(INSTALLED)  ## GitHub's schema and zizmor on the workflows, offline
	@$(RUN) pip install $(PIP) --group workflows
	@$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-actions action.yml
	@$(VENV)/bin/check-jsonschema --builtin-schema vendor.gitlab-ci templates/gitlab.yml
	@$(VENV)/bin/zizmor --offline --no-progress .github action.yml

dist: $(INSTALLED)  ## both distributions, built and checked, in dist/
	@$(RUN) pip install $(PIP) --group release
	@rm -rf dist
	@$(RUN) build --outdir dist .
	@$(RUN) build --outdir dist tsbench
	@$(RUN) twine check --strict dist/*

audit: $(INSTALLED)  ## known holes in what is installed, by pip-audit (needs the network)
	@$(RUN) pip install $(PIP) pip-audit
	@$(VENV)/bin/pip-audit --skip-editable

RAPL_RUNS ?=
gate-study: $(INSTALLED)  ## how often the gate errs: the tables of docs/gate.md (long; with nothing else running)
	@$(RUN) studies.gate_simulator
	@$(RUN) studies.suite_alpha_study
	@$(RUN) studies.other_rules
	@if test -e "$(RAPL_RUNS)"; then $(RUN) studies.saved_runs_study "$(RAPL_RUNS)"; \
	else echo "the study of saved runs is left out: make gate-study RAPL_RUNS=FILE"; fi
	@$(RUN) studies.live_verdicts --neighbours bursts
	@$(RUN) studies.live_verdicts --neighbours 4 --tolerance 0.5 --more 0 1 2
	@$(RUN) studies.gate_live
	@$(RUN) studies.gate_live windows
	@$(RUN) studies.live_runs_study
	@$(RUN) studies.against_study --max-time 20
	@$(RUN) studies.bisect_study
	@$(RUN) studies.layout_study
	@$(RUN) studies.suite_study
	@$(RUN) studies.suite_study --changed 10 --runs 5
	@$(RUN) studies.unstable_study

setup: $(INSTALLED)  ## install into .venv

$(INSTALLED): pyproject.toml tsbench/pyproject.toml constraints.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "+ pip install -e .[nvml,history,report] -e ./tsbench[onnx,ray] --group test   (into $(VENV); the first time this downloads torch)"
	@$(RUN) pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(RUN) pip install $(PIP) --editable '.[nvml,history,report]' --editable './tsbench[onnx,ray]' --group test
	@touch $@

# OpenVINO and NNCF: 12 s and 190 MB that neither the tests nor the core set need.
$(FULL): $(INSTALLED)
	@echo "+ pip install -e ./tsbench[openvino]"
	@$(RUN) pip install $(PIP) --editable . --editable './tsbench[openvino]'
	@touch $@

$(ALL): $(FULL)
	@echo "+ pip install -e .[parquet] -e ./tsbench[teacher] --group plot"
	@$(RUN) pip install $(PIP) --editable '.[parquet]' --editable './tsbench[teacher]' --group plot
	@touch $@
