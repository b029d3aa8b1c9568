#!/bin/sh
# Instructions that a piece of a call's way takes, counted by cachegrind: the difference between two runs of different
# length, so that what is done once at the start does not count. Times do not matter, so the machine may be busy.
set -eu
counted() {
    valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null "$1" "$2" "$3" 2>&1 >/dev/null |
        sed -n 's/^.*I *refs: *//p' | tr -d ,
}
program=$1
for piece in voice silence resample-24-16 resample-24-8 resample-8-16 from-model to-model pass-talking pass-idle; do
    few=$(counted "$program" "$piece" 100)
    many=$(counted "$program" "$piece" 600)
    printf '%-16s %8d\n' "$piece" $(((many - few) / 500))
done
