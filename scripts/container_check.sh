#!/usr/bin/env bash
# The container check: the Dockerfile's own stages, built and run for real where no Docker engine is.
#
# buildah builds them (chroot isolation, no registry) on a base image that debootstrap made, since the
# Python image cannot be fetched here; the result runs as PID 1 of a process namespace of its own, with
# the uid, environment and commands that the image's configuration names, without capabilities, on a root
# that is mounted read-only, where the router has no writable place at all and the simulator a small /tmp.
# Both share the network of this machine and listen on loopback alone. What needs a Docker engine is not
# proved: the real base image, limits, seccomp, and that an engine acts on the HEALTHCHECK.
#
# Needs root, buildah, debootstrap and curl; says what is missing, and ends with 0, where one is, or with 1
# where CONTAINER_CHECK=required. Packages come from DEBIAN_MIRROR, or debootstrap's own. The base is kept
# in .container/, the report and all logs in logs/container/; nothing else is left.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly BASE=localhost/autopilot-base:check IMAGE=localhost/autopilot:check
readonly SUITES=(trixie bookworm)
readonly PACKAGES=python3,python3-venv,ca-certificates
readonly CACHE=.container OUT=logs/container
readonly EPOCH=1750000000
readonly DEBOOTSTRAP_SECONDS=180 BUILD_SECONDS=180 STEP_SECONDS=60 CURL_SECONDS=20
readonly MODEL=sim/Alpha-70B-TEE CHAT=/v1/chat/completions

failed=0 checked=0 scratch='' started=$SECONDS
declare -A pids=()

skip() {
  echo "skipped: $1"
  [[ ${CONTAINER_CHECK:-} != required ]] || exit 1
  exit 0
}

say() { tee -a "$OUT/report.txt" <<<"$1"; }

# that WHAT COMMAND...: one check, which is ok if the command is; its output is shown where it is not.
that() {
  local what=$1 seen
  shift
  checked=$((checked + 1))
  if seen=$("$@" 2>&1); then
    say "ok   $what"
  else
    failed=$((failed + 1))
    say "FAIL $what"
    [[ -z $seen ]] || say "     seen: ${seen:0:2000}"
  fi
}

# What follows makes no sense without this.
must() {
  local before=$failed
  that "$@"
  ((failed == before)) || finish
}

finish() {
  say ''
  say "$checked checks, $failed failed, $((SECONDS - started)) s; $OUT/"
  exit $((failed > 0))
}

image_store() {
  buildah --root "$scratch/storage" --runroot "$scratch/run" --storage-driver vfs "$@"
}

clean_up() {
  local name
  # SIGKILL to unshare takes its child with it, and the mounts go with their namespace.
  for name in "${!pids[@]}"; do kill -KILL "${pids[$name]}" 2>/dev/null || true; done
  wait 2>/dev/null || true
  [[ -n $scratch ]] || return 0
  if [[ -d $scratch/storage ]]; then
    timeout "$STEP_SECONDS" buildah --root "$scratch/storage" --runroot "$scratch/run" \
      --storage-driver vfs rm --all >/dev/null 2>&1 || true
  fi
  # Within one file system: should a mount be left after all, nothing behind it is removed.
  rm -rf --one-file-system "$scratch"
}

eventually() {
  local end=$((SECONDS + 20))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || { echo "not within 20 s: $*"; "$@"; return 1; }
    sleep 0.1
  done
}

free_ports() {
  PYTHONPATH=scripts PYTHONDONTWRITEBYTECODE=1 python3 -c \
    "from processes import free_ports; print(*free_ports($1))"
}

# --- the base image and ours

