# shellcheck shell=bash
# The flavours of booted hosts: stand-ins for Red Hat, SUSE and OSTree systems, cloud-init, and a host for Commissaire itself.

readonly FLAVOURS='debian fedora centos rhel7 opensuse ostree cloud-init controller'

check_flavours() { # LIST
    local flavour
    for flavour in ${1//,/ }; do
        case " $FLAVOURS " in *" $flavour "*) ;; *) usage "no flavour $flavour; there are: $FLAVOURS" ;; esac
    done
}

# The flavour of a host in a comma-separated list, whose last entry is repeated.
flavour_of() { # NUMBER LIST
    local list
    IFS=, read -ra list <<<"$2"
    echo "${list[$(($1 - 1))]:-${list[-1]}}"
}

make_flavour() { # DIR FLAVOUR
    case $2 in debian) ;; cloud-init) make_cloud_init "$1" ;; controller) make_controller "$1" ;; *) make_stand_in "$1" "$2" ;; esac
}

# Changes a host's layer into that of a stand-in; overlayfs' whiteouts (devices 0,0) hide apt.
make_stand_in() { # DIR FLAVOUR
    local program programs='yum rpm'
    mkdir -p "$1"/usr/{bin,lib} "$1"/etc/tmpfiles.d
    os_release "$2" >"$1/etc/os-release"
    os_release "$2" >"$1/usr/lib/os-release"
    # shellcheck source=/dev/null disable=SC2153 # NAME and VERSION are set by that file
    [ "$2" = opensuse ] || ( . "$1/etc/os-release"; echo "${NAME% Linux} release $VERSION" >"$1/etc/redhat-release" )
    for program in apt apt-get apt-cache apt-mark dpkg; do mknod "$1/usr/bin/$program" c 0 0; done
    mknod "$1/etc/debian_version" c 0 0
    case $2 in
        fedora | centos) programs='dnf yum rpm needs-restarting' ;;
        rhel7) programs='yum rpm needs-restarting subscription-manager' ;;
        opensuse) programs='zypper rpm' ;;
        ostree) programs='rpm-ostree rpm' ;;
    esac
    for program in $programs; do ln -s ../lib/testbed/stand-in "$1/usr/bin/$program"; done
    if [ "$2" = ostree ]; then # an OSTree host comes with these
        echo 'f /run/ostree-booted 0644 root root -' >"$1/etc/tmpfiles.d/ostree.conf"
        STAND_IN_ROOT=$1 STAND_IN_PROGRAM=dnf "$ROOT/tools/testbed/stand-in" install flannel docker
    fi
}

os_release() { # FLAVOUR
    case $1 in
        fedora) printf '%s\n' 'NAME="Fedora Linux"' 'VERSION="41 (Server Edition)"' ID=fedora VERSION_ID=41 \
            PLATFORM_ID=platform:f41 'PRETTY_NAME="Fedora Linux 41 (Server Edition)"' VARIANT_ID=server ;;
        ostree) printf '%s\n' 'NAME="Fedora Linux"' 'VERSION="41.20250101.0 (CoreOS)"' ID=fedora VERSION_ID=41 \
            PLATFORM_ID=platform:f41 'PRETTY_NAME="Fedora CoreOS 41.20250101.0"' VARIANT_ID=coreos OSTREE_VERSION=41.20250101.0 ;;
        centos) printf '%s\n' 'NAME="CentOS Stream"' 'VERSION="9"' 'ID="centos"' 'ID_LIKE="rhel fedora"' 'VERSION_ID="9"' \
            'PRETTY_NAME="CentOS Stream 9"' ;;
        rhel7) printf '%s\n' 'NAME="Red Hat Enterprise Linux Server"' 'VERSION="7.9 (Maipo)"' 'ID="rhel"' 'ID_LIKE="fedora"' \
            'VERSION_ID="7.9"' 'PRETTY_NAME="Red Hat Enterprise Linux Server 7.9 (Maipo)"' ;;
        opensuse) printf '%s\n' 'NAME="openSUSE Leap"' 'VERSION="15.6"' 'ID="opensuse-leap"' 'ID_LIKE="suse opensuse"' 'VERSION_ID="15.6"' \
            'PRETTY_NAME="openSUSE Leap 15.6"' ;;
    esac
}

# Restricts cloud-init to user data in its seed directory, without network configuration; disabled until `seed`.
make_cloud_init() { # DIR
    mkdir -p "$1/etc/cloud/cloud.cfg.d" "$1/etc/systemd/system"
    printf '%s\n' 'datasource_list: [NoCloud]' 'network: {config: disabled}' 'locale: C.UTF-8' >"$1/etc/cloud/cloud.cfg.d/99-testbed.cfg"
    : >"$1/etc/cloud/cloud-init.disabled"
    mask "$1/etc/systemd/system/systemd-networkd-wait-online.service"
}

# A host that Commissaire is installed on: its base has users that the shared layer does not know. The broker and the etcd
# that its base brings along are not started.
make_controller() { # DIR
    local file base
    base=$(base_dir controller)
    mkdir -p "$1/etc"
    for file in passwd shadow group; do
        { cat "$base/etc/$file"; grep -E '^(ops|plain):' "$STATE/layer/etc/$file"; } >"$1/etc/$file"
    done
    chmod 640 "$1/etc/shadow"
    mkdir -p "$1/etc/systemd/system/multi-user.target.wants"
    for file in rabbitmq-server etcd; do mknod "$1/etc/systemd/system/multi-user.target.wants/$file.service" c 0 0; done
}
