#!/bin/sh
# Stands in for TFLite's native benchmark_model; $STATE/benchmark.txt is its output, with GRAPH
# and MICROSECONDS to fill in. One model takes a microsecond a byte of its file.
if [ -e "$STATE/cannot_run" ]; then
  echo "sh: ./benchmark_model: not executable: 64-bit ELF file"; exit 126
fi
[ "$1" = "--help" ] && { echo "usage: ./benchmark_model"; exit 1; }
echo "$@" >> "$STATE/runs.txt"
graph=$(echo "$1" | cut -d= -f2)
if [ -e "$STATE/lose_after" ] && [ "$(wc -l < "$STATE/runs.txt")" -gt "$(cat "$STATE/lose_after")" ]; then
  touch "$STATE/lost"; kill -9 $PPID; exit 1
fi
size=$(wc -c < "$graph" | tr -d ' ')
sed -e "s|GRAPH|$graph|" -e "s|MICROSECONDS|$size|g" "$STATE/benchmark.txt"
[ -e "$STATE/fails" ] && exit 1
exit 0
