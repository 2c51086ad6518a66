#!/usr/bin/env bash
# In a clean root (scripts/fresh --built): the install steps of docker/Dockerfile's images, then what a pod of deploy/kubernetes does first.
#   try_images.sh BIN          folder of the built programs; the coordinator's image, then a worker beside it
#   try_images.sh BIN worker   what the worker's image alone installs
set -euo pipefail
bin=$1
export PATH=$bin:$PATH

if [[ ${2:-} == worker ]]; then
  scripts/bootstrap --run worker
  for program in wring-worker wring-engine; do
    if ldd "$bin/$program" | grep "not found"; then echo "FAILED: $program lacks these"; exit 1; fi
  done
  wring-worker --version
  wring-engine devices | grep -o '"torch":"[^"]*"'
  echo "ok: a worker's programs start on what its image installs"
  exit
fi

echo "== coordinator"
scripts/bootstrap --run server
wring-server --version
wring --version
data=$(mktemp -d)
umask 077
wring-server init --data "$data" --host wring >"$data.first-token"
wring-server init worker pool --data "$data" >"$data.worker"
wring-server --data "$data" --grpc 127.0.0.1:7433 --http 127.0.0.1:7480 --log-format json >"$data.log" 2>&1 &
server=$!
trap 'kill $server $worker 2>/dev/null || true' EXIT
worker=
token=$(grep -o 'wring_[A-Za-z0-9_]*' "$data.first-token" | head -1)
ask() { wring --server 127.0.0.1:7433 --ca "$data/tls/ca.crt" --token "$token" "$@"; }
for ((i = 0; i < 100; ++i)); do ask workers --json >/dev/null 2>&1 && break; sleep 0.2; done
ask methods --json | grep -c '"gptq"' >/dev/null || { echo "FAILED: the server does not answer"; cat "$data.log"; exit 1; }

echo "== worker"
scripts/bootstrap --run worker
wring-worker --version
wring-engine devices | grep -o '"torch":"[^"]*"'
wring-worker --server 127.0.0.1:7433 --tls "$data/tls/workers/pool" --cache "$data.cache" --name pod-1 >"$data.worker.log" 2>&1 &
worker=$!
for ((i = 0; i < 150; ++i)); do ask workers --json | grep -q '"pod-1"' && break; sleep 0.2; done
ask workers --json | grep -q '"pod-1"' || { echo "FAILED: no worker came"; cat "$data.worker.log"; exit 1; }
echo "ok: a coordinator and a worker of it, on what their images install"
