# umad in a container, from this folder alone: docker build -t umad .
#
# The socket lies in the volume /run/umad, models in /models. Apps in other containers share the
# first volume and run as the same user. docs/service.md says how, and examples/compose.yaml shows it.

FROM python:3.13-slim-bookworm AS build
# Debian keeps only the newest version of a package, so a version written here would not be found
# for long.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
# For any processor with AVX2, or any of arm64. An empty one builds for the machine that builds.
ARG CMAKE_ARGS="-DGGML_NATIVE=OFF"
WORKDIR /src
COPY . .
RUN python -m venv /opt/umad \
 && /opt/umad/bin/python -m pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.13-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1000 umad \
 && useradd --uid 1000 --gid 1000 --create-home umad \
 && install --directory --owner=umad --group=umad --mode=0700 /run/umad /models
COPY --from=build /opt/umad /opt/umad
ENV PATH="/opt/umad/bin:$PATH" \
    UMAD_SOCKET=/run/umad/umad.sock \
    UMAD_MODELS=/models
USER 1000:1000
VOLUME ["/run/umad", "/models"]
# A daemon that loads a model answers, too.
HEALTHCHECK --interval=60s --timeout=30s --start-period=120s CMD ["umad", "ps", "--json"]
ENTRYPOINT ["umad"]
CMD ["serve"]
