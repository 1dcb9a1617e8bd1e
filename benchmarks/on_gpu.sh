#!/usr/bin/env bash
# Everything that needs a GPU, in one call, on a lent machine that reaches no package registry:
#
#     benchmarks/on_gpu.sh WHEELS OUT [PYTHON]
#
# WHEELS: a folder with the wheel of onnxruntime-gpu (of requirements/gpu.lock, for that machine's Python) or its
# parts, NAME.whl.part.00 and so on as `split -d` makes them, and with wheels of what else the lock names and the
# machine lacks. OUT: where gpu.json, shadow-*.json and the tests' words are left, each as soon as it is there.
# The machine has torch of CUDA 13, whose libraries onnxruntime is given, numpy, onnx and pytest.
# REHEARSE=1: on a machine without a GPU, to see that everything else goes.
set -euo pipefail
wheels=$(realpath "$1"); out=$(realpath "$2"); python=${3:-python3}
site=$(mktemp -d) provider=cuda
export ORT_DISABLE_TELEMETRY=1 PYTHONUNBUFFERED=1 PYTHONPATH="$site:$PWD"
[ -z "${REHEARSE:-}" ] || provider=auto

for first in "$wheels"/*.part.00; do
  [ ! -e "$first" ] || cat "${first%.00}".* > "$wheels/$(basename "${first%.part.00}")"
done
# Compiled: a server starts eight processes, and each would compile all that it imports.
"$python" -m pip install -q --no-index --no-deps --no-cache-dir --target "$site" "$wheels"/*.whl
# What the server reads its own version from.
stated=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)
mkdir "$site/consilium_cds-$stated.dist-info"
printf 'Metadata-Version: 2.1\nName: consilium-cds\nVersion: %s\n' "$stated" > "$site/consilium_cds-$stated.dist-info/METADATA"
# The machine's own would be a second one, which the server refuses (docs/decisions/002).
"$python" -m pip uninstall -q -y onnxruntime 2>/dev/null || true
# Where onnxruntime.preload_dlls looks: beside itself.
nvidia=$("$python" -c 'import importlib.util as u; s = u.find_spec("nvidia"); print(list(s.submodule_search_locations)[0] if s else "")')
[ -z "$nvidia" ] || [ -e "$site/nvidia" ] || ln -s "$nvidia" "$site/nvidia"

date -u +%FT%TZ | tee "$out/when.txt"
"$python" - "$provider" <<'PY' | tee "$out/first.txt"
import sys
from pathlib import Path
from model_runtime.library import Library
from model_runtime.session import Device, onnxruntime
device = Device.CUDA if sys.argv[1] == "cuda" else Device.CPU
Library(Path("models")).verify("lung-nodule", device)  # raises unless this device is the session's first provider
print("first provider:", device.provider, "onnxruntime", onnxruntime().__version__)
PY
# Without the suite's own conftest: it needs all that the tests of the other rooms need.
"$python" -m pytest -q -n 0 -p no:cacheprovider --confcutdir=tests/model_runtime -W error -m gpu \
  tests/model_runtime/test_gpu.py 2>&1 | tee "$out/pytest.txt" || echo "pytest: exit ${PIPESTATUS[0]}" | tee -a "$out/pytest.txt" "$out/failed.txt"
for live in $provider cpu; do
  "$python" -m benchmarks.shadow --live "$live" --shadow "$provider" --studies "${STUDIES:-41}" 2>"$out/shadow-$live.err" \
    | tee "$out/shadow-$live.json" || echo "shadow beside $live: failed" | tee -a "$out/failed.txt"
done
"$python" -m benchmarks.gpu --seconds "${SECONDS_EACH:-0.15}" --json "$out/gpu.json" || echo "gpu: exit $?" | tee -a "$out/failed.txt"
[ ! -e "$out/failed.txt" ]
