#!/bin/sh
# Builds the wheel, installs it in an environment of its own, and has a conversation with it, far from the sources.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
python3 -m venv "$built/venv"
"$built/venv/bin/pip" wheel --quiet --no-deps --wheel-dir "$built" "$root"
"$built/venv/bin/pip" install --quiet "$built"/*.whl
cd "$built"
venv/bin/simple-chat --version
venv/bin/simple-chat-server --version
venv/bin/python "$root/.github/scripts/send_a_message.py"
