# shellcheck shell=bash
# The requirements: missing commands and packages, and whether booted or light hosts are possible on this machine.

# Mount and pid namespaces that end with the process that made them; an ordinary user needs a user namespace for that.
NAMESPACES=(unshare -mpf --kill-child --mount-proc)
is_root || NAMESPACES=(unshare --user --map-current-user --keep-caps -mpf --kill-child --mount-proc)
readonly NAMESPACES

# COMMAND DEBIAN-PACKAGE FEDORA-PACKAGE of each command that a kind of host needs.
wanted() { # booted|light
    cat <<'LIST'
flock util-linux util-linux-core
setsid util-linux util-linux
unshare util-linux util-linux-core
mount mount util-linux
ssh openssh-client openssh-clients
ssh-keygen openssh-client openssh
LIST
    if [ "$1" = light ]; then
        echo sshd openssh-server openssh-server
    else
        cat <<'LIST'
systemd-nspawn systemd-container systemd-container
nsenter util-linux util-linux-core
debootstrap debootstrap debootstrap
ip iproute2 iproute
nft nftables nftables
LIST
    fi
}

# Prints the commands that a kind of host needs and that are missing, or this machine's packages of them.
missing() { # booted|light commands|packages
    local command debian fedora family
    # shellcheck source=/dev/null
    family=$( . /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}") || family=''
    wanted "$1" | while read -r command debian fedora; do
        have "$command" && continue
        [ "$command" = debootstrap ] && base_is_good && continue
        if [ "$2" = commands ]; then echo "$command"; continue; fi
        case " $family " in *' fedora '* | *' rhel '*) echo "$fedora" ;; *) echo "$debian" ;; esac
    done | sort -u | tr '\n' ' ' | sed 's/ $//'
}

# Prints the reasons why hosts can't be booted here; nothing if they can.
why_not_booted() {
    local lacks try
    is_root || { echo "booting hosts needs root"; return; }
    lacks=$(missing booted commands)
    [ -z "$lacks" ] || { echo "missing here: $lacks (install: $(missing booted packages))"; return; }
    try=$(mktemp -d "$STATE/try.XXXXXX")
    mkdir "$try/lower" "$try/upper" "$try/work" "$try/root"
    unshare -mpf --mount-proc true 2>/dev/null || echo "mount and pid namespaces are not permitted"
    unshare -n true 2>/dev/null || echo "network namespaces are not permitted"
    unshare -m mount -t overlay overlay -o "lowerdir=$try/lower,upperdir=$try/upper,workdir=$try/work" "$try/root" 2>/dev/null ||
        echo "overlayfs can't be mounted below $STATE"
    rm -rf "$try"
    { ip link add "cbt$$" type bridge && ip link del "cbt$$"; } 2>/dev/null || echo "no bridge can be made"
}

# Prints the reasons why there can't be light hosts; nothing if there can.
why_not_light() {
    local lacks
    lacks=$(missing light commands)
    [ -z "$lacks" ] || { echo "missing here: $lacks (install: $(missing light packages))"; return; }
    "${NAMESPACES[@]}" unshare -mpf --mount-proc true 2>/dev/null || echo "namespaces are not permitted (mount, pid$(is_root || echo ', user'))"
}
