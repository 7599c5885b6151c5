# Two environments: `.venv` serves (no torch), `.venv-dev` trains, checks and tests.
PYTHON ?= python3
# `make serve` takes onnxruntime for NVIDIA where a driver answers; EXTRA=cpu or gpu overrides.
EXTRA ?= $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
# Python compiles what it imports; all of torch would take a minute. It keeps the bytecode, also where the
# environment says otherwise, as many containers' do: else each start of a server compiles its sources again.
export PYTHONDONTWRITEBYTECODE =
PIP = -m pip install --quiet --disable-pip-version-check --no-compile
COMMA = ,
EXTRA_LOCKS = $(patsubst %,requirements/%.txt,$(subst $(COMMA), ,$(EXTRA)))
LOCKED_BY = --no-deps --require-hashes $(patsubst %,-r %,requirements/build.txt $(filter requirements/%,$^))
RUN = .venv-dev/bin
ON_FASHION = --recipe fast --images 10000 --set architecture=resnet20 --set image_size=14 --set epochs=6
ON_CIFAR10 = --recipe cifar10 --images 10000 --set architecture=resnet20 --set image_size=16 --set epochs=8
ON_PHOTOS = --recipe cifar10 --set architecture=resnet20 --set image_size=64 --set batch_size=16 --set epochs=8

.PHONY: help serve install test coverage check chromium proxies fashion-mnist fix bench bench-peers bench-trust bench-ray gpu train experiments \
    test-scale lock audit audit-code audit-container audit-advisories sbom clean

help:
	@echo "make serve   install the serving dependencies and serve artifacts/fashion-mnist/1 on port 8000"
	@echo "make test    install the other dependencies, check, and run every test"
	@echo "make coverage   the same, and report the lines without a test"
	@echo "make test-scale   test Ray on two nodes, and containers behind HAProxy; 15 minutes"
	@echo "make check   format, lint and types, without changing anything"
	@echo "make fix     format the code, and fix lint where possible"
	@echo "make bench   measure the service on this machine"
	@echo "make bench-trust   train networks and measure coverage, calibration, OOD detection and maps; an hour"
	@echo "make bench-peers   compare it with mosec, LitServe, BentoML, Ray Serve and Triton, which are downloaded first"
	@echo "make bench-ray   measure what Ray Serve adds to the cost of a request; five minutes"
	@echo "make fuzz    send random hostile input, and compare the answers with the OpenAPI document"
	@echo "make gpu     measure serving and training on this machine's GPU; five minutes"
	@echo "make train   train the default model and export it to artifacts/fashion-mnist/2"
	@echo "make experiments   reproduce published claims about residual networks; hours"
	@echo "make audit   check for known vulnerabilities and unsafe code, and test the container (needs Docker)"
	@echo "make sbom    list the packages of the image, as CycloneDX, in dist/"
	@echo "make lock    renew the locked versions in requirements/"
	@echo "make clean   remove all environments"

serve: .venv/.serving
	exec .venv/bin/serve-model

install: .venv-dev/.installed

# The service's tests run where it is served, without torch. So do those of `model` that need none.
# That nothing which serves loads torch can only be seen where there is torch. Two files at a time.
SIDE_BY_SIDE = -n 2 --dist loadfile
TORCH_OR_ONNX = tests/model/network tests/model/weights \
    tests/model/architecture/test_summary_against_torch.py \
    tests/model/artifact/test_onnx_file_against_onnx.py
TRAINED = tests/training $(TORCH_OR_ONNX) tests/experiments tests/examples tests/benchmarks tests/deploy tests/test_layering.py tests/test_locks.py tests/page
SERVED = tests/model tests/service
test: chromium proxies fashion-mnist
	@$(MAKE) --no-print-directory --jobs 2 check .venv/.testing
	$(RUN)/pytest -q $(SIDE_BY_SIDE) $(TRAINED)
	.venv/bin/pytest -q $(SIDE_BY_SIDE) $(SERVED)

