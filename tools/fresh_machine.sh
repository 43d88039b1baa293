#!/usr/bin/env bash
# Tries both commands of the README on a fresh machine, a minimal Debian; see --help.
set -euo pipefail

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    echo "error: $*" >&2
    exit 2
}

usage() {
    cat <<'USAGE'
usage: sudo bash tools/fresh_machine.sh [OPTION...] FOLDER

Makes a minimal Debian in FOLDER with debootstrap: Python and pip, but neither
a compiler, nor git, nor the libraries of a desktop. A user who is not root
then runs tools/quickstart.sh and tools/run_tests.sh there, on a copy of this
checkout without what git ignores. Ends with the versions that were installed
and what became of both, for the table in docs/guides/installation.md.

Needs Linux, root, debootstrap and about 12 GB. A FOLDER that this script made
before is used again with what is installed there; the checkout is renewed.

  --suite NAME       Debian's release, default: trixie, which is Debian 13
  --mirror URL       where it comes from, default: http://deb.debian.org/debian
  --quickstart ARGS  arguments of tools/quickstart.sh, as --quickstart=--smoke;
                     "no" leaves it out
  --tests ARGS       arguments of tools/run_tests.sh, as --tests=--quick;
                     "no" leaves it out
  --host-network     take over this machine's way into the network: proxy
                     variables, /etc/pip.conf and authorities of certificates
  --help             show this text
USAGE
}

suite=trixie
mirror=http://deb.debian.org/debian
quickstart=
tests=
host_network=
folder=
while (($#)); do
    case $1 in
    --suite | --mirror | --quickstart | --tests)
        (($# > 1)) || fail "$1 needs a value; see --help"
        set -- "$1=$2" "${@:3}"
        continue
        ;;
    --suite=* | --mirror=* | --quickstart=* | --tests=*)
        name=${1%%=*}
        declare "${name#--}=${1#*=}"
        ;;
    --host-network) host_network=1 ;;
    -h | --help)
        usage
        exit
        ;;
    -*) fail "unknown option $1; see --help" ;;
    *)
        [[ -z $folder ]] || fail "one folder only, not $folder and $1; see --help"
        folder=$1
        ;;
    esac
    shift
done
[[ $folder ]] || fail 'name the folder for the new system; see --help'
[[ $suite =~ ^[a-z]+$ ]] || fail "--suite must be the name of a release, such as trixie, not $suite"
[[ $(uname -s) == Linux && $EUID == 0 ]] || fail 'only root can make a system, on Linux: sudo bash tools/fresh_machine.sh'
for program in debootstrap unshare git; do
    command -v "$program" >/dev/null || fail "$program is not there; on Debian and Ubuntu: apt install debootstrap util-linux git"
done

# The folder is made whole or not at all: the mark is written last.
mark=$folder/.glsim-fresh-machine
if [[ ! -f $mark ]]; then
    [[ ! -e $folder || -z $(ls -A -- "$folder") ]] || fail "$folder is not empty, and no whole system of this script; delete it, or name another folder"
    echo "Making Debian $suite in $folder"
    # An older debootstrap does not know a newer release by name; all of them are made like sid.
    debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates "$suite" "$folder" "$mirror" \
        /usr/share/debootstrap/scripts/sid >"$folder.debootstrap.log" 2>&1 || fail "debootstrap failed; see $folder.debootstrap.log"
    chroot "$folder" useradd --create-home --shell /bin/bash someone
    echo "$suite" >"$mark"
fi
[[ $(<"$mark") == "$suite" ]] || fail "$folder holds Debian $(<"$mark"); name another folder for $suite"
folder=$(cd -- "$folder" && pwd)

variables=()
if [[ $host_network ]]; then
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [[ -z ${!name:-} ]] || variables+=("$name=${!name}")
    done
    for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [[ ! -f $file ]] || cp -L -- "$file" "$folder$file"
    done
fi

# Everything of an earlier checkout goes, except what its commands installed and wrote.
checkout=$folder/home/someone/project
mkdir -p "$checkout"
find "$checkout" -mindepth 1 -maxdepth 1 ! -name '.venv*' ! -name work_dirs ! -name data -exec rm -rf {} +
git -c safe.directory='*' -C "$project" ls-files -z --cached --others --exclude-standard |
    tar -C "$project" --null --ignore-failed-read -T - -c -f - | tar -C "$checkout" --no-same-owner -x -f -
chroot "$folder" chown -R someone: /home/someone

# inside COMMAND: as the user, in the checkout. Mounts and all that was started end with the command.
# shellcheck disable=SC2016
inside() {
    unshare --mount --pid --fork --kill-child bash -c '
        set -e
        mount -t proc proc "$1/proc"
        mount -t sysfs -o ro sys "$1/sys"
        mount -t tmpfs -o mode=1777 shm "$1/dev/shm"
        exec chroot --userspec=someone:someone --groups= "$@"' inside "$folder" \
        env -i HOME=/home/someone USER=someone PATH=/usr/bin:/bin LANG=C.UTF-8 ${variables[@]+"${variables[@]}"} \
        bash -c "cd ~/project && $1"
}

# try COMMAND ARGS: adds to the outcome, for the summary.
outcome=()
failed=0
try() {
    [[ $2 != no ]] || return 0
    local command="bash tools/$1 $2" begin=$SECONDS result='exit code 0'
    echo "== $command"
    inside "$command" </dev/null || result="exit code $?" failed=1
    outcome+=("$(printf '%s: %s, %d min %02d s' "${command% }" "$result" $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60)))")
}

try quickstart.sh "$quickstart"
try run_tests.sh "$tests"

echo "== $(date -I), Debian $(<"$folder/etc/debian_version") ($suite)"
printf '%s\n' "${outcome[@]+"${outcome[@]}"}"
if [[ -d $checkout/.venv ]]; then
    inside '.venv/bin/python tools/doctor.py' || failed=1
fi
exit "$failed"
