# One image for the orchestrator, the agent, the metrics collector and the load test; the command says which.
# The packages are those of requirements/runtime.txt, by their hashes.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG GO_IMAGE=golang:1.26-bookworm

# --- The media engine, and the simulated phone for the load test --------------------------------------------------
FROM ${GO_IMAGE} AS go
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libopus-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY media-engine/go.mod media-engine/go.sum ./
COPY media-engine/cmd cmd
COPY media-engine/internal internal
RUN CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags="-s -w" -o /usr/local/bin/trunkline-phone ./cmd/phone \
    && CGO_ENABLED=1 go build -mod=mod -trimpath -ldflags="-s -w" -tags nolibopusfile \
        -o /usr/local/bin/trunkline-media ./cmd/engine

# --- Python packages ---------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS packages
COPY requirements/runtime.txt /build/
# Installed into a folder of its own: pip itself, which nobody needs afterwards, stays behind. Compiled here, because
# the image is read-only where it runs. Wheels only: nothing is compiled, and no package's code runs here, but docopt's
# (one file), which has no wheel.
RUN python -m venv /opt/pip \
    && python -m venv --without-pip /opt/venv \
    && /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --only-binary :all: --no-binary docopt --require-hashes --requirement /build/runtime.txt
# Providers that need more packages, such as deepgram: those are not pinned, but change none of the others.
ARG PIPECAT_EXTRAS=""
RUN [ -z "$PIPECAT_EXTRAS" ] || { grep -oE '^[A-Za-z0-9._-]+==[^ ;]+' /build/runtime.txt >/build/pinned.txt \
    && /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --only-binary :all: --constraint /build/pinned.txt "pipecat-ai[$PIPECAT_EXTRAS]"; }
COPY src /app/src
RUN /opt/venv/bin/python -m compileall -q /app/src

# --- The image ---------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends espeak-ng libopus0 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*.log /var/log/apt

# The same number owns the files that Compose and Kubernetes share with the LiveKit servers. A new named volume takes
# its owner from these folders.
RUN groupadd --gid 10001 trunkline \
    && useradd --uid 10001 --gid trunkline --home-dir /app --no-create-home --shell /usr/sbin/nologin trunkline \
    && install --directory --owner=trunkline --group=trunkline --mode=0750 \
        /rendered /data /recordings /loadtest /loadtest/runs \
    && ln -s /app/src/trunkline/loadtest/load_test.py /loadtest/load_test.py

COPY --from=go /usr/local/bin/trunkline-phone /usr/local/bin/trunkline-media /usr/local/bin/
COPY --from=packages /opt/venv /opt/venv
COPY --from=packages /app /app
COPY config /app/config
COPY LICENSE /app/
RUN printf '%s\n' '#!/opt/venv/bin/python' 'from trunkline.cli.main import main' '' 'main()' \
        >/usr/local/bin/trunkline \
    && chmod 0755 /usr/local/bin/trunkline

# PYTHONSAFEPATH: the folder of `load_test.py` is no place to look for other people's modules.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app/src \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001
CMD ["trunkline", "--help"]