make_base() {
  local suite
  for suite in "${SUITES[@]}"; do
    rm -rf --one-file-system "$scratch/base"
    timeout "$DEBOOTSTRAP_SECONDS" debootstrap --variant=minbase --include="$PACKAGES" \
      "$suite" "$scratch/base" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$OUT/debootstrap-$suite.log" 2>&1 || continue
    rm -rf "$scratch"/base/var/cache/apt/archives/*.deb "$scratch"/base/var/lib/apt/lists/*
    mkdir -p "$CACHE"
    tar -C "$scratch/base" -cf "$CACHE/base.tar.part" .
    mv "$CACHE/base.tar.part" "$CACHE/base.tar"
    rm -rf --one-file-system "$scratch/base"
    return 0
  done
  return 1
}

import_base() {
  mkdir -p "$scratch/context"
  ln -f "$CACHE/base.tar" "$scratch/context/" 2>/dev/null || cp "$CACHE/base.tar" "$scratch/context/"
  printf 'FROM scratch\nADD base.tar /\nENV PATH=%s\n' \
    /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin >"$scratch/context/Dockerfile"
  timeout "$BUILD_SECONDS" buildah --root "$scratch/storage" --runroot "$scratch/run" \
    --storage-driver vfs bud --isolation chroot --format docker --tag "$BASE" "$scratch/context"
}

# pip's own certificates and index, if this machine has them set, as the Dockerfile's two secrets.
lend_pip() {
  local bundle index
  bundle=${PIP_CERT:-$(python3 -m pip config get global.cert 2>/dev/null || true)}
  index=${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}
  (umask 077 && echo '[global]' >"$scratch/pip.conf")
  secrets=(--secret "id=pip.conf,src=$scratch/pip.conf")
  [[ -z $index ]] || echo "index-url = $index" >>"$scratch/pip.conf"
  if [[ -f $bundle ]]; then
    echo 'cert = /run/ca.crt' >>"$scratch/pip.conf"
    secrets+=(--secret "id=ca.crt,src=$bundle")
  fi
}

build() { # NUMBER CONTEXT
  if ! timeout "$BUILD_SECONDS" buildah --root "$scratch/storage" --runroot "$scratch/run" \
    --storage-driver vfs bud --isolation chroot --format docker --pull-never "${secrets[@]}" \
    --build-arg "BASE_IMAGE=$BASE" --build-arg "SOURCE_DATE_EPOCH=$EPOCH" \
    --build-arg REVISION=0000000000000000000000000000000000000000 \
    --tag "$IMAGE-$1" "$2" >"$OUT/build-$1.log" 2>&1; then
    tail -n 15 "$OUT/build-$1.log"
    return 1
  fi
}

# The same files with the present as their date, in a directory of another name.
copy_context() {
  mkdir "$1"
  cp -r Dockerfile .dockerignore LICENSE README.md autopilot pyproject.toml requirements setup.py \
    twisted "$1"
}

mounted() { # NUMBER: the directory that holds the image's root
  image_store mount "$(image_store from --pull-never "$IMAGE-$1")"
}

# What the image says about itself, as shell variables; exec form only, as that is what is run here.
read_config() {
  image_store inspect --type image "$IMAGE-1" >"$OUT/image.json"
  python3 - "$OUT/image.json" <<'PYTHON'
import json
import shlex
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    config = json.load(file)["Docker"]["config"]
kind, *health = config["Healthcheck"]["Test"]
arrays = {
    "entrypoint": config["Entrypoint"],
    "command": config["Cmd"],
    "environment": config["Env"],
    "health": health if kind == "CMD" else [],
    "labels": [f"{name}={value}" for name, value in config["Labels"].items()],
    "exposed": list(config["ExposedPorts"]),
}
for name, words in arrays.items():
    print(f"{name}=({shlex.join(words)})")
for name in ("User", "StopSignal", "WorkingDir"):
    print(f"{name.lower()}={shlex.quote(config[name])}")
PYTHON
}

# Path, kind, mode, owner, date and content of everything below a directory, in order. The directory
# itself is left out: COPY gives it the time of the build.
manifest() {
  (
    cd "$1"
    find . -mindepth 1 ! -type f -printf '%p %y %m %U:%G %T@ %l\n' | LC_ALL=C sort
    find . -type f -printf '%p %y %m %U:%G %T@ ' -exec sha256sum {} \; | LC_ALL=C sort
  )
}

# --- a root of the image, read-only, entered as the image's user

# Replaces this process; becomes PID 1 of a container in all but name. SETTINGS are NAME=VALUE words.
readonly ENTER='
set -eu
root=$1 user=$2 directory=$3
shift 3
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
[[ -z ${WITH_TMP:-} ]] || mount -t tmpfs -o size=16m,mode=1777,nosuid,nodev,noexec tmpfs "$root/tmp"
exec chroot "$root" /usr/bin/setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups \
  --no-new-privs --inh-caps=-all --bounding-set=-all \
  /usr/bin/env -i --chdir="$directory" "$@"
'

enter() { # SETTINGS... COMMAND...
  exec unshare --mount --pid --fork --kill-child \
    bash -c "$ENTER" enter "$root" "$user" "$workingdir" "${environment[@]}" "$@"
}

inside() { (enter "$@") & local pid=$!; wait "$pid"; }

start() { # NAME SETTINGS... COMMAND...
  local name=$1
  shift
  (enter "$@") >"$OUT/$name.log" 2>&1 &
  pids[$name]=$!
}

# The process that is PID 1 of the namespace that was made for NAME.
first_process() { pgrep -P "${pids[$1]}"; }

stop() { # NAME: SIGTERM, and what it ends with
  local code=0
  kill -"${stopsignal#SIG}" "$(first_process "$1")"
  timeout "$STEP_SECONDS" tail --pid="${pids[$1]}" -f /dev/null || { echo 'it does not end'; return 1; }
  wait "${pids[$1]}" || code=$?
  unset "pids[$1]"
  echo "$code" >"$scratch/code-$1"
}

# --- what is looked at

get() { # URL STATUS
  local status
  status=$(curl -sS -m "$CURL_SECONDS" -o /dev/null -w '%{http_code}' "$1")
  [[ $status == "$2" ]] || { echo "status $status"; return 1; }
}

stream() { # BODY-FILE; the answer on standard output, as it comes
  curl -sSN -m "$CURL_SECONDS" -H 'Authorization: Bearer not-a-real-token' \
    -H 'Content-Type: application/json' --data-binary "@$1" "http://127.0.0.1:$port$CHAT"
}

ask() { # PROMPT-BYTES: the body of a streamed request
  python3 -c "import json; print(json.dumps({'model': '$MODEL', 'stream': True, \
'messages': [{'role': 'user', 'content': 'x' * $1}]}))"
}

ends_with_done() { # FILE
  [[ $(grep '^data: ' "$1" | tail -n 1) == 'data: [DONE]' ]] || { tail -n 3 "$1"; return 1; }
}

has_begun() { grep -q '^data: {' "$1"; }

streams() { # BODY-FILE
  stream "$1" >"$scratch/answer"
  has_begun "$scratch/answer" && ends_with_done "$scratch/answer"
}

is_image_user() {
  [[ $user == 10001:10001 ]] || { echo "USER $user"; return 1; }
  grep '^autopilot:x:10001:10001:' "$root/etc/passwd"
  grep '^autopilot:x:10001:' "$root/etc/group"
}

has_labels() {
  local name
  for name in title description licenses version revision base.name; do
    printf '%s\n' "${labels[@]}" | grep "^org\.opencontainers\.image\.$name=." || {
      echo "no label $name"
      return 1
    }
  done
}

has_commands() {
  [[ "${entrypoint[*]}" == /opt/autopilot/bin/twistd\ * && ${#health[@]} -gt 0 ]] &&
    [[ "${command[*]}" == autopilot && "${exposed[*]}" == 8080/tcp && $stopsignal == SIGTERM ]]
}

# In the programs' directories; /usr/lib holds no compiler that these would not lead to.
has_no_compiler() {
  local found
  found=$(find "$root"/{usr/,usr/local/,opt/autopilot/,}{bin,sbin}/ \
    -regextype posix-extended -regex '.*/(.*-)?(gcc|g\+\+|cc|c\+\+|c[89]9|clang|tcc|as|ld|make)(-[0-9.]+)?' \
    2>/dev/null || true)
  [[ -z $found ]] || { echo "$found"; return 1; }
}

