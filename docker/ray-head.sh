#!/bin/sh
# Ray's head, and what is to run on the cluster. It ends when Ray does, or when that cannot be started: then the
# container starts again.
set -eu
ip=$(getent hosts head.ray | cut -d ' ' -f 1)
ray start --head --node-ip-address="$ip" --port=6379 --num-cpus=0 --include-dashboard=false --disable-usage-stats --block &
ray=$!
trap 'kill "$ray"' TERM INT
until ray health-check --address "$ip:6379"; do
  kill -0 "$ray"
  sleep 1
done
retrievalguard cluster --address auto --api "$API" --samplers "$SAMPLERS"
wait "$ray"