# The same with every line counted, which takes longer.
coverage: chromium proxies fashion-mnist
	@$(MAKE) --no-print-directory --jobs 2 check .venv/.testing
	$(RUN)/pytest -q --cov --cov-report= $(SIDE_BY_SIDE) $(TRAINED)
	.venv/bin/pytest -q --cov --cov-append $(SIDE_BY_SIDE) $(SERVED)

# What needs a cluster is no part of `make test`. Ray has an environment of its own, .venv-ray.
test-scale: .venv-ray/.installed install
	@if docker info >/dev/null 2>&1; then $(MAKE) images; else echo "no Docker engine: its tests are skipped"; fi
	DOCKER_COMPOSE='$(DOCKER_COMPOSE)' .venv-ray/bin/pytest -q tests/scale
	DOCKER_COMPOSE='$(DOCKER_COMPOSE)' $(RUN)/pytest -q tests/scale/test_torchrun.py tests/scale/test_tutorial.py

check: install
	$(RUN)/ruff format --check --quiet .
	$(RUN)/ruff check --quiet .
	$(RUN)/mypy

# The page is tested in Debian's Chromium. Where it is missing and cannot be installed, those tests
# skip and say so; everything else runs.
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } \
	    || echo "chromium is missing: the page's tests in a browser are skipped (apt-get install chromium)"

# A few tests ask through real proxies. They are not installed where systemd would start them at once.
proxies:
	@{ PATH="$$PATH:/usr/sbin"; command -v nginx && command -v haproxy; } >/dev/null \
	    || { [ "$$(id -u)" = 0 ] && [ ! -d /run/systemd/system ] && command -v apt-get >/dev/null && apt-get update -qq \
	    && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends nginx haproxy openssl >/dev/null; } \
	    || echo "nginx or haproxy is missing: tests behind them are skipped (apt-get install nginx haproxy)"

# One test takes 1,000 real images where Debian's package of them is installed.
fashion-mnist:
	@[ -d /usr/share/datasets/fashion-mnist ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && apt-get update -qq && apt-get install -y -qq --no-install-recommends dataset-fashion-mnist >/dev/null; } \
	    || echo "Fashion-MNIST is missing: maps are tested on 300 images (apt-get install dataset-fashion-mnist)"

fix: install
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

experiments: install
	$(RUN)/python -m experiments all --out runs/experiments

bench: install
	$(RUN)/python -m benchmarks.engine
	$(RUN)/python -m benchmarks.startup
	$(RUN)/python -m benchmarks.load
	$(RUN)/python -m benchmarks.overload
	$(RUN)/python -m benchmarks.fairness
	$(RUN)/python -m benchmarks.access
	$(RUN)/python -m benchmarks.precision
	$(RUN)/python -m benchmarks.cores
	$(RUN)/python -m benchmarks.soak
	$(RUN)/python -m benchmarks.explain
	$(RUN)/python -m benchmarks.plan

# One replica on Ray beside one plain server.
bench-ray: .venv-ray/.installed
	.venv-ray/bin/python -m benchmarks.ray_serve

# In an environment of its own, .venv-gpu, with onnxruntime and torch for CUDA.
gpu: .venv-gpu/.installed
	.venv-gpu/bin/python -m benchmarks.gpu --out runs/gpu

