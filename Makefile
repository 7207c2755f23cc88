# The README's two commands are `make demo` and `make test`. Both install what they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# checkov's pins clash with ours: it has an environment of its own.
CHECKOV := $(VENV)-checkov
CHECKOV_VERSION := 3.3.30
CHECKED := $(CHECKOV)/.$(CHECKOV_VERSION)

WORKERS ?= 2
KILLS  ?= 25
SEED   ?= $(shell date +%s)

# Modules are compiled when they are first imported: to compile all there are takes over a minute.
INSTALL := -m pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test cross-cloud chaos check types infra wheel package package-aws package-gcp images clean

demo: $(STAMP)        ## run the main job on this computer
	$(BIN)/fedspan demo

test: $(STAMP)        ## all tests; WORKERS=1: one after another
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

cross-cloud: $(STAMP) ## one job across AWS, Google and OpenStack, all on loopback; JSON=1
	@$(BIN)/python -m tests.e2e.cross_cloud

chaos: $(STAMP)       ## hurt real jobs KILLS times at instants drawn from SEED
	@$(BIN)/python -m tests.chaos.storm --kills $(KILLS) --seed $(SEED)

check: $(STAMP)       ## format, lint, types, layers: what CI checks beside the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(MAKE) --jobs=2 --output-sync types infra

types: $(STAMP)
	$(BIN)/mypy

infra: $(STAMP) $(CHECKED) ## what is deployed: its form, and what checkov holds of it
	@if command -v terraform >/dev/null; then terraform fmt -check -recursive infra; \
	else echo 'LEFT OUT: terraform fmt; terraform is not on PATH'; fi
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python functions/aws/package.py --templates build/template
	$(CHECKOV)/bin/checkov --config-file infra/checkov.yaml -d infra
	$(CHECKOV)/bin/checkov --config-file infra/checkov.yaml -f build/template/sam.json

wheel: $(STAMP)       ## dist/fedspan-*.whl
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

package: package-aws package-gcp

package-aws: wheel    ## build/aws: what AWS Lambda gets
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python functions/aws/package.py dist build/aws

package-gcp: wheel    ## build/gcp: what Google's Cloud Functions get
	rm -rf build/gcp
	$(BIN)/python functions/gcp/package.py dist build/gcp

images: wheel         ## the two container images
	docker build -f aggregator_image/Dockerfile -t fedspan-aggregator .
	docker build -f client_image/Dockerfile -t fedspan-client .

clean:
	rm -rf $(VENV) $(CHECKOV) build dist

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Fedspan needs Python 3.11 or newer, this is %d.%d; name another: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) --upgrade pip
	$(BIN)/python $(INSTALL) --editable '.[dev]'
	touch $(STAMP)

$(CHECKED):
	$(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/python $(INSTALL) checkov==$(CHECKOV_VERSION)
	touch $@
