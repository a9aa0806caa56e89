#!/bin/sh
# Makes the password between the service and Redis, once: of it Redis gets a digest, the service a URL. To have
# another made, delete the volume (docs/security.md).
set -eu
cd /secret
[ ! -s users.acl ] || exit 0
password=$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')
digest=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
printf 'redis://retrievalguard:%s@redis:6379/0\n' "$password" > url
# Without the password one may ask whether it lives. The service reads, writes and counts under its own keys and
# can do nothing else: no scripts, no CONFIG, no FLUSHALL.
cat > users.draft <<USERS
user default on nopass resetkeys resetchannels -@all +ping
user retrievalguard on #$digest ~retrievalguard:* resetchannels -@all +@connection -@dangerous +getrange +set +incrby +expire
USERS
chmod 444 url users.draft # for two users in two containers; no other container has this volume
mv users.draft users.acl
