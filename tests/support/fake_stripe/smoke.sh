#!/bin/sh
# Starts fake_stripe and checks what README.md promises; exits non-zero at the first broken promise.
# usage: smoke.sh PATH_TO_fake_stripe [customers]
set -e
folder=$(dirname "$0")
python3 "$folder/smoke.py" "$@"
python3 "$folder/smoke_vendor.py" "$1"
python3 "$folder/smoke_hostile.py" "$1"
