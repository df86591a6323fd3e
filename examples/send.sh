#!/bin/sh
# Send one message to the room: examples/send.sh NAME TEXT...
# Exit status 0 means that the server accepted it. SIMPLE_CHAT_SERVER_HOST and SIMPLE_CHAT_SERVER_PORT set the address.
set -eu
name=$1
shift
printf 'send %s\n' "$*" | python3 -m simple_chat.client --username "$name"
