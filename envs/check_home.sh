#!/usr/bin/env bash
# snakemake copies the files of a workflow into the user's cache, and ends with a traceback where that has no room.
set -euo pipefail
cache="${XDG_CACHE_HOME:-${HOME:-}/.cache}/snakemake"
probe=""
if ! { mkdir -p "$cache" && probe=$(mktemp "$cache/.room.XXXXXX") && head -c 65536 /dev/zero > "$probe"; } 2> /dev/null; then
  rm -f "$probe"
  echo "error: $cache: cannot be written (full, or another user's), and snakemake keeps files there;" \
    "set XDG_CACHE_HOME to a folder with room, such as /scratch/me/cache." >&2
  exit 1
fi
rm -f "$probe"
