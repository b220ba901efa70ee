#!/bin/sh
# Runs the scripts of /docker-entrypoint.d in the order of their names, then the command.
set -eu

say() {
  [ -n "${QUIET:-}" ] || echo "entrypoint: $*"
}

if [ "$1" = nginx ]; then
  for script in /docker-entrypoint.d/*.sh; do
    if [ -x "$script" ]; then
      say "running $script"
      "$script"
    else
      say "leaving out $script, it is not executable"
    fi
  done
  say "ready to start"
fi

exec "$@"
