"""Group `marts`: the tables people and dashboards read, built by dbt over the warehouse.

What belongs here: how Dagster sees the dbt project (keys, lineage, checks), the manifest it reads at import, and the
connection dbt is given at run time. What does not: the models themselves (`dbt_project/`).

Models tagged with the name of the group of backtests are built after these, the others after a session.

dbt's sources are shared by all markets (one `market_data` with a `market` column) while the assets that fill them are
one per market, so a model stands downstream of the source's asset in every market that is built.

Annotations are real objects in this module: Dagster reads the one of `context`.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from packaging.version import Version
from pydantic import SecretStr

from trading_pipeline.assets import backtests
from trading_pipeline.assets.common import OWNERS, WORLD, key_of, world_of
from trading_pipeline.errors import TradingPipelineError
from trading_pipeline.markets import Market

# dagster_dbt imports the whole of dbt-core where it finds it, half of the time a code location takes to load, for the
# adapter that `_Dbt` does not make. Where it finds none (as beside dbt Fusion) it has names of its own for what we use.
_DBT_CORE = "dbt.version"
_found = {_DBT_CORE: sys.modules[_DBT_CORE]} if _DBT_CORE in sys.modules else {}
sys.modules[_DBT_CORE] = None  # type: ignore[assignment]  # Python's way to say that there is no such module
try:
    from dagster_dbt import (
        DagsterDbtTranslator,
        DagsterDbtTranslatorSettings,
        DbtCliResource,
        DbtProject,
        dbt_assets,
    )
finally:
    del sys.modules[_DBT_CORE]
    sys.modules.update(_found)

GROUP = "marts"
PROJECT_DIR = Path(__file__).parents[2] / "dbt_project"
# Folders too: a model that was deleted leaves only its folder newer.
_SOURCES_OF_A_MANIFEST = ("dbt_project.yml", "profiles.yml", "models/**", "models/**/*", "macros/**/*", "tests/**/*")
_DBT_OUTPUT_LINES = 6
# Part of a PostgreSQL URL to the variable that dbt_project/profiles.yml reads.
_CONNECTION = {
    "host": "WAREHOUSE_HOST",
    "port": "WAREHOUSE_PORT",
    "user": "WAREHOUSE_USER",
    "password": "WAREHOUSE_PASSWORD",
    "dbname": "WAREHOUSE_DATABASE",
    "sslmode": "WAREHOUSE_SSLMODE",
    "sslrootcert": "WAREHOUSE_SSLROOTCERT",
}


class DbtProjectError(TradingPipelineError):
    """The dbt project is missing or does not parse, or its manifest cannot be written."""


def build(markets: Sequence[Market]) -> list[dg.AssetsDefinition]:
    """The dbt models as assets downstream of `markets`, the dbt tests as their checks.

    Reads the manifest, and makes it with `dbt parse` where it is missing or older than the project's files; needs no
    database. Raises `DbtProjectError`.
    """
    project = DbtProject(_project_dir(), target_path=_target_dir())

    @dbt_assets(
        manifest=prepared_manifest(),
        project=project,
        name="dbt_marts",
        dagster_dbt_translator=MartsTranslator(markets),
        required_resource_keys={WORLD},
    )
    def dbt_marts(context: dg.AssetExecutionContext) -> Iterator[Any]:
        world = world_of(context)
        dbt = _Dbt(
            project_dir=os.fspath(project.project_dir),
            profiles_dir=os.fspath(project.profiles_dir),
            dbt_executable=str(Path(sysconfig.get_path("scripts")) / "dbt"),
        )
        # Two dbt processes that build the same models take each other's half-made tables away. The artefacts of a run
        # (a manifest and logs, 1 MB) are not kept: the events of the run say what happened.
        with (
            world.held(f"{GROUP}/dbt"),
            tempfile.TemporaryDirectory(prefix="dbt-") as artefacts,
            connection(world.warehouse.url),
        ):
            yield from dbt.cli(["build"], context=context, target_path=Path(artefacts)).stream()

    return [dbt_marts]


class MartsTranslator(DagsterDbtTranslator):
    """Models are `marts/<model>`; a source is the asset named in its `meta.dagster.asset`, once per market."""

    def __init__(self, markets: Sequence[Market]) -> None:
        # dip_opportunities and its latest versions come from one asset.
        super().__init__(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))
        self.markets = tuple(markets)

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """The key of a model; of a source, the key of its asset in the first market."""
        if dbt_resource_props["resource_type"] == "source":
            return key_of(self.markets[0], _asset_of(dbt_resource_props))
        return dg.AssetKey([GROUP, dbt_resource_props["name"]])

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The spec of a model, downstream of its sources' assets in every market."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        props = self.get_resource_props(manifest, unique_id)
        if props["resource_type"] == "source":
            return spec
        parents = [self.get_resource_props(manifest, parent) for parent in props["depends_on"]["nodes"]]
        sources = {_asset_of(parent) for parent in parents if parent["resource_type"] == "source"}
        models = [parent for parent in parents if parent["resource_type"] != "source"]
        return spec.replace_attributes(
            deps=[
                *(key_of(market, source) for source in sorted(sources) for market in self.markets),
                *(self.get_asset_key(model) for model in models),
            ],
            owners=OWNERS,
        )

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """Every model is in one group."""
        return GROUP

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition[Any] | None:
        """Models of backtests follow their results; the others are part of the jobs of a session."""
        return backtests.once_computed() if backtests.GROUP in dbt_resource_props.get("tags", ()) else None

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The description a person wrote; the SQL is in the repository."""
        return str(dbt_resource_props.get("description") or "")


