# `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help install demo repro pipeline prefect test lint ui dashboard bench docs release lock clean

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# No telemetry.
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.venv/.installed: requirements/lock.txt requirements/torch.txt requirements/uv.txt pyproject.toml
	@requirements/install.sh

install: .venv/.installed ## create .venv from the locks

demo: .venv/.installed ## phantoms, dvc repro, a small search, verdicts, closing table (again: seconds)
	@coronet demo

repro: .venv/.installed ## dvc repro on the data that is there
	@test -d data/ct || { echo "data/ct is absent. Make a synthetic cohort with 'coronet data phantom', import your own with" \
	  "'coronet data import FOLDER', or fetch a shared one with 'dvc pull'."; exit 2; }
	@dvc repro

pipeline: .venv/.installed ## the same under Prefect, then MLflow and registration
	@python flows/pipeline.py

prefect: .venv/.installed ## Prefect's pages on 127.0.0.1:4200, with all flows and their schedules
	@python flows/deployments.py

test: .venv/.installed lint ## the whole test command
	@OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/.installed ## linters, import layers and types
	@ruff check .
	@ruff format --check .
	@lint-imports --no-cache
	@mypy

ui: .venv/.installed ## MLflow on 127.0.0.1:5000
	@coronet tracking ui

dashboard: .venv/.installed ## the searches in optuna-dashboard on 127.0.0.1:8080
	@coronet search dashboard

bench: .venv/.installed ## side-by-side timings, the quick ones
	@python benchmarks/score_mask.py
	@python benchmarks/score.py --repeats 3 --peer

docs: .venv/.installed ## the documentation as a site in build/site
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "Open build/site/index.html"

# With real scans: make release BACKGROUNDS=DIR
release: .venv/.installed ## train the networks of the package again: hours
	@python flows/release.py $(if $(BACKGROUNDS),--backgrounds "$(BACKGROUNDS)")

# UV_FIND_LINKS or UV_EXTRA_INDEX_URL must lead to torch's CPU build, else CUDA's packages enter the lock.
lock: ## resolve requirements/lock.txt again
	uv pip compile pyproject.toml --extra all --extra dev --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-emit-package torch --no-annotate --no-header -o requirements/lock.txt

clean: ## remove build/ and .venv (data/ and mlruns/ stay)
	rm -rf build .venv
