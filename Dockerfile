# Serving only: no torch, no compiler, no shell tools beyond Debian's slim base.
FROM python:3.11-slim-bookworm AS build
# cpu, or gpu for NVIDIA (the CUDA libraries come as wheels).
ARG EXTRA=cpu
WORKDIR /build
RUN python -m venv /opt/venv
COPY pyproject.toml README.md ./
COPY model ./model
COPY service ./service
# Enough of `training` for its commands to say what is missing.
COPY training/__init__.py ./training/
COPY training/cli/__init__.py training/cli/console.py training/cli/main.py ./training/cli/
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check ".[${EXTRA}]" \
    && /opt/venv/bin/pip uninstall --yes --disable-pip-version-check pip setuptools \
    && find /opt/venv -name '__pycache__' -prune -exec rm -rf {} +

FROM python:3.11-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
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
