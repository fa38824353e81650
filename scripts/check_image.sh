#!/usr/bin/env bash
# Builds the image where there is no container engine and no image registry, and starts every service from it.
#
#   scripts/check_image.sh [SCRATCH_FOLDER]      as root; about 5 minutes and 8 GiB the first time; not part of `make test`
#
# Needs Debian's buildah and debootstrap, Go, and apt and pip that work. The base images are made here, under the names
# that the Dockerfile asks for: Debian's bookworm with its Python 3.11, and with this machine's Go. So this shows that the
# Dockerfile builds and its services run; it does not show that the official base images do.
# With redis-server, livekit-server and livekit-sip on the PATH the services are also run together, configured by the
# image. What it can't show: Compose's networks, published ports, health checks as Docker performs them.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON_BASE=docker.io/library/python:3.11-slim-bookworm
GO_BASE=docker.io/library/golang:1.26-bookworm
IMAGE=localhost/trunkline:check
work=$(mkdir -p "${1:-/tmp/trunkline-image}" && cd "${1:-/tmp/trunkline-image}" && pwd)
started=()
container=""

say() { printf 'check_image: %s\n' "$*"; }
die() { printf 'check_image: FAILED: %s\n' "$*" >&2; exit 1; }
store() { local command=$1; shift; buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$command" "$@"; }
clean_up() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    [ -z "$container" ] || store rm "$container" >/dev/null 2>&1 || true
}
trap clean_up EXIT

[ "$(id -u)" = 0 ] || die "run as root: debootstrap and chroot need it"
for tool in buildah debootstrap go curl; do
    command -v "$tool" >/dev/null || die "$tool is missing (apt-get install buildah debootstrap curl; Go from its site)"
done

# --- Base images -------------------------------------------------------------------------------------------------
save_base() { # NAME ROOTFS [buildah config options]: a folder becomes a base image
    local name=$1 rootfs=$2 base
    shift 2
    base=$(store from scratch)
    store add --quiet "$base" "$rootfs" / >/dev/null
    store config "$@" "$base"
    store commit --quiet "$base" "$name" >/dev/null
    store rm "$base" >/dev/null
}

