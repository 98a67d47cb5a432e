#!/bin/sh
# Installs webhook-inbox on a machine with systemd, or upgrades it: run as root, from the unpacked release.
#
#   ./deploy/install.sh               install or upgrade, then start or restart it
#   ./deploy/install.sh --uninstall   stop and remove it; messages and secret stay
#   DESTDIR=/some/root ./deploy/install.sh …    into a root directory that is not running, for images and packages
#
# Running it again changes nothing that is right already, and restarts the service only when it has changed something. A
# secret is made, and settings are written, only where there are none.

set -eu

program=webhook-inbox
release=$(cd "$(dirname "$0")/.." && pwd)
root=${DESTDIR:-}
binary=$root/usr/local/bin/$program
units=$root/etc/systemd/system
settings=$root/etc/$program
overrides=$units/$program.service.d
# What goes with the program, from the release to where its readers look for it.
share=$root/usr/local/share
beside="
    man/$program.1                    man/man1/$program.1
    completions/$program.bash         bash-completion/completions/$program
    completions/_$program             zsh/site-functions/_$program
    completions/$program.fish         fish/vendor_completions.d/$program.fish
    LICENSE                           doc/$program/LICENSE
    THIRD-PARTY.txt                   doc/$program/THIRD-PARTY.txt
    THIRD-PARTY-RUST.html             doc/$program/THIRD-PARTY-RUST.html
"
# systemd makes it at the first start and gives it to the service's own user (StateDirectory=), so it is not made here.
data=$root/var/lib/$program

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

# Whether there is a systemd to tell; in a DESTDIR there is none, nor in most containers.
systemd_runs() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}

changed=

# Puts a file in its place in one step: a start meanwhile gets the old one or the new one.
put() {
    mode=$1 from=$2 to=$3
    if cmp -s "$from" "$to" && [ "$(stat -c %a "$to")" = "$mode" ]; then
        echo "unchanged  $to"
        return
    fi
    mkdir -p "$(dirname "$to")"
    install -m "$mode" "$from" "$to.new"
    mv -f "$to.new" "$to"
    changed=yes
    echo "installed  $to"
}

# Everybody may read the settings, so that commands need no root for them; the secret is root's alone.
make_settings() {
    if [ -f "$settings/$program.env" ]; then
        echo "kept       $settings/$program.env"
        return
    fi
    # systemd would let the file win over them without a word, and the service would open another database.
    ! grep -qs '^Environment=' "$overrides"/*.conf || fail "there are settings in $overrides, which from now on are" \
        "kept in $settings/$program.env. Copy $release/deploy/$program.env there, write your settings into it, remove" \
        "the Environment= lines, and run this again."
    put 644 "$release/deploy/$program.env" "$settings/$program.env"
}

make_secret() {
    mkdir -p "$settings"
    chmod 755 "$settings"
    if [ -s "$settings/secret" ]; then
        chmod 600 "$settings/secret"
        echo "kept       $settings/secret"
        return
    fi
    (
        umask 077
        od -A n -t x1 -N 32 /dev/urandom | tr -d ' \n' > "$settings/secret.new"
    )
    [ "$(wc -c < "$settings/secret.new")" -eq 64 ] || fail "cannot read /dev/urandom"
    mv -f "$settings/secret.new" "$settings/secret"
    changed=yes
    echo "made       $settings/secret: give it to the sender, or put the sender's own in its place"
}

install_all() {
    [ -f "$release/$program" ] || fail "there is no $release/$program. Run this from an unpacked release (make dist)."
    # A download that broke off, or was changed.
    (cd "$release" && sha256sum --check --quiet SHA256SUMS) || fail "the release is not what SHA256SUMS says"
    "$release/$program" --version > /dev/null || fail "$release/$program does not run here: $(uname -m)?"

    make_settings
    make_secret
    if [ -f "$binary" ] && ! cmp -s "$release/$program" "$binary"; then
        put 755 "$binary" "$binary.previous" # for a rollback
    fi
    put 755 "$release/$program" "$binary"
    # In a subshell, so that a new manual page does not restart the service.
    echo "$beside" | while read -r from to; do
        [ -z "$from" ] || put 644 "$release/$from" "$share/$to"
    done
    for unit in $program.service $program.socket; do
        put 644 "$release/deploy/$unit" "$units/$unit"
    done

    if systemd_runs; then
        systemctl daemon-reload
        if systemctl --quiet is-active $program.service; then
            [ -z "$changed" ] || systemctl restart $program.service
        else
            systemctl enable --now $program.socket $program.service
        fi
        systemctl --no-pager --lines=3 status $program.service
    fi
}

remove() {
    for file in "$@"; do
        if [ -f "$file" ]; then
            rm "$file"
            echo "removed    $file"
        fi
    done
}

uninstall() {
    if systemd_runs; then
        for unit in $program.socket $program.service; do
            [ ! -f "$units/$unit" ] || systemctl disable --now "$unit"
        done
    fi
    remove "$binary" "$binary.previous" "$units/$program.service" "$units/$program.socket"
    echo "$beside" | while read -r _ to; do
        [ -z "$to" ] || remove "$share/$to"
    done
    rmdir "$share/doc/$program" 2> /dev/null || : # something else may be in it
    ! systemd_runs || systemctl daemon-reload
    for kept in "$settings" "$data"; do
        [ ! -e "$kept" ] || echo "kept       $kept"
    done
}

[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "run it as root, or set DESTDIR"
case "$*" in
    '') install_all ;;
    --uninstall) uninstall ;;
    *) fail "usage: $0 [--uninstall]" ;;
esac
