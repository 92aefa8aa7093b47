#!/usr/bin/env bash
# Makes the environment of requirements.lock in a folder of its own. Usage: make_environment.sh FOLDER [PYTHON [env]]
# A folder that is there and was not made by this script is left alone: nothing of the user's is cleared. Where another
# lock's environment is there, outside of this clone, it is remade for `env` alone: others may be at work in it.
set -euo pipefail
folder=$1
python=${2:-python3}
target=${3:-}
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
lock=$repository/requirements.lock
mark=.retclip-environment

stop() {
  echo "error: $1" >&2
  exit 1
}

case $folder in
  *$'\n'*) stop "VENV=${folder//$'\n'/\\n} has a line break in it; set VENV to another folder." ;;
  *:*) stop "VENV=$folder has a ':' in it, which no Python environment can have; set VENV to another folder." ;;
  "$PWD/~"*) stop "VENV=${folder#"$PWD/"} begins with a '~' that no shell replaced; write the whole path." ;;
  /*) ;;
  *) stop "VENV=$folder is no absolute path." ;;
esac
[ -f "$lock" ] || stop "no requirements.lock in $repository; it is part of the repository."
finished=.made-from-$(sha256sum < "$lock" | cut -c1-12)
[ ! -f "$folder/$finished" ] || exit 0

if [ -d "$folder" ]; then
  place=$(cd -- "$folder" && pwd -P)
  for precious in "$repository" "$(cd -- "${HOME:-/}" 2>/dev/null && pwd -P || echo /)"; do
    case ${precious%/}/ in
      "${place%/}"/*) stop "VENV=$folder holds $precious; set VENV to a folder for the environment alone." ;;
    esac
  done
  # the second mark is all that version 0.1 left
  ours=$(find -H "$folder" -maxdepth 1 \( -name "$mark" -o -name '.made-from-*' \))
  if [ -n "$(ls -A -- "$folder")" ] && [ -z "$ours" ]; then
    stop "VENV=$folder was not made by make env and is not empty; set VENV to another folder, or empty it yourself."
  fi
  case $place/ in
    "$repository"/*) ;;
    *)
      if [ "$target" != env ] && ls -A -- "$place" | grep -q '^\.made-from-'; then
        stop "VENV=$folder is the environment of another requirements.lock; make env with this VENV remakes it for all."
      fi
      ;;
  esac
elif [ -e "$folder" ] || [ -L "$folder" ]; then
  stop "VENV=$folder is no folder; set VENV to another one."
fi
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null ||
  stop "PYTHON=$python is not Python 3.11, 3.12 or 3.13; set PYTHON=python3.12, say."

echo "making the environment in $folder (several GB, minutes)"
mkdir -p -- "$folder"
folder=$(cd -- "$folder" && pwd -P)  # venv takes no symbolic link
# before all else, so that what an interruption leaves behind is known as ours
echo "Made by make env of retclip-tune, which may remove and remake what it installed here." > "$folder/$mark"
# what an earlier environment consists of, and nothing that somebody laid beside it
find -H "$folder" -maxdepth 1 -name '.made-from-*' -delete
for part in bin etc include lib lib64 share pyvenv.cfg; do rm -rf -- "${folder:?}/$part"; done
"$python" -m venv "$folder"
awk '/^[a-z]/ {wanted = /^uv==/} wanted' "$lock" > "$folder/uv.lock"
"$folder/bin/python" -m pip install --quiet --require-hashes -r "$folder/uv.lock"
VIRTUAL_ENV=$folder "$folder/bin/uv" pip sync --quiet --require-hashes --compile-bytecode "$lock"
touch -- "$folder/$finished"
