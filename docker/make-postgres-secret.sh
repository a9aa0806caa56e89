#!/bin/sh
# Makes the password between the service and PostgreSQL, and what all replicas share, once. The server sees the
# password alone. To have another password made: docs/operations.md.
set -eu
random() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }
if [ ! -s /replica/ray-token ]; then # what lets machines into a cluster of Ray
  random > /replica/draft
  chmod 444 /replica/draft
  mv /replica/draft /replica/ray-token
fi
[ ! -s /replica/url ] || exit 0
password=$(random)
printf %s "$password" > /server/password
random > /replica/secret
printf 'postgresql://retrievalguard:%s@postgres:5432/retrievalguard\n' "$password" > /replica/draft
chmod 444 /server/password /replica/secret /replica/draft # for users in other containers; no other has these volumes
mv /replica/draft /replica/url