has_no_pip() { [[ -z $(find "$root/opt/autopilot" -name 'pip*') ]]; }

is_roots_alone() {
  local found
  found=$(find "$root/opt/autopilot" \( ! -uid 0 -o ! -gid 0 -o -perm /022 ! -type l \) -print)
  [[ -z $found ]] || { echo "$found" | head; return 1; }
}

trusts_someone() {
  inside /opt/autopilot/bin/python -c \
    'import sys; from autopilot.trust_store import trust_store_problem as p; sys.exit(p())'
}

# As root with every capability, which is more than the router has.
is_read_only() {
  local pid
  pid=$(first_process router)
  ! nsenter --target "$pid" --mount --root touch /tmp/written 2>"$scratch/refused" || return 1
  grep 'Read-only file system' "$scratch/refused"
}

is_confined() {
  local status
  status=$(<"/proc/$(first_process router)/status")
  grep -P '^Uid:\t10001\t10001\t10001\t10001$' <<<"$status" &&
    grep -P '^Gid:\t10001\t10001\t10001\t10001$' <<<"$status" &&
    grep -P '^NSpid:\t\d+\t1$' <<<"$status" &&
    grep -P '^Cap(Prm|Eff|Bnd):\t0+$' <<<"$status" &&
    grep -P '^NoNewPrivs:\t1$' <<<"$status" || { echo "$status"; return 1; }
}

