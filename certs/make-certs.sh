#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# make-certs.sh [DIR]: a test CA, a server and two client certificates, made anew into DIR (default build/certs).
# For tests and trying out only. Nothing it makes is committed: a private key in a repository is a public key.
#
#   ca.crt        the authority; give it to clients (cafile)
#   server.crt    for localhost, 127.0.0.1, ::1 (certfile, keyfile)
#   client.crt    CN=test-client, signed by the same authority
#   other.crt     CN=stranger, signed by an authority nobody knows: must be refused
#   expired.crt   CN=test-client, signed by the right authority, but its time is over: must be refused
#
# All keys are P-256: the curve that small machines handle best. An existing complete set is kept; -f makes it anew.
set -eu

force=no
if [ "${1:-}" = -f ]; then
    force=yes
    shift
fi
root=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$root/build/certs}
days=30

command -v openssl >/dev/null || {
    echo "make-certs.sh: openssl is missing (apt-get install openssl)" >&2
    exit 1
}
mkdir -p "$dir"
chmod 700 "$dir"
cd "$dir"
if [ $force = no ] && [ -f complete ] && openssl x509 -in server.crt -noout -checkend 86400 >/dev/null 2>&1; then
    echo "certificates are in $dir"
    exit 0
fi
rm -f complete

key()
{
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
    chmod 600 "$1.key"
}

# authority NAME CN
authority()
{
    key "$1"
    openssl req -x509 -new -sha256 -key "$1.key" -subj "/O=Weir test/CN=$2" -days $days -out "$1.crt" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
}

# signed NAME CN AUTHORITY EXTENSIONS [openssl x509 options]
signed()
{
    name=$1 cn=$2 by=$3 extensions=$4
    shift 4
    key "$name"
    openssl req -new -sha256 -key "$name.key" -subj "/O=Weir test/CN=$cn" -out "$name.csr"
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" "$extensions" >"$name.ext"
    openssl x509 -req -sha256 -in "$name.csr" -CA "$by.crt" -CAkey "$by.key" -CAcreateserial -extfile "$name.ext" \
        -out "$name.crt" "$@" 2>"$name.log" || { cat "$name.log" >&2; exit 1; }
    rm -f "$name.csr" "$name.ext" "$name.log"
}

authority ca "Weir test authority"
authority stranger-ca "Somebody else"
signed server localhost ca "extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1" -days $days
signed client test-client ca "extendedKeyUsage=clientAuth" -days $days
signed other stranger stranger-ca "extendedKeyUsage=clientAuth" -days $days
# `x509 -req` cannot set a start in the past, but zero days end at once.
signed expired test-client ca "extendedKeyUsage=clientAuth" -days 0

openssl verify -CAfile ca.crt server.crt client.crt >/dev/null
rm -f ./*.srl stranger-ca.key
touch complete
echo "certificates are in $dir"
