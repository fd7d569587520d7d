"""docker-compose.yaml: valid, complete, no default secret, nothing open to the network, every option exists."""

import importlib.util
import json
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from behavior_tasks.base.home import Home
from behavior_tasks.cli.airflow import airflow_environment
from behavior_tasks.data.keys import KEY_VARIABLE
from scripts import init_cluster, make_secrets
from scripts.native.compose import read_services
from tests import compose_file
from tests.compose_file import PROJECT, MissingError, chosen

OWN = {"init", "mlflow", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
PLAIN = {"postgres", "redis", *OWN}
PROFILES = {"gpu": {"worker-gpu"}, "s3": {"s3"}, "spark": {"spark-master", "spark-worker"}}
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer", "worker", "worker-gpu")
SECRET = re.compile(r"PASSWORD$|SECRET|_KEY$|CONN$|_URI$|BROKER_URL$|RESULT_BACKEND$")
VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
OPEN = {"MLFLOW_TRACKING_URI", "AWS_ACCESS_KEY_ID", "BEHAVIOR_SMTP_PASSWORD"}
"""Look like secrets, but are an address, a name and something that only who sends mail has."""
PINNED = re.compile(r"^[a-z/-]+:\d+\.\d+(\.\d+)?(-[a-z]+)*$")
DEPLOYMENT = ("docker-compose.yaml", "Dockerfile", ".dockerignore", "Makefile", "scripts", "deploy", "docs")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The values of an `.env` as `make secrets` writes it."""
    folder = tmp_path_factory.mktemp("project")
    for name in (".gitignore", ".dockerignore"):
        (folder / name).write_bytes((PROJECT / name).read_bytes())
    assert make_secrets.main(["--folder", str(folder)]) == 0
    lines = [line for line in (folder / ".env").read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def compose(secrets: dict[str, str]) -> dict[str, Any]:
    return compose_file.read(secrets)


@pytest.fixture(scope="module")
def airflow_options() -> set[str]:
    """Every option of Airflow and its providers, as the name of its environment variable, from their own lists."""
    listed = yaml.load((package("airflow") / "config_templates" / "config.yml").read_text("utf-8"), yaml.CSafeLoader)
    sections = list(listed.items())
    for provider in ("celery", "fab"):
        file = package("airflow") / "providers" / provider / "get_provider_info.py"
        sections += runpy.run_path(str(file))["get_provider_info"]()["config"].items()
    return {f"AIRFLOW__{section}__{option}".upper() for section, content in sections for option in content["options"]}


def package(name: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def words(service: dict[str, Any]) -> list[str]:
    return [str(word) for word in service.get("command", [])]


def test_it_is_valid(compose: dict[str, Any]) -> None:
    schema = json.loads((PROJECT / "tests" / "vendored" / "compose-spec.json").read_text(encoding="utf-8"))
    problems = jsonschema.Draft7Validator(schema).iter_errors(compose)
    assert [f"{error.json_path}: {error.message}" for error in problems] == []


def test_each_part_starts_when_it_should(compose: dict[str, Any]) -> None:
    assert set(chosen(compose, set())) == PLAIN
    for profile, more in PROFILES.items():
        assert set(chosen(compose, {profile})) == PLAIN | more
    for profiles in (set(), {"s3"}, {"gpu", "s3", "spark"}):
        services = chosen(compose, profiles)
        for name, service in services.items():
            for needed, how in service.get("depends_on", {}).items():
                if how.get("required", True):
                    assert needed in services, f"{name} waits for {needed}, which does not start"
                if needed in services and how["condition"] == "service_healthy":
                    assert "healthcheck" in services[needed]
    assert compose["services"]["init"]["depends_on"]["s3"]["required"] is False


def test_what_it_names_is_there_and_used(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    volumes = {mount.partition(":")[0] for service in services for mount in service.get("volumes", [])}
    assert volumes == set(compose["volumes"])
    networks = {name for service in services for name in service["networks"]}
    assert networks == set(compose["networks"])
    assert all(compose["networks"][name]["internal"] for name in ("inside", "store"))
    for name in ("postgres", "redis", "s3"):
        assert "outside" not in compose["services"][name]["networks"]
    text = compose_file.COMPOSE.read_text(encoding="utf-8")
    anchors, aliases = (set(re.findall(rf"(?<=[ \[]){sign}([a-z0-9-]+)", text)) for sign in ("&", r"\*"))
    assert anchors == aliases


def test_without_a_secret_it_does_not_start_and_says_what_to_do(secrets: dict[str, str]) -> None:
    kinds = compose_file.names()
    assert {name for name, kind in kinds.items() if ":?" in kind} == set(secrets)
    for name in secrets:
        assert kinds[name] == {":?"}, f"{name} has a default"
        for values in ({**secrets, name: ""}, {key: value for key, value in secrets.items() if key != name}):
            with pytest.raises(MissingError, match=rf"{name} is missing a value: is not set, run make secrets"):
                compose_file.read(values)


def test_every_value_that_is_secret_is_required(compose: dict[str, Any], secrets: dict[str, str]) -> None:
    for name, service in compose["services"].items():
        for variable, value in environment(service).items():
            if SECRET.search(variable) and variable not in OPEN:
                assert any(secret in value for secret in secrets.values()), f"{variable} of {name} holds no secret"
        assert not any(secret in word for word in words(service) for secret in secrets.values())


def test_each_part_knows_only_the_secrets_that_it_needs(compose: dict[str, Any], secrets: dict[str, str]) -> None:
    def holders(name: str) -> set[str]:
        return {
            part for part, s in compose["services"].items() if any(secrets[name] in v for v in environment(s).values())
        }

    assert holders("POSTGRES_PASSWORD") == {"postgres", "init"}
    assert holders("MLFLOW_DB_PASSWORD") == {"mlflow", "init"}
    assert holders("AIRFLOW_ADMIN_PASSWORD") == holders("MLFLOW_ADMIN_PASSWORD") == {"init"}
    assert holders("AIRFLOW_DB_PASSWORD") == {*AIRFLOW, "init"}
    assert holders("REDIS_PASSWORD") == {*AIRFLOW, "init", "redis"}
    assert holders(KEY_VARIABLE) == {"init", "api-server", "worker", "worker-gpu"}


def test_no_deployment_file_holds_a_password() -> None:
    paths = [PROJECT / name for name in DEPLOYMENT]
    files = [path for place in paths for path in ([place] if place.is_file() else place.iterdir()) if path.is_file()]
    given = re.compile(r"(?im)^[^#\n]*?(?:password|secret|_key|token)[\"']?[:=] *[\"']?([a-z0-9+/]{6,}={0,2})[\"']?$")
    for path in files:
        for found in given.finditer(path.read_text(encoding="utf-8")):
            assert found[1] in {"postgres"}, f"{path.name} gives away {found[0].strip()}"
    assert given.search("POSTGRES_PASSWORD: airflow")
    assert given.search('AIRFLOW_ADMIN_PASSWORD="admin1"')


def test_every_image_is_pinned_and_ours_runs_without_root(compose: dict[str, Any]) -> None:
    ours = {f"behavior-tasks:{VERSION}-{target}" for target in ("run", "spark")}
    for service in compose["services"].values():
        assert PINNED.match(service["image"]), service["image"]
        assert service["image"] in ours or service["user"] not in {"root", "0"}
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.MULTILINE)
    names = {name for _, name in stages}
    (outside,) = {image for image, _ in stages} - names
    assert PINNED.match(outside)
    *_, run, spark = dockerfile.split("\nFROM ")
    for stage in (run, spark):
        assert re.findall(r"^USER (\S+)", stage, re.MULTILINE)[-1] == "behavior"
        assert not re.search(r"pip install|build-essential|gcc|\bg\+\+", stage)
    built = compose["services"]["worker"]["build"]
    assert built["target"] in names
    assert built["args"]["VERSION"] == VERSION


def test_what_the_image_copies_is_there_and_is_all_that_it_gets() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    copied = {n for names in re.findall(r"^COPY ((?!--from).+) \S+$", dockerfile, re.MULTILINE) for n in names.split()}
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    assert copied == {line[1:] for line in lines if line.startswith("!")}
    assert all((PROJECT / name).exists() for name in copied)


def test_only_the_two_pages_are_published_and_only_on_this_machine(compose: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"api-server": ["127.0.0.1:8080:8080"], "mlflow": ["127.0.0.1:5000:5000"]}
    assert not any("network_mode" in service for service in compose["services"].values())


def test_every_part_is_watched_limited_and_without_privileges(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert ("healthcheck" in service) == (name != "init")
        assert service["restart"] == ("unless-stopped" if name != "init" else "on-failure:3")
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"cap_add", "privileged", "devices", "pid", "ipc"} & set(service)
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
        assert {"max-size", "max-file"} == set(service["logging"]["options"])
        # Docker's own listing of the mounts: nothing of the host, its socket least of all.
        assert not any(mount.startswith(("/", ".")) for mount in service.get("volumes", []))


def test_all_of_airflow_has_the_same_settings(compose: dict[str, Any]) -> None:
    first = environment(compose["services"]["scheduler"])
    for name in ("dag-processor", "triggerer"):
        assert environment(compose["services"][name]) == first
    for name in ("init", "api-server", "worker", "worker-gpu"):
        assert environment(compose["services"][name]).items() >= first.items()


def test_trainings_go_where_a_worker_takes_them(secrets: dict[str, str]) -> None:
    def queues(values: dict[str, str], profiles: set[str]) -> set[str]:
        services = chosen(compose_file.read(values), profiles)
        commands = [words(service) for service in services.values()]
        return {command[command.index("--queues") + 1] for command in commands if "--queues" in command}

    plain = compose_file.read(secrets)["services"]["scheduler"]["environment"]
    assert plain["AIRFLOW__OPERATORS__DEFAULT_QUEUE"] in queues(secrets, set())
    assert plain["BEHAVIOR_TRAIN_QUEUE"] == ""
    values = {**secrets, "BEHAVIOR_TRAIN_QUEUE": "gpu"}
    assert compose_file.read(values)["services"]["dag-processor"]["environment"]["BEHAVIOR_TRAIN_QUEUE"] == "gpu"
    assert queues(values, {"gpu"}) == {"default", "gpu"}
    gpu = compose_file.read(values)["services"]["worker-gpu"]
    assert words(gpu)[-2:] == ["--concurrency", "1"]
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    # The signal on which Celery ends its tasks, and time for them to write a checkpoint.
    assert (gpu["stop_signal"], gpu["stop_grace_period"]) == ("SIGQUIT", "5m")


def test_tokens_and_the_broker_outlast_the_longest_wait(compose: dict[str, Any]) -> None:
    found = environment(compose["services"]["worker"])
    day = 24 * 3600
    assert int(found["AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME"]) >= day
    assert int(found["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"]) > 38 * 3600


def test_an_object_store_is_really_used(secrets: dict[str, str]) -> None:
    asked = {**secrets, "BEHAVIOR_ARTIFACTS": "s3://behavior/mlflow"}
    services = compose_file.read(asked)["services"]
    store = environment(services["s3"])
    for name in ("mlflow", "init"):
        found = environment(services[name])
        assert found["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://behavior/mlflow"
        assert found["AWS_ENDPOINT_URL_S3"] == "http://s3:8333"
        assert found.items() >= store.items()
        assert "store" in services[name]["networks"]
    assert "-s3.port=8333" in words(services["s3"])
    for name in ("worker", "worker-gpu"):
        assert environment(services[name]).items() >= store.items()


def test_spark_sees_the_same_state_and_secret(secrets: dict[str, str]) -> None:
    services = compose_file.read({**secrets, "BEHAVIOR_IMAGE": "spark"})["services"]
    parts = [services[name] for name in ("spark-master", "spark-worker", "worker")]
    assert len({part["image"] for part in parts}) == 1
    assert {environment(part)["SPARK_CONF_DIR"] for part in parts} == {"/state/secrets/spark"}
    assert all(part["volumes"][0].startswith("state:/state") for part in parts)
    assert words(services["spark-worker"])[-1] == "spark://spark-master:7077"
    assert all("inside" in part["networks"] for part in parts)


def test_every_airflow_setting_exists(compose: dict[str, Any], airflow_options: set[str], tmp_path: Path) -> None:
    named = {n for service in compose["services"].values() for n in environment(service)}
    embedded = set(airflow_environment(Home(tmp_path), PROJECT, base={}))
    used = {name for name in named | embedded if name.startswith("AIRFLOW__")}
    assert len(used) > 20
    # Not listed by the provider, which hands the whole section on to Celery.
    assert used - airflow_options <= {"AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"}


def test_every_flag_of_airflow_exists(compose: dict[str, Any]) -> None:
    # Read rather than asked, as importing Airflow takes longer than all of these tests.
    files = [package("airflow") / "cli" / "cli_config.py", package("airflow") / "providers/celery/cli/definition.py"]
    known = set(re.findall(r'"(--?[a-zA-Z-]+)"', " ".join(file.read_text("utf-8") for file in files)))
    commands = [words(service) for service in compose["services"].values() if words(service)[:1] == ["airflow"]]
    assert len(commands) == 6
    for command in commands:
        assert {word for word in command if word.startswith("-")} <= known


def test_every_flag_of_the_mlflow_server_exists(compose: dict[str, Any]) -> None:
    # Read rather than asked, as importing MLflow takes longer than all of these tests.
    files = [package("mlflow") / "cli" / "__init__.py", package("mlflow") / "utils" / "cli_args.py"]
    known = set(re.findall(r'"(--[a-z-]+)', " ".join(file.read_text("utf-8") for file in files)))
    flags = {word.partition("=")[0] for word in words(compose["services"]["mlflow"]) if word.startswith("--")}
    assert flags
    assert {*flags, "--app-name"} <= known
    variables = (package("mlflow") / "environment_variables.py").read_text("utf-8") + files[0].read_text("utf-8")
    for service in compose["services"].values():
        for name in environment(service):
            assert not name.startswith("MLFLOW_") or name.endswith("_PASSWORD") or f'"{name}"' in variables, name


def test_the_native_cluster_reads_the_same(compose: dict[str, Any], secrets: dict[str, str]) -> None:
    services = read_services(compose_file.COMPOSE, secrets)
    for name in PLAIN | PROFILES["gpu"]:
        assert dict(services[name].environment) == environment(compose["services"][name]), name
        assert list(services[name].command) == words(compose["services"][name])


def test_the_set_up_has_every_password_that_it_asks_for(compose: dict[str, Any]) -> None:
    given = environment(compose["services"]["init"])
    asked = {
        *init_cluster.ROLES.values(),
        "POSTGRES_SUPERUSER_URI",
        "MLFLOW_BACKEND_STORE_URI",
        "AIRFLOW_ADMIN_PASSWORD",
    }
    assert {
        name for name in asked | {"MLFLOW_ADMIN_PASSWORD", "MLFLOW_BEHAVIOR_PASSWORD"} if not given.get(name)
    } == set()
    assert words(compose["services"]["init"]) == ["python", "/opt/behavior/scripts/init_cluster.py"]
    assert environment(compose["services"]["mlflow"])["MLFLOW_BACKEND_STORE_URI"] == given["MLFLOW_BACKEND_STORE_URI"]
    assert environment(compose["services"]["worker"])["MLFLOW_TRACKING_PASSWORD"] == given["MLFLOW_BEHAVIOR_PASSWORD"]


def test_kubernetes_gets_the_same_settings(compose: dict[str, Any]) -> None:
    values = yaml.safe_load((PROJECT / "deploy" / "airflow-values.yaml").read_text(encoding="utf-8"))
    ours = environment(compose["services"]["worker"])
    public = {"AIRFLOW__API__BASE_URL", "AIRFLOW__FAB__COOKIE_SECURE", "BEHAVIOR_MLFLOW_URL", "BEHAVIOR_TRAIN_QUEUE"}
    given = {entry["name"]: entry["value"] for entry in values["env"]}
    assert public < set(given)
    for name, value in given.items():
        assert name in public or ours[name] == value, name
    for entry in values["secret"]:
        assert entry["envName"] in ours
        assert entry["secretKey"] in make_secrets.SECRETS
    assert values["images"]["airflow"]["tag"] == compose["services"]["worker"]["image"].partition(":")[2]
    assert values["airflowHome"] == ours["AIRFLOW_HOME"]


def test_the_proxy_leads_to_the_two_published_ports(compose: dict[str, Any]) -> None:
    caddy = (PROJECT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    leads = set(re.findall(r"reverse_proxy 127\.0\.0\.1:\{\$[A-Z_]+:(\d+)\}", caddy))
    assert leads == {compose["services"][name]["ports"][0].split(":")[1] for name in ("api-server", "mlflow")}
    for name in re.findall(r"^#   (BEHAVIOR_[A-Z_]+)=", caddy, re.MULTILINE):
        assert name in compose_file.names(), name


def test_the_page_tells_of_every_variable_and_of_no_other() -> None:
    page = (PROJECT / "docs" / "deployment.md").read_text(encoding="utf-8")
    settings = {name for name in compose_file.names() if name not in make_secrets.SECRETS} - {"HOSTNAME"}
    table = page.partition("## Settings")[2].partition("## Secrets")[0]
    told = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", table))
    assert told == settings - {"REDIS_PASSWORD"} | {"COMPOSE_PROFILES"}
