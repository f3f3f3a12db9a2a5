# Everything runs from .venv, which is made from the hashed lock. See README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Settings kept in .env, if there is one; see .env.example.
DOTENV := set -a; [ ! -f .env ] || . ./.env; set +a;

.PHONY: help venv demo run test lint typing smoke packaging lab bench simulate container secrets verify-live lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/.installed: requirements/dev.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; this one is %d.%d. Set PYTHON=..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(BIN)/.installed ## make .venv with everything that is needed

demo: venv ## simulator and router on 127.0.0.1:8080, with a curl line to try; ARGS="SELECTOR=balanced"
	@$(DOTENV) exec $(BIN)/python scripts/demo.py $(ARGS)

run: venv ## the router against the real platform
	@$(DOTENV) exec $(BIN)/twistd -n --pidfile= autopilot

test: venv ## all that CI runs: lint, types, tests, smoke, a quick fault lab, packaging
	@mkdir -p logs
	$(BIN)/tox run --result-json logs/tox.json

lint typing smoke packaging: venv ## one part of it
	$(BIN)/tox run -e $@

lab: venv ## every fault of the contract against a real router, under five minutes; ARGS="--workers 2"
	@$(BIN)/python scripts/lab.py $(ARGS)

bench: venv ## gateways side by side, 22 minutes; ARGS=--quick: under five
	@$(BIN)/python scripts/bench/run.py $(ARGS)

simulate: venv ## selectors against a fleet in virtual time, under two minutes; ARGS=--full: up to 30
	@$(BIN)/python scripts/simulate.py $(ARGS)

container: ## build the image's stages and run the result, where root, buildah and debootstrap are
	@scripts/container_check.sh

secrets: venv ## no key in the tracked files, nor in any commit
	@$(BIN)/python scripts/secrets_check.py

verify-live: venv ## a few questions to the real platform; needs network and CHUTES_API_KEY
	@$(DOTENV) exec $(BIN)/python scripts/verify_live.py $(ARGS)

lock: venv ## renew the hashed lock files from requirements/*.in
	for name in runtime dev; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header \
	    --python-version 3.11 --no-emit-index-url requirements/$$name.in -o requirements/$$name.txt || exit 1; \
	done

clean: ## remove everything that was made
	rm -rf $(VENV) .tox .bench .container build dist logs *.egg-info .mypy_cache .ruff_cache .hypothesis
