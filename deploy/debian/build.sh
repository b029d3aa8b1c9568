#!/bin/sh
# Makes the Debian package of a relay that was built already, with the generator of calls and the simulator beside it. Needs dpkg-deb and dpkg-shlibdeps (dpkg-dev), no debhelper.
# Usage: deploy/debian/build.sh BINARY DIRECTORY [VERSION]
# Prints the path of the package, which is put into DIRECTORY. Anybody may run it: files in the package belong to root.
set -eu

binary=$(realpath "$1")
mkdir -p "$2"
target=$(realpath "$2")
source=$(realpath "$(dirname "$0")/../..")
here=$source/deploy/debian
upstream=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$source/Cargo.toml")
version=${3:-$upstream-1}
maintainer=${DEB_MAINTAINER:-Tandem <tandem@packages.invalid>}
architecture=$(dpkg --print-architecture)
# The same files make the same package: the time is that of the last change to what is packaged.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct 2>/dev/null || stat -c %Y "$source/CHANGELOG.md")}
export SOURCE_DATE_EPOCH
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
doc=$root/usr/share/doc/tandem
share=$root/usr/share/tandem

install -D -m 755 "$binary" "$root/usr/bin/tandem"
# For `tandem bench`.
for tool in callgen gemini-sim; do
    install -m 755 "$(dirname "$binary")/$tool" "$root/usr/bin/tandem-$tool"
done
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root"/usr/bin/*
for unit in tandem.service tandem.socket tandem-admin.socket; do
    install -D -m 644 "$source/deploy/systemd/$unit" "$root/lib/systemd/system/$unit"
done
install -D -m 644 "$source/deploy/sysctl/60-tandem.conf" "$root/usr/lib/sysctl.d/60-tandem.conf"
install -d -m 755 "$root/etc/tandem"
# The sample, with the places of the package in force: who reads records at the command line finds those of the service.
sed -E 's,^# ((url|spool_directory|directory) = ".*/var/lib/tandem/|token_file = ".*/etc/tandem/),\1,' "$source/deploy/tandem.toml" >"$root/etc/tandem/tandem.toml"
chmod 640 "$root/etc/tandem/tandem.toml"
install -D -m 640 "$here/tandem.env" "$root/etc/tandem/tandem.env"

mkdir -p "$share" "$doc" "$root/usr/share/man/man1" "$root/usr/share/lintian/overrides"
for folder in freeswitch asterisk haproxy prometheus grafana; do
    cp -r "$source/deploy/$folder" "$share/$folder"
done
# The package asks for a token, so Prometheus has to present it.
sed -i -E 's,^    # (authorization:|  credentials_file: /etc/tandem/),    \1,' "$share/prometheus/prometheus.yml"
cp "$source"/docs/*.md "$source/README.md" "$doc/"
if [ -d "$source/docs/pictures" ]; then cp -r "$source/docs/pictures" "$doc/pictures"; fi
install -m 644 "$here/copyright" "$doc/copyright"
gzip -9n <"$source/CHANGELOG.md" >"$doc/changelog.gz"
{
    printf 'tandem (%s) stable; urgency=medium\n\n  * What is new is in changelog.gz.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.Debian.gz"
sed "s/@VERSION@/$version/" "$here/tandem.1" | gzip -9n >"$root/usr/share/man/man1/tandem.1.gz"
install -m 644 "$here/lintian-overrides" "$root/usr/share/lintian/overrides/tandem"
find "$share" "$doc" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +

# The libraries that the binary was linked with, as this machine's packages name them.
mkdir -p "$work/debian"
printf 'Source: tandem\n\nPackage: tandem\nArchitecture: any\n' >"$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O "$root"/usr/bin/* 2>/dev/null | sed 's/^shlibs:Depends=//')

mkdir "$root/DEBIAN"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find etc -type f | sort | sed 's,^,/,') >"$root/DEBIAN/conffiles"
(cd "$root" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@MAINTAINER@/$maintainer/" \
    -e "s/@LIBRARIES@/$libraries/" -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f1)/" \
    "$here/control" >"$root/DEBIAN/control"

dpkg-deb --root-owner-group --build "$root" "$target/tandem_${version}_$architecture.deb" >/dev/null
echo "$target/tandem_${version}_$architecture.deb"
