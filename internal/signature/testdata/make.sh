#!/usr/bin/env bash
# Makes the files of this directory, with openssl and the reference implementation of the format:
#
#   pip install model-signing==1.1.1 pyOpenSSL
#   PYTHON=python3 ./make.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A directory that the reference signed, on each curve. The private keys are thrown away.
mkdir -p "$work/model/b"
echo a >"$work/model/a"
echo c >"$work/model/b/c"
for curve in P-256 P-384 P-521; do
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:$curve -out "$work/key.pem"
  openssl pkey -in "$work/key.pem" -pubout -out $curve.pub
  "${PYTHON:-python3}" -m model_signing sign key "$work/model" --private_key "$work/key.pem" --signature $curve.sig
done

# Keys that are refused. They protect nothing; the password is "secret".
openssl ecparam -name secp256k1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out secp256k1.pem
openssl pkey -in secp256k1.pem -pubout -out secp256k1.pub
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/key.pem"
openssl pkcs8 -topk8 -in "$work/key.pem" -passout pass:secret -out password.pem
openssl ec -in "$work/key.pem" -aes128 -passout pass:secret -out password-old.pem
