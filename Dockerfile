# Serving only: no torch, no compiler, no shell tools beyond Debian's slim base.
FROM python:3.11-slim-bookworm AS build
# cpu, or gpu for NVIDIA (the CUDA libraries come as wheels); cpu,tracing for both.
ARG EXTRA=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements ./requirements
# Nothing is installed whose hash is not in the lock.
RUN python -m venv /opt/venv && IFS=, \
    && for extra in build ${EXTRA}; do set -- "$@" -r "requirements/${extra}.txt"; done \
    && /opt/venv/bin/pip install --no-deps --require-hashes "$@"
COPY pyproject.toml README.md ./
COPY model ./model
COPY service ./service
# Enough of `training` for its commands to say what is missing.
COPY training/__init__.py ./training/
COPY training/cli/__init__.py training/cli/console.py training/cli/main.py ./training/cli/
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation . \
    && /opt/venv/bin/pip uninstall --yes pip setuptools \
    && find /opt/venv '(' -name '__pycache__' -o -name tests ')' -prune -exec rm -rf {} + \
    # for programs in C; Python's module has its own copy (the wheel for CUDA was not tried)
    && case "${EXTRA}" in cpu*) \
    rm -f /opt/venv/lib/python*/site-packages/onnxruntime/capi/libonnxruntime.so.* ;; esac
WORKDIR /srv
COPY artifacts ./artifacts
# Bytecode of what serving imports, which a read-only container could not keep: without it each start
# compiles all sources, and those of the standard library, whose bytecode the base image leaves out.
RUN export PYTHONPYCACHEPREFIX=/opt/venv/bytecode RESNET_ARTIFACT=artifacts/fashion-mnist/1 \
    && /opt/venv/bin/python -m service.registry.trial \
    && /opt/venv/bin/python -c "import service.cli, service.run, service.healthcheck, \
service.preprocessing.child, service.offline.cli, multiprocessing.spawn, multiprocessing.resource_tracker"

FROM python:3.11-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/venv/bytecode \
    RESNET_HOST=0.0.0.0 \
    RESNET_LOG_FORMAT=json
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv
COPY artifacts ./artifacts
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-m", "service.healthcheck"]
CMD ["serve-model"]
