#!/bin/sh
# Says one thing in the room and is gone: examples/say.sh NAME TEXT...
# The exit status tells whether the server took it. SIMPLE_CHAT_SERVER_HOST and _PORT say where it is.
set -eu
name=$1
shift
printf 'send %s\n' "$*" | python3 -m simple_chat.client --username "$name"
