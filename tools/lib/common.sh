# shellcheck shell=bash disable=SC2034 # some of it is used by one script only
# What the scripts in tools/ share: sourced, not run.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
TESTBED=$ROOT/tools/testbed/testbed
SCRIPT=$(basename -- "$0") # not NAME, which is a variable of /etc/os-release
readonly ROOT TESTBED SCRIPT

# Where rustup puts its programs, and where Debian has those of the administrator.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/sbin:/sbin

say() { echo "$SCRIPT: $*" >&2; }
die() { say "$@"; exit 1; }
usage() { say "$@"; say "see: tools/$SCRIPT --help"; exit 2; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }
now_ms() { local now=${EPOCHREALTIME/[.,]/}; echo "${now%???}"; }

# Something that is not as it should be, and that nobody may overlook.
loud() {
    { echo; printf '    *** %s\n' "$@"; echo; } >&2
}

# The comment at the head of the calling script is its help.
show_help() { sed -n '2,/^\([^#]\|$\)/ s/^# \{0,1\}//p' "$0"; }

# ---------------------------------------------------------------- Rust

rust_wanted() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

rust_found() { rustc --version 2>/dev/null | cut -d' ' -f2; }

# Whether the toolchain that `cargo` stands for now is recent enough.
rust_is_good() {
    local found
    have cargo && have rustc && found=$(rust_found) && [ -n "$found" ] &&
        printf '%s\n' "$(rust_wanted)" "$found" | sort --check=quiet --version-sort
}

# The default toolchain if it will do, else rustup's stable one.
use_rust() {
    rust_is_good && return
    have rustup || return 1
    export RUSTUP_TOOLCHAIN=stable
    rust_is_good && return
    unset RUSTUP_TOOLCHAIN
    return 1
}

# Where cargo puts what it builds.
target_dir() { (cd "$ROOT" && cargo metadata --no-deps --format-version 1) | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'; }

# Makes a directory a copy of the tree without what git ignores. Only files that differ are written: cargo compiles what
# has changed since its last build, by the times of files.
copy_tree() { # DIRECTORY
    local file
    mkdir -p "$1"
    (cd "$1" && find . -type f -printf '%P\n') | while read -r file; do
        [ -e "$ROOT/$file" ] || rm -- "$1/$file"
    done
    git -C "$ROOT" ls-files --cached --others --exclude-standard | while read -r file; do
        cmp --quiet -- "$ROOT/$file" "$1/$file" && continue
        mkdir -p "$1/$(dirname -- "$file")"
        cp -- "$ROOT/$file" "$1/$file"
    done
}

# ---------------------------------------------------------------- tools in Python

# Where the tests' own ones are: a later version may know more checks, and has a directory of its own.
readonly SCHEMATHESIS=${XDG_CACHE_HOME:-$HOME/.cache}/commissaire/schemathesis-4.32.5
readonly KEYSTONE=${XDG_CACHE_HOME:-$HOME/.cache}/commissaire/keystone-30.0.0
readonly ANSIBLE_LINT=${XDG_CACHE_HOME:-$HOME/.cache}/commissaire/ansible-lint-26.10.1

# ---------------------------------------------------------------- processes

# Prints when a process started: together with the pid it identifies the process, as pids are used again. Fails for a
# process that has ended, whether or not its parent has collected its exit status (a zombie).
start_time() { # PID
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086 # split on purpose
    set -- $stat
    case $1 in [ZX]) return 1 ;; esac
    echo "${20}"
}

# Writes a pid, its start time and a word of the caller's into a file, replaced as a whole for concurrent readers.
record_pid() { echo "$2 $(start_time "$2") ${3:-}" >"$1.new" && mv "$1.new" "$1"; } # FILE PID [WORD]

# Prints the recorded pid if that very process still runs.
live_pid() { # FILE
    local pid started now
    { read -r pid started _ <"$1"; } 2>/dev/null || return 1
    now=$(start_time "$pid") && [ "$now" = "$started" ] && echo "$pid"
}

# Waits until a command succeeds; fails after so many seconds.
wait_until() { # SECONDS COMMAND…
    local end=$(($(now_ms) + $1 * 1000))
    shift
    until "$@"; do
        [ "$(now_ms)" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# Asks the recorded process to end; after 30 s it is killed.
stop_recorded() { # FILE
    local pid end
    pid=$(live_pid "$1") || return 0
    kill -TERM "$pid" 2>/dev/null || return 0
    end=$(($(now_ms) + 30000))
    while live_pid "$1" >/dev/null; do
        if [ "$(now_ms)" -ge "$end" ]; then say "process $pid does not end: killed"; kill -KILL "$pid"; return; fi
        sleep 0.1
    done
}
