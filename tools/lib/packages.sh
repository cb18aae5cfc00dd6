# shellcheck shell=bash
# Which packages of the distribution are wanted: sourced by tools/setup.

# apt or dnf, or nothing where it is neither.
package_manager() { if have apt-get; then echo apt; elif have dnf; then echo dnf; fi; }

# `hosts` are those of missing_for_hosts. COMMAND DEBIAN-PACKAGE FEDORA-PACKAGE of what a purpose calls; a path instead of a command is looked for as it is.
wanted() { # build|run|servers|test|lint|package|count
    case $1 in
        build)
            echo 'cc gcc gcc'
            echo '/usr/include/stdlib.h libc6-dev glibc-devel'
            echo 'pkg-config pkg-config pkgconf-pkg-config'
            echo 'protoc protobuf-compiler protobuf-compiler'
            have dnf || echo '/usr/include/google/protobuf/empty.proto libprotobuf-dev protobuf-devel'
            echo 'git git git'
            echo 'curl curl curl'
            have dnf || echo '/etc/ssl/certs/ca-certificates.crt ca-certificates ca-certificates'
            ;;
        run)
            echo 'ssh openssh-client openssh-clients'
            echo 'ssh-keygen openssh-client openssh'
            echo 'setpriv util-linux util-linux'
            echo 'prlimit util-linux util-linux-core'
            echo 'ansible-playbook ansible-core ansible-core'
            ;;
        servers)
            echo 'rabbitmq-server rabbitmq-server rabbitmq-server'
            echo 'etcd etcd-server etcd'
            echo 'etcdctl etcd-client etcd'
            ;;
        test)
            echo 'sshd openssh-server openssh-server'
            echo 'python3 python3 python3'
            echo 'fail2ban-client fail2ban fail2ban-server'
            # The OpenID provider of the testbed.
            echo 'node nodejs nodejs'
            echo 'npm npm npm'
            echo 'jq jq jq'
            echo 'openssl openssl openssl'
            /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || echo '(venv) python3-venv python3'
            # The example of a service in Python is run by a test.
            /usr/bin/python3 -c 'import pika' 2>/dev/null || echo '(pika) python3-pika python3-pika'
            ;;
        package)
            echo 'dpkg-shlibdeps dpkg-dev dpkg-dev'
            echo 'lintian lintian lintian'
            echo 'rpm rpm rpm'
            echo 'rpmlint rpmlint rpmlint'
            echo 'podman podman podman'
            echo 'debootstrap debootstrap debootstrap'
            ;;
        lint)
            echo 'shellcheck shellcheck ShellCheck'
            # Not every release has it.
            if have dnf || apt-cache show vagrant >/dev/null 2>&1; then echo 'vagrant vagrant vagrant'; fi
            ;;
        count) echo 'valgrind valgrind valgrind' ;;
    esac
}

# The missing packages of some purposes, one a line.
missing() { # PURPOSE…
    local purpose command debian fedora
    for purpose in "$@"; do
        wanted "$purpose" | while read -r command debian fedora; do
            case $command in /*) [ ! -e "$command" ] || continue ;; *) ! have "$command" || continue ;; esac
            case $(package_manager) in dnf) echo "$fedora" ;; *) echo "$debian" ;; esac
        done
    done | sort -u
}

# Whether the kernel lets us make what a booted host is made of; tools/testbed has the last word.
may_boot_hosts() { is_root && unshare -mpf --mount-proc true 2>/dev/null && unshare -n true 2>/dev/null; }

# The packages that the hosts of tools/testbed still need.
missing_for_hosts() {
    local option=''
    may_boot_hosts || option=--light
    # shellcheck disable=SC2086 # an option or none
    "$TESTBED" needs $option | tr ' ' '\n' | sed '/^$/d'
}

# How to become root without being asked anything; nothing printed when it is not needed, failure when it can't be.
privilege() {
    if is_root; then return; fi
    if have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then echo sudo; else return 1; fi
}
