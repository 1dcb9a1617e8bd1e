"""The image: parsed as its builder would, and its install steps carried out in a virtual environment."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
TEXT = re.sub(r"\\\n", " ", (TOP / "Dockerfile").read_text(encoding="utf-8"))
INSTRUCTIONS = [
    (word.upper(), " ".join(rest.split()))
    for word, _, rest in (line.strip().partition(" ") for line in TEXT.splitlines())
    if word and not word.startswith("#")
]


def _all(word: str) -> list[str]:
    return [rest for instruction, rest in INSTRUCTIONS if instruction == word]


def test_both_stages_start_from_the_base_that_the_builder_names() -> None:
    assert _all("FROM") == ["${BASE} AS build", "${BASE}"]
    assert any(rest.startswith("BASE=python:3.") and "slim" in rest for rest in _all("ARG"))
    assert "EXTRA=cpu" in _all("ARG")


def test_it_runs_as_a_numbered_user_without_a_shell_form_entry() -> None:
    assert _all("USER") == ["10001:10001"]
    assert json.loads(_all("ENTRYPOINT")[0]) == ["consilium"]
    assert json.loads(_all("CMD")[0]) == ["serve"]
    assert _all("VOLUME") == ['["/data"]']


def test_health_is_readiness_and_telemetry_is_off() -> None:
    assert "/readyz" in _all("HEALTHCHECK")[0]
    assert any("ORT_DISABLE_TELEMETRY=1" in rest for rest in _all("ENV"))


def test_every_file_that_is_copied_is_let_through_by_dockerignore() -> None:
    let_through = re.findall(r"^!(\S+?)/?$", (TOP / ".dockerignore").read_text(), re.M)
    packages = [
        path.parent.name for path in TOP.glob("*/__init__.py") if path.parent.name not in {"tests", "benchmarks"}
    ]
    assert set(packages) | {"models", "requirements", "pyproject.toml", "README.md", "LICENSE"} == set(let_through)


def test_no_registry_address_is_in_a_lock() -> None:
    for lock in (TOP / "requirements").glob("*.lock"):
        text = lock.read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_install_steps_give_a_server_that_starts_and_is_small_enough(tmp_path: Path) -> None:
    # As the build stage does: locked requirements with hashes, then the project itself, without the checkout.
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not here (make brings it)")
    venv, source = tmp_path / "venv", tmp_path / "source"
    wanted = re.findall(r"^!(\S+?)/?$", (TOP / ".dockerignore").read_text(), re.M)
    source.mkdir()
    for name in wanted:
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(TOP / name, source / name)
    python = venv / "bin" / "python"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, venv],
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            "--require-hashes",
            "-r",
            source / "requirements" / "cpu.lock",
        ],
        [uv, "pip", "install", "--quiet", "--python", python, "--no-deps", source],
    ):
        subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=source)
    size_mb = sum(path.lstat().st_size for path in venv.rglob("*") if not path.is_symlink()) / 1e6
    # DESIGN section 9, of what the lock and the project install, before any bytecode (docs/decisions/034).
    assert size_mb <= 400
    health = subprocess.run(
        [str(venv / "bin" / "consilium"), "doctor", "--json", "--data-dir", str(tmp_path / "data")],
        env={"PATH": "", "HOME": str(tmp_path), "CONSILIUM_HTTP_PORT": "0", "CONSILIUM_DICOM_PORT": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    said = json.loads(health.stdout)
    assert said["models"] == "ok", said
    assert said["onnxruntime"] == "ok"
