"""A project whose folder has a name that URLs read otherwise keeps all its databases in itself."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from coronet.files import sqlite_url
from coronet.search.database import open_storage, study_names
from coronet.tracking import mlflow_client

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    *("a b", "a%20b", "a?b", "a#b", "a%b", "a&b=c", "a@b", "a:b", "a;b", "a+b", "a{b}", "a'b"),
    *("ä é", "心", "100%", "~a", "a%2Fb", "a?mode=memory", "a*[b]", "-a"),
]


@pytest.fixture
def outside(tmp_path):
    """A folder that a decoded name would lead to, and a check that nothing was written but in ``name``."""
    sibling = tmp_path / "a b"
    sibling.mkdir()

    def check(name: str) -> None:
        assert {path.name for path in tmp_path.iterdir()} == {"a b", name}
        if name != "a b":
            assert not list(sibling.iterdir())

    return check


@pytest.mark.parametrize("name", NAMES)
def test_a_url_leads_back_to_its_file(tmp_path, name):
    import sqlalchemy

    path = tmp_path / name / "all.db"
    for driver in ("pysqlite", "aiosqlite"):
        assert sqlalchemy.make_url(sqlite_url(path, driver=driver)).database == str(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a%20b", "a?b", "a#b {c}"])
def test_runs_artifacts_and_studies_stay_in_the_project(tmp_path, outside, name):
    project = tmp_path / name
    with mlflow_client.open_client(project / "mlruns") as client:
        experiment = mlflow_client.experiment_id(client, "heart", project / "mlruns")
        run = client.create_run(experiment).info.run_id
        client.log_text(run, "kept", "fit/note.txt")
        found = client.download_artifacts(run, "fit/note.txt")
    assert len(list((project / "mlruns" / "artifacts").rglob("note.txt"))) == 1
    assert Path(found).read_text() == "kept"
    assert study_names(open_storage(project)) == []
    assert (
        sqlite3.connect(project / "mlruns" / "optuna.db").execute("select count(*) from studies").fetchone()
    )
    assert (project / "mlruns" / "mlflow.db").exists()
    outside(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a%20b", "a?b"])
def test_prefect_keeps_its_database_in_the_project(tmp_path, outside, name):
    project = tmp_path / name
    project.mkdir()
    code = (
        "import prefect_server, asyncio\n"
        "from prefect.server.database import provide_database_interface\n"
        "asyncio.run(provide_database_interface().create_db())\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "flows"), str(ROOT / "src")])
    subprocess.run([sys.executable, "-c", code], cwd=project, env=environment, check=True, timeout=300)
    assert (project / "mlruns" / "prefect" / "prefect.db").exists()
    outside(name)
