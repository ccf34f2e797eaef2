"""The files of deploy/: that they can be loaded, agree with each other and with the code, and keep secrets apart.

The instance that deploy/dagster.yaml describes is opened on a real PostgreSQL and a real S3 endpoint. What only a
registry or a cloud could show (that the image builds, that the stack comes up) is not tested here.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest
import yaml

from trading_pipeline.settings import Settings

if TYPE_CHECKING:
    from trading_pipeline_tests.conftest import EmbeddedServer

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
BUCKET = "pipeline"
AWKWARD = "p@ss/w:rd?&#%"
KNOWN = {name.upper() for name in Settings.model_fields} | {"DATABASE_PASSWORD", "COMPUTE_LOGS_BUCKET", "CODE_HOST"}
SECRETS = {"DATABASE_PASSWORD", "TIINGO_API_KEY", "AWS_SECRET_ACCESS_KEY"}


def read_yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def read_template() -> Any:
    """deploy/ecs.yaml with `!Ref x` as {"Ref": x} and so on."""

    class Loader(yaml.SafeLoader):
        pass

    def intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
        if isinstance(node, yaml.ScalarNode):
            return {suffix: loader.construct_scalar(node)}
        if isinstance(node, yaml.SequenceNode):
            return {suffix: loader.construct_sequence(node, deep=True)}
        return {suffix: loader.construct_mapping(node, deep=True)}

    Loader.add_multi_constructor("!", intrinsic)
    return yaml.load((DEPLOY / "ecs.yaml").read_text(), Loader)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A real S3 endpoint over HTTP, with the bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket=BUCKET)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def container(embedded_server: EmbeddedServer, tmp_path: Path, s3: str) -> dict[str, str]:
    """The environment of a container: what the compose file would set, on the servers of the tests."""
    inherited = {name: value for name, value in os.environ.items() if name not in KNOWN}
    return inherited | {
        "PYTHONPATH": str(PROJECT),
        "DATABASE_URL": embedded_server.url(f"deploy_{uuid.uuid4().hex[:12]}").get_secret_value(),
        "DATABASE_PASSWORD": AWKWARD,
        "MARKET_DATA_PROVIDER": "yahoo",
        "COMPUTE_LOGS_BUCKET": BUCKET,
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "DAGSTER_HOME": str(tmp_path),
    }


def start(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """What the image's entry point does with a command."""
    return subprocess.run(
        [sys.executable, str(DEPLOY / "entrypoint.py"), *command],
        env=environment,
        cwd=environment["DAGSTER_HOME"],
        capture_output=True,
        text=True,
        check=False,
    )


def variables(environment: dict[str, str]) -> dict[str, str]:
    """The environment that a command of the container finds."""
    done = start(environment, "env", "-0")
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def test_the_password_is_put_into_the_address_whatever_its_characters(container):
    found = variables(container)
    assert "DATABASE_PASSWORD" not in found
    for name in ("DATABASE_URL", "DAGSTER_POSTGRES_URL"):
        address = urlsplit(found[name])
        assert address.password == "p%40ss%2Fw%3Ard%3F%26%23%25"
        assert parse_qs(address.query) == parse_qs(urlsplit(container["DATABASE_URL"]).query)


@pytest.mark.parametrize(("provider", "ending"), [("yahoo", "_dagster"), ("simulated", "_simulated_dagster")])
def test_each_world_has_a_dagster_database_of_its_own(container, provider, ending):
    found = variables(container | {"MARKET_DATA_PROVIDER": provider})
    assert urlsplit(found["DAGSTER_POSTGRES_URL"]).path == urlsplit(container["DATABASE_URL"]).path + ending


def test_a_container_without_a_database_ends_in_one_line(container):
    done = start({name: value for name, value in container.items() if name != "DATABASE_URL"}, "env")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "DATABASE_URL is not set" in done.stderr


def test_an_unreachable_database_is_named_without_its_password(container):
    address = "postgresql://pipeline@127.0.0.1:1/pipeline"
    done = start(container | {"DATABASE_URL": address, "DATABASE_PASSWORD": "hunter2"}, "env")
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def test_dagster_runs_on_the_production_instance(container, tmp_path, monkeypatch):
    """Runs and events in PostgreSQL, what a step prints in the bucket."""
    import boto3

    (tmp_path / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    for name, value in variables(container).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    @dg.asset
    def speaks() -> None:
        sys.stdout.write("said in production\n")
        sys.stdout.flush()

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        result = dg.materialize([speaks], instance=instance)
        assert instance.get_latest_materialization_event(speaks.key).run_id == result.run_id
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
        assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
    listed = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="compute-logs/")
    keys = [item["Key"] for item in listed.get("Contents", []) if result.run_id in item["Key"]]
    assert any(
        b"said in production" in boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys
    )


def test_production_differs_from_the_desk_in_where_things_are_kept_alone():
    desk, production = yaml.safe_load((PROJECT / "dagster.yaml").read_text()), read_yaml("dagster.yaml")
    assert set(production) - set(desk) == {"storage", "compute_logs"}
    assert {name: production[name] for name in desk} == desk


