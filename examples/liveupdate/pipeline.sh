#!/bin/sh
# A shell pipeline over a jump: what one program wrote in the old kernel, another reads in the next one.
#
#   pipeline.sh before COMMAND...   compress and keep; COMMAND makes the jump (kexec -e, luoctl emulate kexec)
#   pipeline.sh after               take and decompress, to standard output
#
# STATE names the program of state.c.
set -eu
state=${STATE:-state}
case ${1:-} in
  before)
    shift
    seq 1 20000 | gzip | "$state" save pipeline "$@"
    ;;
  after)
    "$state" load pipeline | gzip -d
    ;;
  *)
    echo 'usage: pipeline.sh before COMMAND... | pipeline.sh after' >&2
    exit 2
    ;;
esac
