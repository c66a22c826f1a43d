#!/usr/bin/env bash
# Says what hardening a program or a shared object lacks; exit code 1 when something is missing.
#   check-hardening.sh BINARY...
# Control-flow protection (CET) is not looked for: Debian 12's own start files lack the mark, so no program has it.
# ctest runs it on what the presets release and package build (packaging.hardening).
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 64; }

status=0
for binary in "$@"; do
  header=$(readelf -hW "$binary")
  segments=$(readelf -lW "$binary")
  dynamic=$(readelf -dW "$binary")
  symbols=$(readelf -W --dyn-syms "$binary")
  missing=()
  has() { grep -qE -- "$2" <<<"$1"; } # text, pattern
  has "$header" 'Type:[[:space:]]+DYN' || missing+=("position independence (PIE)")
  has "$segments" 'GNU_RELRO' || missing+=("RELRO")
  has "$dynamic" 'BIND_NOW|FLAGS_1.*NOW' || missing+=("BIND_NOW (full RELRO)")
  has "$segments" 'GNU_STACK.* RWE' && missing+=("a stack that is not executable")
  has "$dynamic" 'TEXTREL' && missing+=("a text without relocations")
  has "$symbols" '__stack_chk_fail' || missing+=("stack protector")
  grep -oE '__[a-z0-9_]+_chk\b' <<<"$symbols" | grep -qv '^__stack' || missing+=("fortified calls (_FORTIFY_SOURCE)")
  if [ "${#missing[@]}" = 0 ]; then
    printf '%s: hardened\n' "$binary"
  else
    status=1
    for what in "${missing[@]}"; do printf '%s: lacks %s\n' "$binary" "$what"; done
  fi
done
exit "$status"
