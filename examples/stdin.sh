#!/bin/sh
# Reads the output of a training through a pipe; no file is needed. What lrwatch finds is printed, and served at the address that it prints
# first. With the end of the training it stays, so that its page can still be read: Ctrl-C ends it.
#
#     examples/stdin.sh
here=$(dirname "$0")
python "$here/log_only.py" | lrwatch run --listen 127.0.0.1:0 -