is_well() { inside "LISTEN_ADDR=127.0.0.1:$1" "${health[@]}"; }

is_unwell() { # PORT: the exit code is 1, and not one for a command that could not be run
  local code=0
  is_well "$1" || code=$?
  ((code == 1))
}

# The stream is open when the signal comes: it is carried to its end, and only then the router ends.
ends_in_order() {
  local reader
  stream "$scratch/short" >"$scratch/open" &
  reader=$!
  eventually has_begun "$scratch/open" || return 1
  ! grep -q 'DONE' "$scratch/open" || { echo 'the stream was over too soon'; return 1; }
  stop router
  wait "$reader" || { echo "curl ended with $?"; return 1; }
  ends_with_done "$scratch/open" && has_ended_with_nought router
}

has_ended_with_nought() {
  local code
  code=$(<"$scratch/code-$1")
  [[ $code == 0 ]] || { echo "exit code $code"; return 1; }
}

logs_are_clean() {
  ! grep -hE 'Traceback|Unhandled|plugin cache|Read-only|"level": "(error|critical)"|#(error|critical)\]' \
    "$OUT/router.log" "$OUT/simulator.log"
}

nothing_was_written() {
  local found
  found=$(find "$root" -newer "$scratch/before" -print | head)
  [[ -z $found ]] || { echo "$found"; return 1; }
}

are_alike() {
  manifest "$root/opt/autopilot" >"$OUT/manifest-1.txt"
  manifest "$second/opt/autopilot" >"$OUT/manifest-2.txt"
  diff "$OUT/manifest-1.txt" "$OUT/manifest-2.txt" | head -n 20
  cmp "$OUT/manifest-1.txt" "$OUT/manifest-2.txt"
}

accounts_are_alike() {
  local name
  for name in passwd group shadow gshadow; do cmp "$root/etc/$name" "$second/etc/$name" || return 1; done
}

# --- the check

[[ $(uname -s) == Linux ]] || skip "namespaces are Linux's"
((EUID == 0)) || skip "not root, who alone may make a base image and mount it"
for tool in buildah debootstrap unshare nsenter chroot curl python3 pgrep timeout; do
  command -v "$tool" >/dev/null || PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null ||
    skip "$tool is not installed"
