#!/usr/bin/env bash
# Asks which packages of requirements.lock have known vulnerabilities. Usage: audit_packages.sh [PYTHON]
# pip-audit gets an environment of its own in a folder that is made here and removed at the end.
set -euo pipefail
python=${1:-python3}
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

stop() {
  echo "error: $1" >&2
  exit 1
}

"$python" -m venv "$folder/venv" || stop "PYTHON=$python makes no environment; set PYTHON=python3.12, say."
"$folder/venv/bin/python" -m pip install --quiet "pip-audit>=2.9,<3" > "$folder/log" 2>&1 ||
  stop "pip-audit cannot be installed ($(grep -m 1 ERROR "$folder/log" | cut -c 1-120)); run this where there is a network."
# it fails where it finds something, too
"$folder/venv/bin/pip-audit" --progress-spinner off --disable-pip --require-hashes --format json \
  --output "$folder/found.json" -r "$repository/requirements.lock" > "$folder/log" 2>&1 || true
[ -s "$folder/found.json" ] ||
  stop "the service of advisories gave no answer ($(tail -n 1 "$folder/log" | cut -c 1-120)); no package was checked."
"$folder/venv/bin/python" "$repository/envs/read_advisories.py" "$folder/found.json"
