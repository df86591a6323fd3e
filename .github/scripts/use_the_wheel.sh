#!/bin/sh
# Build the wheel, install it into an empty environment, and send a message with it, outside the source tree.
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
ls venv/share/bash-completion/completions/simple-chat-server venv/share/zsh/site-functions/_simple-chat-server
venv/bin/python "$root/.github/scripts/send_a_message.py"
