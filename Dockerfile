# One image for every part: Airflow's components, its tasks, and the MLflow server.
FROM python:3.11.14-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GIT_PYTHON_REFRESH=quiet \
    BEHAVIOR_HOME=/state

RUN useradd --uid 1000 --create-home behavior \
    && install -d -o behavior -g behavior -m 0750 /state /state/airflow /mlflow /opt/behavior
WORKDIR /opt/behavior

# What changes rarely comes first, so that a change of the code rebuilds only the last layers.
COPY requirements.txt requirements.lock ./
RUN pip install -r requirements.txt -c requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY behavior_tasks behavior_tasks
COPY conf conf
COPY dags dags
COPY plugins plugins
RUN pip install --no-deps --editable .

USER behavior