# Small networks, an hour. CIFAR10=FOLDER and PHOTOS=FOLDER: folders of labelled images, `cifar10` and a small set.
bench-trust: install
	$(RUN)/python -m benchmarks.networks runs/trust $(ON_FASHION)
	[ -z "$(CIFAR10)" ] || $(RUN)/python -m benchmarks.networks runs/trust --data "$(CIFAR10)" $(ON_CIFAR10)
	$(RUN)/python -m benchmarks.coverage runs/trust/*-[0-9]
	[ -z "$(PHOTOS)" ] || $(RUN)/python -m benchmarks.networks runs/trust --data "$(PHOTOS)" $(ON_PHOTOS)
	$(RUN)/python -m benchmarks.calibrators runs/trust/*-[0-9]
	$(RUN)/python -m benchmarks.ood_detection runs/trust/left-out $(ON_FASHION) --leave-out Shirt --leave-out Sandal
	[ -z "$(CIFAR10)" ] || $(RUN)/python -m benchmarks.ood_detection runs/trust/left-out --data "$(CIFAR10)" $(ON_CIFAR10) \
	    $(patsubst %,--leave-out %,bird cat deer ship truck)
	$(RUN)/python -m benchmarks.explanations
	[ -z "$(CIFAR10)" ] || $(RUN)/export-model runs/trust/*-10000-cifar10-*-0 --out runs/trust/artifacts/cifar10/1 \
	    --precision float32 --overwrite
	[ -z "$(CIFAR10)" ] || $(RUN)/python -m benchmarks.explanations runs/trust/artifacts/cifar10/1 --data "$(CIFAR10)"

# The other servers get environments of their own, such as .venv-mosec, from PyPI.
bench-peers: install
	$(RUN)/python -m benchmarks.peers.compare
	[ -e runs/resnet50/1 ] || $(RUN)/export-model --architecture resnet50 --random --precision all --out runs/resnet50/1
	$(RUN)/python -m benchmarks.photos runs/resnet50/1

# It goes on with a run that was stopped; a model that is there is not overwritten.
train: install fashion-mnist
	@[ ! -e artifacts/fashion-mnist/2 ] || { echo "artifacts/fashion-mnist/2 is there already; move it first"; exit 1; }
	$(RUN)/train-model --recipe default --out runs/default $$([ -e runs/default/checkpoints/last.ckpt ] && echo --resume)
	$(RUN)/evaluate-model runs/default
	$(RUN)/export-model runs/default --out artifacts/fashion-mnist/2

# The locks: versions and hashes of what the image and this file install, one file an extra. Versions
# stay while pyproject.toml allows them; `make lock UPGRADE=--upgrade` takes the newest that are a week
# old. torch and the CUDA libraries of its build on PyPI have a file of their own.
LOCKED = cpu gpu grpc tracing training ray dev
COMPILE = .venv-audit/bin/uv pip compile --quiet --universal --python-version 3.11 --exclude-newer '1 week' \
    --custom-compile-command 'make lock'
lock: .venv-audit/.installed
	cat $(wildcard $(LOCKED:%=requirements/%.txt) requirements/torch.txt) >.venv-audit/all.txt
	$(COMPILE) $(UPGRADE) pyproject.toml $(LOCKED:%=--extra %) --output-file .venv-audit/all.txt
	for extra in $(LOCKED); do cp .venv-audit/all.txt requirements/$$extra.txt && $(COMPILE) --generate-hashes \
	    pyproject.toml --extra $$extra --output-file requirements/$$extra.txt || exit; done
	awk '/^[a-z]/ {torch = /^(torch=|triton=|cuda-|nvidia-)/} {print > ("requirements/" (torch ? "torch" : "training") ".new")}' \
	    requirements/training.txt
	cd requirements && mv torch.new torch.txt && mv training.new training.txt
	$(COMPILE) $(UPGRADE) --generate-hashes --group audit --output-file requirements/audit.txt
	.venv-audit/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	    | $(COMPILE) $(UPGRADE) --generate-hashes - --output-file requirements/build.txt

# Advisories come last: a machine that cannot reach them has seen everything else by then. Audited are
# the locks, and the oldest versions that pyproject.toml allows.
audit: audit-code audit-container audit-advisories

audit-code: .venv-audit/.installed
	.venv-audit/bin/bandit --quiet --configfile pyproject.toml --recursive model service training
	.venv-audit/bin/hadolint Dockerfile deploy/haproxy/Dockerfile

# What `docker compose --profile scale` runs.
.PHONY: images
images:
	docker build --quiet $(DOCKER_BUILD) --tag resnet-service:cpu .
	docker build --quiet $(DOCKER_BUILD) --tag resnet-haproxy deploy/haproxy

DOCKER_COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
audit-container: .venv/.testing
	$(DOCKER_COMPOSE) --profile cpu --profile gpu --profile gpus config --quiet
	@for file in deploy/compose/*.yml; do \
	    env $$(grep -oh 'RESNET_[A-Z_]*:?' $$file | sed 's/:?/=x/') \
	    $(DOCKER_COMPOSE) --file docker-compose.yml --file $$file config --quiet || exit; done
	docker build --quiet $(DOCKER_BUILD) --tag resnet-service:cpu .
	AUDIT_COMPOSE='$(DOCKER_COMPOSE)' .venv/bin/pytest -q tests/container

audit-advisories: .venv-audit/.installed
	.venv-audit/bin/uv pip compile --quiet --universal --python-version 3.11 --no-deps --resolution lowest-direct \
	    --generate-hashes --all-extras pyproject.toml --output-file .venv-audit/floors.txt
	@.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	    $(patsubst %,-r %,$(wildcard requirements/*.txt) .venv-audit/floors.txt) 2>.venv-audit/advisories.log \
	    && tail -n 1 .venv-audit/advisories.log || { tail -n 1 .venv-audit/advisories.log; \
	    grep -q '^Found' .venv-audit/advisories.log || echo "Not audited: the advisories could not be read." \
	    "PIP_AUDIT_VULNERABILITY_SERVICE=osv asks another service."; exit 1; }

# Of the image's Python and platform; the versions and hashes that its build insists on.
sbom: .venv-audit/.installed
	mkdir -p dist
	.venv-audit/bin/uv pip compile --quiet --no-deps --no-annotate --no-header --generate-hashes \
	    --python-version 3.11 --python-platform x86_64-unknown-linux-gnu $(EXTRA_LOCKS) >.venv-audit/image.txt
	PYTHONWARNINGS=ignore .venv-audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --validate \
	    --output-reproducible --output-file 'dist/sbom-$(EXTRA).cdx.json' .venv-audit/image.txt

# From the last commit, into dist/, and checked there; nothing is published. It needs a Docker engine.
.PHONY: release
release: .venv-audit/.installed
	rm -rf dist
	$(MAKE) sbom EXTRA=cpu
	.venv-audit/bin/python -m deploy.release --docker-build '$(DOCKER_BUILD)'

# What nobody should send, for FUZZ_S seconds a harness, and requests made from the OpenAPI document.
FUZZ_S ?= 60
FUZZ_NEEDS = 'atheris>=3' 'httpx>=0.28' 'openapi-spec-validator>=0.9' 'schemathesis>=4.32,<5'
.PHONY: fuzz
fuzz: .venv-fuzz/.installed
	.venv-fuzz/bin/python -m fuzz --seconds $(FUZZ_S)
	.venv-fuzz/bin/python -m fuzz.api

clean:
	rm -rf .venv .venv-*

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv

.venv-dev/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv-dev

.venv-fuzz/.installed: pyproject.toml Makefile
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python $(PIP) -e '.[cpu]' $(FUZZ_NEEDS)
	@touch $@

# What is locked is installed with its hashes, then the project itself. pip takes torch from wherever
# this machine finds it: the build of PyPI is for CUDA, and others are not in the lock.
.venv/.serving: pyproject.toml $(EXTRA_LOCKS) .venv/bin/python
	.venv/bin/python $(PIP) $(LOCKED_BY)
	.venv/bin/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# The same environment with the test tools: the service's tests pass where there is no torch.
.venv/.testing: .venv/.serving $(EXTRA_LOCKS) requirements/dev.txt
	.venv/bin/python $(PIP) $(LOCKED_BY)
	@touch $@

.venv-dev/.installed: pyproject.toml $(patsubst %,requirements/%.txt,cpu training dev) .venv-dev/bin/python
	.venv-dev/bin/python $(PIP) $(LOCKED_BY)
	.venv-dev/bin/python $(PIP) --no-build-isolation -e '.[cpu,training,dev]'
	@touch $@

.venv-ray/.installed: pyproject.toml $(patsubst %,requirements/%.txt,cpu ray dev)
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python $(PIP) $(LOCKED_BY)
	.venv-ray/bin/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv-gpu/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python $(PIP) -e '.[gpu,training,dev]'
	@touch $@

.venv-audit/.installed: requirements/audit.txt
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python $(PIP) $(LOCKED_BY)
	@touch $@
