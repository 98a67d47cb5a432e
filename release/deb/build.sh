#!/bin/sh
# Packs an unpacked release into a .deb: release/deb/build.sh RELEASE VERSION PACKAGE.deb
#
# The layout is Debian's, not that of install.sh: the program is in /usr/bin, the units are in /usr/lib/systemd/system.
# The binary is static, so the package depends on nothing. SOURCE_DATE_EPOCH dates everything in it.

set -eu

program=webhook-inbox
release=$1 version=$2 package=$3
scripts=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

put() {
    install -D -m "$1" "$2" "$root/$3"
}

put 755 "$release/$program" usr/bin/$program
for unit in $program.service $program.socket; do
    sed "s|/usr/local/bin/|/usr/bin/|" "$release/deploy/$unit" > "$root/unit"
    put 644 "$root/unit" usr/lib/systemd/system/$unit
done
rm "$root/unit"
put 644 "$release/deploy/$program.env" etc/$program/$program.env
put 644 "$release/man/$program.1" usr/share/man/man1/$program.1
gzip -9n "$root/usr/share/man/man1/$program.1"
put 644 "$release/completions/$program.bash" usr/share/bash-completion/completions/$program
put 644 "$release/completions/_$program" usr/share/zsh/vendor-completions/_$program
put 644 "$release/completions/$program.fish" usr/share/fish/vendor_completions.d/$program.fish
put 644 "$release/LICENSE" usr/share/doc/$program/copyright
for text in THIRD-PARTY.txt THIRD-PARTY-RUST.html; do
    put 644 "$release/$text" usr/share/doc/$program/$text
done

for script in preinst postinst prerm postrm; do
    put 755 "$scripts/$script" DEBIAN/$script
done
# Kept when an operator has changed it, with a question at an upgrade that changes it too.
echo /etc/$program/$program.env > "$root/DEBIAN/conffiles"
cat > "$root/DEBIAN/control" << END
Package: $program
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: The maintainers of $program <root@localhost>
Section: net
Priority: optional
Installed-Size: $(du -k -s "$root/usr" "$root/etc" | awk '{ sum += $1 } END { print sum }')
Description: inbox for signed message webhooks
 It takes in signed webhooks over HTTP, among them those of WhatsApp's Cloud API
 and of Standard Webhooks, and answers 200 only when the message is on disk. It
 lists, searches, counts and forwards what it has stored, and has a page for people.
END
chmod 644 "$root/DEBIAN/conffiles" "$root/DEBIAN/control"
find "$root" -type d -exec chmod 755 {} +
dpkg-deb --root-owner-group --build "$root" "$package"