def test_the_workspace_names_the_code_location_by_the_environment(monkeypatch):
    from dagster._core.workspace.config_schema import ensure_workspace_config

    monkeypatch.setenv("CODE_HOST", "code.internal")
    (location,) = ensure_workspace_config(read_yaml("workspace.yaml"), "workspace.yaml")["load_from"]
    assert location["grpc_server"] == {"host": "code.internal", "port": 4000, "location_name": "trading_pipeline"}
    desk = yaml.safe_load((PROJECT / "workspace.yaml").read_text())
    assert desk["load_from"][0]["python_module"]["location_name"] == "trading_pipeline"


# --- the image --------------------------------------------------------------------------------------------------------


def dockerfile(instruction: str) -> list[list[str]]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.split(" ", 1)[0] == instruction]


def test_the_image_copies_what_exists_and_what_is_sent_to_the_builder():
    sent = [line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = [source for parts in dockerfile("COPY") for source in parts[:-1]]
    assert copied
    for source in copied:
        assert (PROJECT / source).exists(), source
        assert any(fnmatch(source, f"{pattern[1:]}*") for pattern in sent), source


def test_the_image_starts_the_code_location_as_an_unprivileged_user():
    assert dockerfile("USER") == [["pipeline"]]
    text = (DEPLOY / "Dockerfile").read_text()
    command = re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)[1]
    assert "trading_pipeline.definitions" in yaml.safe_load(command)
    entry = yaml.safe_load(re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)[1])
    assert entry == ["python", "/opt/dagster/entrypoint.py"]


# --- compose ----------------------------------------------------------------------------------------------------------


def pipeline_services() -> dict[str, Any]:
    services = read_yaml("compose.yaml")["services"]
    return {name: services[name] for name in ("code", "webserver", "daemon")}


def test_compose_sets_what_the_pipeline_reads_and_no_secret():
    for service in pipeline_services().values():
        assert set(service["environment"]) <= KNOWN
        assert {"DATABASE_URL", "LAKE_URL", "INBOX_URL", "COMPUTE_LOGS_BUCKET", "CODE_HOST"} <= set(
            service["environment"]
        )
        for name in SECRETS & set(service["environment"]):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", service["environment"][name]), name


def test_compose_publishes_the_ui_to_this_machine_alone():
    services = read_yaml("compose.yaml")["services"]
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "webserver": ["127.0.0.1:3000:3000"]
    }


def test_compose_waits_for_what_it_stands_on():
    services = read_yaml("compose.yaml")["services"]
    for service in services.values():
        for name, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] == "service_completed_successfully" or "healthcheck" in services[name]
    assert set(services["code"]["depends_on"]) == {"postgres", "bucket"}


# --- the cloud --------------------------------------------------------------------------------------------------------


def test_cloudformation_finds_no_fault_with_the_template():
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([linter, DEPLOY / "ecs.yaml"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def containers() -> list[dict[str, Any]]:
    return read_template()["Resources"]["Task"]["Properties"]["ContainerDefinitions"]


def test_the_tasks_containers_get_known_settings_and_secrets_from_the_store():
    assert [container["Name"] for container in containers()] == ["code", "webserver", "daemon"]
    for container in containers():
        given = {item["Name"] for item in container["Environment"]}
        assert given <= KNOWN - SECRETS
        # The world follows from the provider: all three must name the same one, and have what it needs.
        assert {"DATABASE_URL", "MARKET_DATA_PROVIDER", "COMPUTE_LOGS_BUCKET"} <= given
        assert container["Secrets"][0]["Name"] == "DATABASE_PASSWORD"
        assert container["Secrets"][1]["If"][1]["Name"] == "TIINGO_API_KEY"


def test_the_tasks_commands_are_those_of_compose():
    commands = {name: service.get("command") for name, service in pipeline_services().items()}
    for container in containers():
        assert container.get("Command") == (shlex.split(commands[container["Name"]] or "") or None)


def test_nothing_in_the_cloud_is_open_to_the_internet():
    template = read_template()
    resources = template["Resources"]
    network = resources["Service"]["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert resources["Database"]["Properties"]["PubliclyAccessible"] is False
    assert set(resources["Bucket"]["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    assert not any(kind["Type"].startswith("AWS::ElasticLoadBalancing") for kind in resources.values())
    allowed = template["Parameters"]["WebserverClients"]["AllowedPattern"]
    assert re.fullmatch(allowed, "10.1.0.0/16")
    assert not re.fullmatch(allowed, "0.0.0.0/0")
    assert not re.fullmatch(allowed, "203.0.113.0/24")


def test_the_lake_and_the_database_outlive_the_stack():
    resources = read_template()["Resources"]
    assert resources["Bucket"]["DeletionPolicy"] == "Retain"
    assert resources["Database"]["DeletionPolicy"] == "Snapshot"
    assert resources["Database"]["Properties"]["DeletionProtection"] is True