make_bases() {
    local rootfs=$work/rootfs mirror
    mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "bookworm" || $1 == "oldstable" || $1 == "stable" {print $2; exit}')
    [ -n "$mirror" ] || die "apt knows no mirror of bookworm"
    rm -rf "$rootfs"
    debootstrap --variant=minbase --include=ca-certificates,python-is-python3,python3-venv bookworm "$rootfs" "$mirror" \
        >"$work/debootstrap.log" 2>&1 || die "debootstrap; see $work/debootstrap.log"
    # The build installs packages by this machine's ways, and trusts whom it trusts.
    cp -L /etc/ssl/certs/ca-certificates.crt "$rootfs/etc/ssl/certs/"
    rm -rf "$rootfs/etc/apt/sources.list" "$rootfs/var/cache/apt/archives" "$rootfs"/var/lib/apt/lists/*
    cp -a /etc/apt/sources.list.d /etc/apt/apt.conf.d "$rootfs/etc/apt/"
    [ ! -f /etc/apt/sources.list ] || cp /etc/apt/sources.list "$rootfs/etc/apt/"
    [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$rootfs/etc/"
    save_base "$PYTHON_BASE" "$rootfs"
    mkdir -p "$rootfs/usr/local/go"
    cp -a "$(go env GOROOT)/." "$rootfs/usr/local/go/"
    save_base "$GO_BASE" "$rootfs" --env PATH=/usr/local/go/bin:/usr/bin:/bin --env "GOPROXY=$(go env GOPROXY)" \
        --env GOTOOLCHAIN=local
    rm -rf "$rootfs"
}

if store inspect --type image "$GO_BASE" >/dev/null 2>&1; then
    say "base images: as made before in $work"
else
    SECONDS=0
    make_bases
    say "base images: made in $SECONDS s"
fi

# --- The image ---------------------------------------------------------------------------------------------------
SECONDS=0
store bud --isolation chroot --ulimit nofile=512:512 --pull-never --tag "$IMAGE" --file Dockerfile . \
    >"$work/build.log" 2>&1 || { tail -20 "$work/build.log" >&2; die "build; see $work/build.log"; }
container=$(store from --pull-never "$IMAGE")
root=$(store mount "$container")
base=$(store from --pull-never "$PYTHON_BASE")
base_mib=$(du -sm "$(store mount "$base")" | cut -f1)
store rm "$base" >/dev/null
say "image: built in $SECONDS s; $(du -sm "$root" | cut -f1) MiB, of which base $base_mib, packages $(du -sm "$root/opt/venv" | cut -f1)"

# --- Every service by itself -------------------------------------------------------------------------------------
inside() { store run --isolation chroot "$container" -- "$@"; }
expect() { # WHAT PATTERN COMMAND…: the command's output has the pattern, whatever its exit code
    local what=$1 pattern=$2 output
    shift 2
    output=$(inside timeout 90 "$@" 2>&1) || true
    grep -qE -- "$pattern" <<<"$output" || { tail -5 <<<"$output" >&2; die "$what: no '$pattern'"; }
    say "$what: $(grep -m1 -oE -- "$pattern" <<<"$output")"
}
start() { # NAME COMMAND…: in the background, ended at the end; chroot isolation has no process ids of its own
    local name=$1
    shift
    inside sh -c 'echo $$ >/tmp/'"$name"'.pid; exec "$@"' "$name" "$@" >"$work/$name.log" 2>&1 &
    for _ in $(seq 100); do [ -s "$root/tmp/$name.pid" ] && break; sleep 0.1; done
    started+=("$(cat "$root/tmp/$name.pid")")
}
stop() { # NAME: SIGTERM ends it in order
    local pid
    pid=$(cat "$root/tmp/$1.pid")
    kill -TERM "$pid"
    for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
    die "$1 goes on after SIGTERM; see $work/$1.log"
}
answers() { # NAME URL: within 60 s
    curl --silent --show-error --fail --retry 60 --retry-delay 1 --retry-max-time 60 --retry-all-errors --output /dev/null \
        --max-time 5 "$2" 2>"$work/curl.log" || { tail -5 "$work/$1.log" "$work/curl.log" >&2; die "$1: no answer from $2"; }
    say "$1: $2 answers"
}
says() { # NAME PATTERN: within 60 s, in its log
    for _ in $(seq 60); do grep -qE -- "$2" "$work/$1.log" && { say "$1: $2"; return; }; sleep 1; done
    tail -5 "$work/$1.log" >&2
    die "$1: does not say '$2'"
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

touch "$work/stamp"
key=check secret=check-image-secret-of-more-than-32-characters
nowhere=127.0.0.1:9
expect "user" "uid=10001\S* gid=10001" id
expect "trunkline" "Commands:" trunkline --help
expect "phone" "trunkline-phone|Usage|flag" trunkline-phone -h
expect "speech" "eSpeak NG text-to-speech: \S+" espeak-ng --version
expect "orchestrator without keys" "LIVEKIT_API_KEY.* not set.*" trunkline orchestrator
expect "orchestrator without Redis" "is Redis running at REDIS_URL=\S+" env LIVEKIT_API_KEY=$key LIVEKIT_API_SECRET=$secret \
    TWILIO_SIP_INGRESS_HOST=sip REDIS_URL=redis://$nowhere/0 ORCH_LISTEN="127.0.0.1:$(free_port)" trunkline orchestrator
expect "agent without keys" "LIVEKIT_API_KEY.* not set.*" trunkline agent
if [ -f src/trunkline/loadtest/load_test.py ]; then
    expect "load test" "--concurrency" sh -c 'cd /loadtest && touch runs/written && python load_test.py --help'
else
    say "load test: NOT CHECKED, there is no load_test.py yet"
fi
port=$(free_port)
start metrics env METRICS_LISTEN="127.0.0.1:$port" METRICS_CSV_DIR=/data trunkline metrics
answers metrics "http://127.0.0.1:$port/healthz"
start agent env LIVEKIT_API_KEY=$key LIVEKIT_API_SECRET=$secret LIVEKIT_HOST=ws://$nowhere ORCH_URL=http://$nowhere \
    METRICS_ENDPOINT="http://127.0.0.1:$port/ingest" trunkline agent
says agent worker_started
stop agent

# --- Together, with the servers of this machine ------------------------------------------------------------------
if command -v redis-server >/dev/null && command -v livekit-server >/dev/null && command -v livekit-sip >/dev/null; then
    redis=$(free_port) livekit=$(free_port) orchestrator=$(free_port) sip=$(free_port)
    shared=(LIVEKIT_API_KEY=$key LIVEKIT_API_SECRET=$secret LIVEKIT_HOST="ws://127.0.0.1:$livekit" ORCH_API_KEY=check
        REDIS_URL="redis://127.0.0.1:$redis/0" ORCH_URL="http://127.0.0.1:$orchestrator" SIP_TRUNK_USERNAME=check
        SIP_TRUNK_PASSWORD=check-image TWILIO_AUTH_TOKEN=check TWILIO_SIP_INGRESS_HOST="127.0.0.1:$sip"
        METRICS_ENDPOINT="http://127.0.0.1:$port/ingest")
    # As the service `config` of docker-compose.yml does it, and read by the servers under the same user.
    for name in livekit sip; do
        inside env "${shared[@]}" LIVEKIT_PORT="$livekit" LIVEKIT_BIND_ADDRESSES=127.0.0.1 LIVEKIT_LOG_LEVEL=info \
            LIVEKIT_WS_URL="ws://127.0.0.1:$livekit" LIVEKIT_WEBHOOK_URL="http://127.0.0.1:$orchestrator/livekit/webhook" \
            RTC_UDP_PORT="$(free_port)" RTC_TCP_PORT=0 RTC_NODE_IP=127.0.0.1 RTC_INTERFACES=lo SIP_PORT="$sip" \
            SIP_LISTEN_IP=127.0.0.1 SIP_RTP_PORTS=20000-20199 SIP_LOCAL_NET=127.0.0.0/8 SIP_PUBLIC_IP=127.0.0.1 \
            SIP_CODEC_G722=false SIP_CODEC_PCMU=true SIP_CODEC_PCMA=true SIP_JITTER_BUFFER=false \
            sh -euc "umask 077; python -m trunkline.stack.render config/$name.yaml >/rendered/$name.yaml"
    done
    say "config: $(stat -c '%n of %u, %a,' "$root"/rendered/*.yaml | sed 's|.*/||' | tr '\n' ' ')"
    redis-server --bind 127.0.0.1 --port "$redis" --save "" --dir "$work" >"$work/redis.log" 2>&1 &
    started+=($!)
    for name in livekit-server sip; do
        program=$(command -v "livekit-${name#livekit-}")
        install -m 0755 "$program" "$work/${program##*/}"
        cp -p "$root/rendered/${name%-server}.yaml" "$work/"
        (cd / && exec setpriv --reuid 10001 --regid 10001 --clear-groups "$work/${program##*/}" \
            --config "$work/${name%-server}.yaml") >"$work/$name.log" 2>&1 &
        started+=($!)
    done
    answers livekit-server "http://127.0.0.1:$livekit/"
    start orchestrator env "${shared[@]}" ORCH_LISTEN="127.0.0.1:$orchestrator" trunkline orchestrator
    answers orchestrator "http://127.0.0.1:$orchestrator/readyz"
    start agent env "${shared[@]}" WORKER_ID=agent-check trunkline agent
    says agent worker_connected
    inside env "${shared[@]}" sh -c 'cd /loadtest && timeout 120 python load_test.py --concurrency 2 --turns 1 \
        --burst-seconds 3' >"$work/loadtest.log" 2>&1 || { tail -20 "$work/loadtest.log" >&2; die "load test"; }
    say "load test: 2 callers, every turn answered"
    stop agent
    stop orchestrator
    rm -f "$work"/{livekit,sip}.yaml
else
    say "together: NOT CHECKED, redis-server, livekit-server or livekit-sip is not on the PATH"
fi
stop metrics

# --- A read-only root is enough ----------------------------------------------------------------------------------
written=$(find "$root" -xdev -newer "$work/stamp" -uid 10001 -type f ! -path "$root/tmp/*" ! -path "$root/rendered/*" ! -path "$root/data/*" \
    ! -path "$root/loadtest/runs/*")
[ -z "$written" ] || die "files written outside /tmp, /rendered and /data: $written"
say "nothing written outside /tmp, /rendered and /data"
say "passed"