def _asset_of(source: Mapping[str, Any]) -> str:
    return str(source["config"]["meta"]["dagster"]["asset"])


class _Dbt(DbtCliResource):
    """dbt's command line, and nothing that costs seconds before it starts.

    Not asked is `dbt --version`, which takes 3 s and looks for newer versions on the net. Not made is dbt's adapter in
    this process: 2.5 s of importing dbt, for row counts and columns that nobody fetches.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:
        return None


@contextmanager
def connection(url: SecretStr) -> Iterator[None]:
    """Give dbt the warehouse at `url` (as libpq reads it) for the length of the block, through WAREHOUSE_* variables.

    A password reaches dbt through the environment alone: no file, no argument, no log holds it.
    """
    # What the URL does not say must not come from an older setting of the same variables.
    given = dict.fromkeys(_CONNECTION.values()) | warehouse_environment(url)
    before = {name: os.environ.get(name) for name in given}
    _set_environment(given)
    try:
        yield
    finally:
        _set_environment(before)


def warehouse_environment(url: SecretStr) -> dict[str, str]:
    """The WAREHOUSE_* variables of `dbt_project/profiles.yml` for the server at `url`.

    The host may be a Unix-socket folder. How the server is to be verified (sslmode, sslrootcert) goes along.
    """
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url.get_secret_value())
    return {name: str(parts[part]) for part, name in _CONNECTION.items() if parts.get(part)}


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def prepared_manifest() -> Path:
    """dbt's manifest, made by `dbt parse` (7 s, no database) where it is missing or older than the project's files.

    It lies in DBT_TARGET_PATH, or else in `dbt_project/target`. Two processes may do this at once: each parses in a
    folder of its own and moves the result into place whole. Raises `DbtProjectError`.
    """
    project, target = _project_dir(), _target_dir()
    manifest = target / "manifest.json"
    changed = max(path.stat().st_mtime for pattern in _SOURCES_OF_A_MANIFEST for path in project.glob(pattern))
    if manifest.is_file() and manifest.stat().st_mtime >= changed:
        return manifest
    sys.stderr.write(f"Preparing dbt's manifest in {target} (dbt parse; once until a model changes)\n")
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".parse-", dir=target) as folder:
            _parse(project, Path(folder))
            made = Path(folder) / manifest.name
            # A file dated in the future must not ask for this again at every start.
            os.utime(made, times=(changed := max(changed, made.stat().st_mtime), changed))
            made.replace(manifest)
    except OSError as error:
        raise DbtProjectError(
            f"dbt's manifest cannot be written in {target}: {error.strerror or error}",
            "Set DBT_TARGET_PATH to a folder that can be written",
        ) from error
    return manifest


def _parse(project: Path, target: Path) -> None:
    command = [sys.executable, "-c", "from dbt.cli.main import cli; cli()", "parse", "--quiet"]
    command += ["--project-dir", str(project), "--profiles-dir", str(project)]
    command += ["--target-path", str(target), "--log-path", str(target)]
    # dbt would take a target path from the environment before the argument's.
    environment = {name: value for name, value in os.environ.items() if name not in {"DBT_TARGET_PATH", "DBT_LOG_PATH"}}
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
        command, capture_output=True, text=True, check=False, env=environment, cwd=project
    )
    if done.returncode:
        said = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        raise DbtProjectError(
            f"The dbt project does not parse: {' '.join(said[-_DBT_OUTPUT_LINES:])}",
            f"Mend the file it names in {project}",
        )


def _project_dir() -> Path:
    folder = Path(os.environ.get("DBT_PROJECT_DIR") or PROJECT_DIR).absolute()
    if not (folder / "dbt_project.yml").is_file():
        raise DbtProjectError(
            f"There is no dbt project in {folder}", "Run from a clone of the repository, or set DBT_PROJECT_DIR"
        )
    return folder


def _target_dir() -> Path:
    return _project_dir() / (os.environ.get("DBT_TARGET_PATH") or "target")
