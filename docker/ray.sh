#!/bin/sh
# `ray.sh worker`: one of Ray's machines. `ray.sh head`: its head, and what is to run on the cluster. It ends when Ray
# does, or when that cannot be started: then the container starts again.
set -eu
# Ports are named, for Ray waits only seconds for processes that choose their own. Calls and replies are less than a
# megabyte each: a quarter of a gigabyte holds those that are on their way.
start() {
  exec ray start "$@" --dashboard-agent-grpc-port=52366 --runtime-env-agent-port=52367 --metrics-export-port=52368 \
    --object-store-memory=268435456 --disable-usage-stats --block
}
if [ "$1" = worker ]; then
  start --address=head.ray:6379 --num-cpus="$WORKER_CPUS"
fi
ip=$(getent hosts head.ray | cut -d ' ' -f 1)
start --head --node-ip-address="$ip" --port=6379 --num-cpus=0 --include-dashboard=false &
ray=$!
trap 'kill "$ray"' TERM INT
until ray health-check --address "$ip:6379"; do
  kill -0 "$ray"
  sleep 1
done
retrievalguard cluster --address auto --api "$API" --samplers "$SAMPLERS"
wait "$ray"
