# shellcheck shell=bash disable=SC2034,SC2153 # used by tools/test, whose functions and variables it uses
# The sections of `tools/test --full`: each takes an hour at most, and is not run again at a commit at which it has passed.

readonly ALL_SECTIONS=(forms crashes outages rolls addresses registrations schemathesis features quickstart packages)

is_section() { [[ " ${ALL_SECTIONS[*]} " == *" $1 "* ]]; }

# Which tests in modules `full` belong to which section; `forms` has the rest.
readonly CRASHES='test(/^(crashes|matrix|replicas|upgrades)::/)'
readonly OUTAGES='test(/^(faults|bus)::/)'
readonly OTHERS="$CRASHES | $OUTAGES | test(/^(rolls|addresses|registering|schemathesis)::/)"

# Those that are named, or those that have not passed yet.
sections() {
    local section passed wanted=("${SECTIONS[@]}")
    passed=$(passed_sections)
    [ ${#wanted[@]} -gt 0 ] || wanted=("${ALL_SECTIONS[@]}")
    start_broker
    for section in "${wanted[@]}"; do
        if [ ${#SECTIONS[@]} -eq 0 ] && grep -qsx "$section" "$passed"; then
            COUNTS+="$section: passed before, see $passed"$'\n'
        else
            run_section "$section" "$passed"
        fi
    done
}

run_section() { # NAME FILE_OF_THOSE_PASSED
    local failed=$FAILED
    count "$1" "section_$1"
    [ "$FAILED" != "$failed" ] || [ -z "$2" ] || echo "$1" >>"$2"
}

# The file of the sections that have passed at this commit; a changed tree has none.
passed_sections() {
    [ -z "$(git status --porcelain)" ] || return 0
    mkdir -p "$(target_dir)/full"
    echo "$(target_dir)/full/$(git rev-parse HEAD)"
}

section_forms() {
    full "not ($OTHERS)"
    COMMISSAIRE_TEST_FORM=distributed nextest --filterset 'package(http-gateway) & binary(it)'
}

section_crashes() { full "$CRASHES"; }
section_outages() { full "$OUTAGES"; }

# What an operation does is printed while they run, and so is their seed.
section_rolls() {
    COMMISSAIRE_TEST_ROLLS=${COMMISSAIRE_TEST_ROLLS:-200} COMMISSAIRE_TEST_LANES=${COMMISSAIRE_TEST_LANES:-4} \
        full 'test(/^rolls::/)' --no-capture
}

section_addresses() { COMMISSAIRE_TEST_WATCHED=1000 full 'test(/^addresses::/)'; }
section_registrations() { full 'test(/^registering::/)'; }

section_schemathesis() {
    full 'test(/^schemathesis::/)'
    COMMISSAIRE_TEST_FORM=distributed full 'test(/^schemathesis::/)'
}

section_features() { scenarios --form real; }

section_quickstart() {
    step "quickstart" tools/quickstart --lose-server
    step "quickstart --distributed" tools/quickstart --distributed
}

section_packages() { step "packages" tools/test-packages; }

full() { # FILTER OPTION…
    nextest --ignore-default-filter --filterset "test(/(^|::)full::/) & ($1)" "${@:2}"
}
