#!/bin/sh
# Starts fake_stripe and checks what README.md promises; exits non-zero at the first broken promise.
# usage: smoke.sh PATH_TO_fake_stripe [customers]
exec python3 "$(dirname "$0")/smoke.py" "$@"
