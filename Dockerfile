# One image for every part: Airflow's components, its tasks, the MLflow server; with the target `spark` also Spark.
#   docker build --build-arg VERSION=0.8.0 --target run .
# TORCH_INDEX=https://download.pytorch.org/whl/cpu takes torch without CUDA: a much smaller image, for a host without GPU.
FROM python:3.11.14-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    GIT_PYTHON_REFRESH=quiet \
    PATH=/opt/venv/bin:$PATH

# What installs packages stays behind in this stage.
FROM base AS build
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_EXTRA_INDEX_URL=${TORCH_INDEX}
RUN python -m venv /opt/venv
WORKDIR /opt/behavior
# What changes rarely comes first, so that a change of the code rebuilds only the last layers.
COPY requirements.txt requirements-s3.txt requirements.lock ./
RUN pip install -r requirements.txt -r requirements-s3.txt -c requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY behavior_tasks behavior_tasks
COPY conf conf
COPY dags dags
COPY plugins plugins
COPY scripts scripts
ARG VERSION
RUN pip install --no-deps --editable . \
    && python -m compileall -q behavior_tasks dags plugins scripts \
    && test "$(python -c 'from importlib.metadata import version; print(version("behavior-tasks"))')" = "$VERSION"

FROM build AS build-spark
RUN pip install --no-deps --target /opt/spark pyspark==4.0.5 py4j==0.10.9.9

FROM base AS run
ARG VERSION
LABEL org.opencontainers.image.title="behavior-tasks" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PYTHONDONTWRITEBYTECODE=1 \
    BEHAVIOR_HOME=/state
# pg_dump and pg_restore, for backups.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client-15 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home behavior \
    && install -d -o behavior -g behavior -m 0750 /state /mlflow
# The code belongs to root: what runs can't change it. How a part is asked whether it is well differs from part to part
# and stands in docker-compose.yaml, so there is no HEALTHCHECK here.
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/behavior /opt/behavior
WORKDIR /opt/behavior
USER behavior

FROM run AS spark
USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless procps \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-spark /opt/spark /opt/spark
ENV PYTHONPATH=/opt/spark
USER behavior