done
export PATH=$PATH:/usr/sbin
unshare --mount --pid --fork mount -t tmpfs none /mnt 2>/dev/null || skip "no namespace may be made here"

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -rf "$OUT"
mkdir -p "$OUT"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/autopilot-container-XXXXXX")
if [[ ! -f $CACHE/base.tar ]]; then
  make_base || skip "debootstrap made no base: $(tail -n 1 "$OUT"/debootstrap-*.log | tail -n 1)"
fi
must "debootstrap's base is a local image" import_base
lend_pip
must 'buildah builds the stages of the Dockerfile' build 1 .
root=$(mounted 1)
declare -a entrypoint command environment health labels exposed
eval "$(read_config)"
touch "$scratch/before"
say "     $(grep -h PRETTY_NAME "$root/etc/os-release" | cut -d= -f2), \
$(inside /opt/autopilot/bin/python --version), $(buildah --version | cut -d'(' -f1)"

that 'the user is autopilot, uid and gid 10001' is_image_user
that "the ${#labels[@]} labels of the image are filled in" has_labels
that 'entry point and healthcheck are in exec form, 8080 is exposed, SIGTERM stops it' has_commands
that 'the runtime stage has no compiler, linker or make' has_no_compiler
that 'the environment that is shipped has no pip' has_no_pip
that 'no file of the environment can be written by anyone but root' is_roots_alone
that 'its trust store is not empty, as the router itself judges' trusts_someone

read -r port platform closed < <(free_ports 3)
# Twisted keeps a body of 100 kB or more in a temporary file, unless it is told otherwise, as the router
# does; the simulator does not.
WITH_TMP=yes start simulator "${entrypoint[@]}" autopilot-simulator --listen "127.0.0.1:$platform" \
  --chunk-delay-ms 100
must 'the simulator starts from the same image' \
  eventually get "http://127.0.0.1:$platform/v1/models" 200
start router "LISTEN_ADDR=127.0.0.1:$port" "BACKEND_BASE_URL=http://127.0.0.1:$platform" \
  "MODELS_URL=http://127.0.0.1:$platform/v1/models" \
  "UTILIZATION_URL=http://127.0.0.1:$platform/chutes/utilization" "${entrypoint[@]}" "${command[@]}"
must '/healthz is 200' eventually get "http://127.0.0.1:$port/healthz" 200
must '/readyz is 200' eventually get "http://127.0.0.1:$port/readyz" 200
that 'the router is PID 1 as uid 10001, without capabilities and new privileges' is_confined
that 'its root is read-only, /tmp included' is_read_only
that 'the HEALTHCHECK command ends with 0 where the router is ready' is_well "$port"
that 'the HEALTHCHECK command ends with 1 where nobody listens' is_unwell "$closed"
ask 5 >"$scratch/short"
ask 100000 >"$scratch/long"
that 'a streamed request is answered up to data: [DONE]' streams "$scratch/short"
that 'so is one of 100 kB, with no place for a temporary file' streams "$scratch/long"
# Not in a subshell, which could not wait for the router.
ends_in_order >"$scratch/seen" 2>&1 && ended=0 || ended=1
that 'SIGTERM with a stream open: it is carried to [DONE], then the exit code is 0' \
  eval 'cat "$scratch/seen"; ((ended == 0))'
stop simulator >"$scratch/seen" 2>&1 || true
that 'the simulator ends with 0 too' has_ended_with_nought simulator
that 'neither log holds an error, or a write that was refused' logs_are_clean
that 'no file of the root was written' nothing_was_written

copy_context "$scratch/elsewhere"
must 'a copy of the checkout with other dates builds too' build 2 "$scratch/elsewhere"
second=$(mounted 2)
that 'both builds have the same /opt/autopilot: paths, modes, owners, dates and contents' are_alike
that 'both builds have the same accounts' accounts_are_alike
say "     compared: $(wc -l <"$OUT/manifest-1.txt") entries, manifest sha256 \
$(sha256sum "$OUT/manifest-1.txt" | cut -c1-16); not compared: the dates of /etc and of the"
say "     directory itself, and the image's digest: this buildah writes the time of the build into them"
finish
