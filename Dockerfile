# syntax=docker/dockerfile:1
# Consilium in one image; EXTRA=cpu (about 620 MB) or EXTRA=gpu (brings the CUDA 13 libraries; about 3 GB).
# A release names its base by digest:  --build-arg BASE=python:3.12-slim-bookworm@sha256:<digest>
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG EXTRA=cpu
ARG UV_VERSION=0.13.9
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --quiet "uv==${UV_VERSION}" \
 && /opt/build/bin/uv venv --quiet /opt/consilium
WORKDIR /src
COPY requirements/ requirements/
RUN test "${EXTRA}" = cpu || test "${EXTRA}" = gpu \
 && /opt/build/bin/uv pip install --quiet --python /opt/consilium/bin/python --require-hashes -r "requirements/${EXTRA}.lock"
COPY . .
RUN /opt/build/bin/uv pip install --quiet --python /opt/consilium/bin/python --no-deps . \
 && /opt/consilium/bin/python -m compileall -q /opt/consilium/lib

FROM ${BASE}
# onnxruntime >= 1.29 reports usage by default on Linux; the package sets this too, before it imports it.
ENV ORT_DISABLE_TELEMETRY=1 \
    PATH=/opt/consilium/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    CONSILIUM_DATA_DIR=/data
RUN groupadd --gid 10001 consilium \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin consilium \
 && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/consilium /opt/consilium
USER 10001:10001
# The root file system may be read-only: everything written goes to /data, and /tmp is a tmpfs.
VOLUME ["/data"]
WORKDIR /data
EXPOSE 8080 11112
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('CONSILIUM_HTTP_PORT', '8080')}/readyz\", timeout=4)"]
ENTRYPOINT ["consilium"]
CMD ["serve"]
