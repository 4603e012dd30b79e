"""`alembic` and `python -m app.migrate`: the same options, sentences and exit codes."""

import pytest

from tests.migrate.service import Service

PROGRAMS = ["alembic", "app.migrate"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_alembics_own_options_count(service: Service, program: str) -> None:
    service.add("shown", "print('x:', op.get_context().config.cmd_opts.x)")
    other = service.backend / "other"
    other.mkdir()
    script = (service.versions / "../script.py.mako").read_text()
    (other / "script.py.mako").write_text(script)
    (other / "env.py").write_text((service.backend / "alembic" / "env.py").read_text())
    (other / "versions").mkdir()
    text = next(service.versions.glob("*baseline*")).read_text()
    (other / "versions" / "elsewhere.py").write_text(text.replace('"baseline"', '"elsewhere"'))
    ini = (service.backend / "alembic.ini").read_text()
    elsewhere = ini.replace("%(here)s/alembic\n", "%(here)s/other\n")
    (service.backend / "other.ini").write_text(elsewhere)
    named = elsewhere.replace("[alembic]", "[alembic]\nscript_location = alembic\n[other]", 1)
    (service.backend / "named.ini").write_text(named)

    def heads(*words: str, **variables: str) -> str:
        done = service.run(*words, "heads", program=program, **variables)
        assert done.returncode == 0, done
        return done.stdout.split()[0]

    assert heads() == "shown"
    assert heads("-c", "other.ini") == "elsewhere"
    assert heads("-c", "named.ini", "-n", "other") == "elsewhere"
    assert heads(ALEMBIC_CONFIG="other.ini") == "elsewhere"
    done = service.run("-x", "a=b", "upgrade", "head", program=program)
    assert (done.returncode, done.stdout) == (0, "x: ['a=b']\n"), done

    (service.backend / "alembic.ini").write_text(ini.replace("script_location", "# "))
    with (service.backend / "pyproject.toml").open("a") as file:
        file.write('\n[tool.alembic]\nscript_location = "%(here)s/other"\n')
    assert heads() == "elsewhere"


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_error_is_a_sentence_and_a_traceback_only_on_demand(
    service: Service, program: str
) -> None:
    service.add("wrong", "op.execute('SELEC')")
    done = service.run("upgrade", "head", program=program)
    assert done.returncode == 10, done
    assert done.stderr.count("Error: ") == 1, done
    assert "Traceback" not in done.stderr
    done = service.run("--raiseerr", "upgrade", "head", program=program)
    assert done.returncode == 1, done
    assert "Traceback" in done.stderr
    assert "Error: " not in done.stderr.splitlines(), done
    done = service.run("stamp", "head", program=program)
    assert done.returncode == 0, done
    broken = service.backend / "app" / "core" / "config.py"
    broken.write_text("import no_such_package\n" + broken.read_text())
    done = service.run("current", program=program)
    assert done.returncode == 2, done
    assert "No module named 'no_such_package' (app/core/config.py, line 1)" in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_model_without_a_revision_is_named(service: Service, program: str) -> None:
    (service.backend / "app" / "models" / "item.py").write_text(
        "from sqlalchemy.orm import Mapped, mapped_column\n\n"
        "from app.core.database import Base\n\n\n"
        "class Item(Base):\n"
        '    __tablename__ = "items"\n'
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
    )
    assert service.run("upgrade", "head", program=program).returncode == 0
    done = service.run("check", program=program)
    assert done.returncode == 7, done
    assert "add_table items" in done.stderr


def test_migrate_finds_its_project_from_any_folder(service: Service) -> None:
    code = "import os, runpy, sys; os.chdir('/'); sys.argv[1:] = ['heads']\n"
    code += "runpy.run_module('app.migrate', run_name='__main__')"
    done = service.python(code, PYTHONPATH=str(service.backend))
    assert (done.returncode, done.stdout) == (0, "baseline (head)\n"), done


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_deployment_says_what_is_released(service: Service, program: str) -> None:
    service.add("first", "pass")
    line = 'For pyproject.toml: released = "first"'
    assert line not in service.run("upgrade", "head", program=program).stdout
    service.add("second", "pass")
    line = line.replace("first", "second")
    done = service.run("upgrade", "head", program=program, ENVIRONMENT="production")
    assert line in done.stdout.splitlines(), done
    done = service.run("upgrade", "head", program=program, ENVIRONMENT="production")
    assert line not in done.stdout, "nothing was deployed"
