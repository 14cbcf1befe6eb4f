# shellcheck shell=bash
# Functions and names shared by the scripts in this directory: `. "$(dirname "$0")/lib.sh"`. Sourcing it has no effect.

# The state of test clusters (see scripts/engines). Lock files and stamps in it start with a dot.
KD_ROOT=/run/kdaemon-engines

# say WORDS…: prints a message on standard error; standard output is for data that another program reads.
say() { printf '%s\n' "$*" >&2; }

# die WORDS…: prints the reason and exits with 1.
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_root() { [ "$(id -u)" = 0 ] || die "must run as root"; }

# close_fds: closes every inherited descriptor but 0, 1 and 2, so that a process that outlives the script holds neither
# its locks nor a pipe whose reader waits for its end. Only in a subshell that is about to exec.
close_fds() {
    local fd
    for fd in "/proc/$BASHPID/fd/"*; do
        fd=${fd##*/}
        [ "$fd" -gt 2 ] 2>/dev/null && eval "exec $fd>&-"
    done
    return 0
}

# A process is identified by its id and its start time (field 22 of stat), so that a reused id is not taken for it.
# proc_mark PID: prints "PID STARTTIME", or fails when there is no such process (or it is a zombie).
proc_mark() {
    local stat rest
    read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
    rest=${stat##*) }
    # shellcheck disable=SC2086
    set -- "$1" $rest
    [ "$2" != Z ] && [ "$2" != X ] || return 1
    printf '%s %s\n' "$1" "${21}"
}

# proc_alive FILE: prints the id of the process whose mark FILE holds, or fails when it is gone.
proc_alive() {
    local mark pid
    read -r mark 2>/dev/null <"$1" || return 1
    pid=${mark%% *}
    [ -n "$pid" ] && [ "$(proc_mark "$pid")" = "$mark" ] || return 1
    printf '%s\n' "$pid"
}

# ---- packages -------------------------------------------------------------------------------------------------------

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# apt_install PACKAGE…: installs missing packages, silently when none is missing. The package lists are fetched at most
# once an hour, and no package starts a service.
apt_install() {
    local missing=() p
    for p in "$@"; do installed "$p" || missing+=("$p"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    need_root
    mkdir -p "$KD_ROOT"
    (
        exec 7>"$KD_ROOT/.apt.lock"
        flock 7
        # Another script may have installed them while this one waited.
        for p in "${missing[@]}"; do installed "$p" || break; p=; done
        [ -n "$p" ] || exit 0
        say "installing ${missing[*]}"
        log=$(mktemp)
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            # Without this, a package's script starts its service, or fails where there is no systemd to start it.
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
            trap 'rm -f "$policy" "$log"' EXIT
        else
            trap 'rm -f "$log"' EXIT
        fi
        export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
        stamp=$KD_ROOT/.apt-updated
        if [ -z "$(find "$stamp" -mmin -60 2>/dev/null)" ]; then
            apt-get -o DPkg::Lock::Timeout=300 update -qq >"$log" 2>&1 7>&- || { cat "$log" >&2; exit 1; }
            touch "$stamp"
        fi
        apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" \
            >"$log" 2>&1 </dev/null 7>&- || { tail -n 40 "$log" >&2; exit 1; }
    ) || die "could not install ${missing[*]}"
}

# Packages that each part of the tests and benches needs.
install_engine() { apt_install docker.io iproute2 iptables curl util-linux; }
install_busybox() { apt_install busybox-static curl; }
install_registry() { apt_install docker-registry curl; }
install_etcd() { apt_install etcd-server; }
install_chromium() { apt_install chromium; }

# install_npm FOLDER TARGET: the packages of FOLDER/package-lock.json, in TARGET/node_modules. Does nothing when they are there.
install_npm() {
    local here=${BASH_SOURCE[0]%/*}/..
    local from=$here/$1 to=$here/$2
    command -v node >/dev/null || apt_install nodejs
    ! cmp -s "$from/package-lock.json" "$to/installed.json" || return 0
    command -v npm >/dev/null || apt_install npm
    mkdir -p "$to"
    cp "$from/package.json" "$from/package-lock.json" "$to/"
    (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund >/dev/null) || die "cannot install the npm packages of $1"
    cp "$to/package-lock.json" "$to/installed.json"
}

# install_browser: Chromium, and what drives it.
install_browser() {
    command -v chromium >/dev/null || install_chromium
    install_npm tests/browser target/browser
}

# install_ui_checks: what scripts/ui checks the web UI with.
install_ui_checks() { install_npm tests/ui target/ui; }

# ---- clusters -------------------------------------------------------------------------------------------------------

# cluster_name: prints the name of the cluster, from KDAEMON_ENGINES.
cluster_name() {
    local name=${KDAEMON_ENGINES:-default}
    [[ $name =~ ^[a-z0-9][a-z0-9-]{0,31}$ ]] ||
        die "KDAEMON_ENGINES: '$name' is not a cluster name (a-z, 0-9 and -, at most 32 characters)"
    printf '%s\n' "$name"
}

# curl_host HOST: sets CURL to the curl command and URL to the base address of an engine; HOST as in DOCKER_HOST.
curl_host() {
    CURL=(curl --silent --show-error --noproxy '*')
    case $1 in
    unix://*) CURL+=(--unix-socket "${1#unix://}") URL=http://engine ;;
    tcp://*) URL=http://${1#tcp://} ;;
    http://* | https://*) URL=${1%/} ;;
    *) die "'$1' is not an engine address (tcp://, http:// or unix://)" ;;
    esac
    export URL
}
