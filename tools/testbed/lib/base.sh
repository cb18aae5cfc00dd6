# shellcheck shell=bash
# The base file systems that booted hosts have in common: built once by debootstrap, read-only afterwards.

readonly BASE_PACKAGES=systemd,systemd-sysv,dbus,openssh-server,python3,sudo,iproute2,ca-certificates
# debootstrap does not resolve the virtual package that python3-cryptography depends on.
readonly CLOUD_PACKAGES=$BASE_PACKAGES,cloud-init,python3-cffi-backend
# What the packages of Commissaire depend on and suggest, as test hosts cannot reach a mirror.
readonly CONTROLLER_PACKAGES=$BASE_PACKAGES,ansible-core,python3-cffi-backend,openssh-client,logrotate,rabbitmq-server,etcd-server,etcd-client

suite() {
    local here
    # shellcheck source=/dev/null
    here=$( . /etc/os-release 2>/dev/null && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || here=''
    echo "${TESTBED_SUITE:-${here:-bookworm}}"
}

# These flavours have a base of their own; all others share one.
has_own_base() { case ${1:-} in cloud-init | controller) ;; *) return 1 ;; esac; } # [FLAVOUR]

base_dir() { # [FLAVOUR]
    local dir=${TESTBED_BASE:-/var/cache/commissaire-testbed/base-$(suite)}
    if has_own_base "${1:-}"; then echo "$dir-$1"; else echo "$dir"; fi
}

base_packages() { # [FLAVOUR]
    case ${1:-} in
        cloud-init) echo "$CLOUD_PACKAGES" ;;
        controller) echo "$CONTROLLER_PACKAGES" ;;
        *) echo "$BASE_PACKAGES" ;;
    esac
}

# Only a finished build has this name. The file lists its packages, so that a change of the list causes a rebuild.
base_is_good() { [ "$(cat "$(base_dir "${1:-}")/etc/testbed-base" 2>/dev/null)" = "$(base_packages "${1:-}")" ]; } # [FLAVOUR]

# Builds a base unless it is there. Concurrent callers wait for one build; remains of an interrupted one are removed.
ensure_base() ( # [FLAVOUR]
    base_is_good "${1:-}" && exit 0
    is_root || die "building the base file system needs root"
    have debootstrap || die "missing here: debootstrap"
    base=$(base_dir "${1:-}")
    mkdir -p "$(dirname "$base")"
    exec 8>"$base.lock"
    flock 8
    base_is_good "${1:-}" && exit 0
    rm -rf "$base".new.*
    new=$base.new.$$
    trap 'rm -rf "$new" "$new.log"' EXIT
    trap 'exit 1' INT TERM
    build_base "$new" "${1:-}" 8>&-
    if [ -e "$base" ]; then mv "$base" "$new.old"; rm -rf "$new.old"; fi
    mv "$new" "$base"
)

# In namespaces of its own, because debootstrap mounts /proc in the target: an interruption leaves no mount behind.
build_base() { # TARGET [FLAVOUR]
    local log=$1.log packages
    packages=$(base_packages "${2:-}")
    say "building the base file system in $(base_dir "${2:-}") (once; a minute or more)"
    use_apt_proxy
    unshare -mpf --mount-proc --kill-child debootstrap --variant=minbase --include="$packages" \
        "$(suite)" "$1" "$(mirror)" </dev/null >"$log" 2>&1 || {
        tail -n 5 "$log" "$1/debootstrap/debootstrap.log" 2>/dev/null >&2 || true
        rm -rf "$1" "$log"
        die "debootstrap of $(suite) from $(mirror) failed"
    }
    rm -rf "$1"/etc/ssh/ssh_host_* "$1"/var/cache/apt/archives/*.deb "$log"
    : >"$1/etc/machine-id"
    echo "$packages" >"$1/etc/testbed-base"
}

# debootstrap's downloader takes proxies from the environment only.
use_apt_proxy() {
    local http='' https=''
    have apt-config || return 0
    eval "$(apt-config shell http Acquire::http::Proxy https Acquire::https::Proxy)"
    case $http in http*) export http_proxy=$http ;; esac
    case $https in http*) export https_proxy=$https ;; esac
}

# The mirror that apt uses here for this suite, because debootstrap reaches what apt reaches.
mirror() {
    local uri='' name
    [ -z "${TESTBED_MIRROR:-}" ] || { echo "$TESTBED_MIRROR"; return; }
    while read -r uri name; do
        case $uri in http://* | https://* | file:*) [ "$name" != "$(suite)" ] || { echo "${uri%/}"; return; } ;; esac
    done < <(apt_sources)
    echo http://deb.debian.org/debian
}

# Prints URI SUITE of every binary source of apt, from both of its file formats.
apt_sources() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -nE 's/^deb +(\[[^]]*\] +)?([^ ]+) +([^ ]+) .*/\2 \3/p' || true
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '
        function flush(  u, s, i, j) {
            if (types ~ /(^| )deb( |$)/ && enabled !~ /^no/)
                for (i = 1; i <= split(uris, u, " "); i++) for (j = 1; j <= split(suites, s, " "); j++) print u[i], s[j]
            types = uris = suites = enabled = ""
        }
        /^#/ { next }
        /^Types:/ { flush(); sub(/^[^:]*: */, ""); types = $0; next }
        /^URIs:/ { sub(/^[^:]*: */, ""); uris = $0; next }
        /^Suites:/ { sub(/^[^:]*: */, ""); suites = $0; next }
        /^Enabled:/ { sub(/^[^:]*: */, ""); enabled = $0; next }
        END { flush() }' || true
}
