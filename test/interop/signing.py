#!/usr/bin/env python3
"""Has model_signing verify what bundlewatch signed, and the other way round. Started by signing.sh."""
import argparse
import base64
import json
import os
import shutil
import subprocess
import sys

from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing._cli import main as model_signing

CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
KEY = "run_20251017_104700/00"


class Suite:
    def __init__(self, args):
        self.binary, self.work, self.runs = args.binary, args.work, args.runs
        self.groups = self.failed = 0

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    def bundlewatch(self, *args):
        return subprocess.run([self.binary, *args], cwd=self.work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)

    def expect(self, what, ok, output):
        self.groups += 1
        self.failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {what}", flush=True)
        if not ok:
            print(f"     {output.strip()[-600:]}")

    def ours(self, what, code, *args, says=""):
        p = self.bundlewatch(*args)
        self.expect(what, p.returncode == code and says in p.stdout, f"exit code {p.returncode}: {p.stdout}")

    def theirs(self, what, accepts, *args):
        """The command line of model_signing, without a new process for each call."""
        result = CliRunner().invoke(model_signing, args)
        self.expect(what, (result.exit_code == 0) == accepts, f"exit code {result.exit_code}: {result.output}")

    def bundle(self, curve):
        """Publishes the examples with a key of this curve, and returns a bundle."""
        with open(self.path(f"{curve}.toml"), "w") as f:
            f.write(f'''
[artifacts]
dir = "{curve}"
[sign]
key = "{curve}.pem"
[[watch]]
name = "w"
root = "{self.runs}"
settle = "50ms"
[watch.members]
autoencoder = "{{run...}}/checkpoints/autoencoder-epoch={{epoch}}.ckpt"
diffraction_to_obj = "{{run...}}/checkpoints/diffraction_to_obj-epoch={{epoch}}.ckpt"
''')
        self.ours(f"{curve}: once signs", 0, "once", "--config", self.path(f"{curve}.toml"), says="2 bundled")
        return self.path(curve, "w", KEY)

    def copy(self, bundle, name, without=()):
        to = self.path(name)
        shutil.copytree(bundle, to, ignore=lambda _, names: [n for n in names if n in without])
        subprocess.run(["chmod", "-R", "u+w", to], check=True)
        return to

    def curve(self, curve):
        self.ours(f"{curve}: keygen", 0, "keygen", f"{curve}.pem", "--curve", curve)
        private, public = self.path(f"{curve}.pem"), self.path(f"{curve}.pub")
        bundle = self.bundle(curve)
        sig = os.path.join(bundle, "model.sig")
        self.theirs(f"{curve}: model_signing accepts ours", True, "verify", "key", bundle, "--public_key", public, "--signature", sig)
        self.hint(curve, public, sig)

        changed = self.copy(bundle, f"{curve}-changed")
        with open(os.path.join(changed, "wts.h5.zip"), "r+b") as f:
            f.seek(5000)
            byte = f.read(1)
            f.seek(5000)
            f.write(bytes([byte[0] ^ 1]))
        self.theirs(f"{curve}: model_signing refuses a flipped bit", False, "verify", "key", changed, "--public_key", public, "--signature",
                    os.path.join(changed, "model.sig"))
        self.ours(f"{curve}: so do we", 3, "verify", "--key", public, changed, says='"wts.h5.zip" is not the file that was signed')

        self.ours(f"{curve}: sign", 0, "sign", bundle, "--key", private, "--output", f"{curve}.sig")
        self.theirs(f"{curve}: model_signing accepts our detached one", True, "verify", "key", bundle, "--public_key", public, "--signature",
                    self.path(f"{curve}.sig"))

        inside = self.copy(bundle, f"{curve}-inside", without=["model.sig"])
        self.theirs(f"{curve}: model_signing signs with our key", True, "sign", "key", inside, "--private_key", private, "--signature",
                    os.path.join(inside, "model.sig"))
        self.ours(f"{curve}: we accept its signature in the bundle", 0, "verify", "--key", public, inside, says="signed with")
        outside = self.copy(bundle, f"{curve}-outside")
        detached = self.path(f"{curve}-outside.sig")
        self.theirs(f"{curve}: model_signing signs a bundle with a signature", True, "sign", "key", outside, "--private_key", private,
                    "--signature", detached)
        self.ours(f"{curve}: we accept its detached one", 0, "verify", "--key", public, "--signature", detached, outside, says="signed with")
        return bundle, inside, public

    def hint(self, curve, public, sig):
        """The fingerprint that we write is the one that the reference computes."""
        with open(sig) as f:
            ours = json.load(f)["verificationMaterial"]["publicKey"]["hint"]
        theirs = self.path(f"{curve}-hint")
        os.mkdir(theirs)
        with open(os.path.join(theirs, "file"), "w") as f:
            f.write("x")
        private = public.removesuffix(".pub") + ".pem"
        CliRunner().invoke(model_signing, ["sign", "key", theirs, "--private_key", private, "--signature", theirs + ".sig"])
        with open(theirs + ".sig") as f:
            hint = json.load(f)["verificationMaterial"]["publicKey"]["hint"]
        self.expect(f"{curve}: both name the key alike", ours == hint, f"{ours} and {hint}")

    def strictness(self, bundle, inside, public):
        """What the reference passes over, and we do not."""
        planted = self.copy(bundle, "planted")
        os.makedirs(os.path.join(planted, ".git", "hooks"))
        with open(os.path.join(planted, ".git", "hooks", "post-checkout"), "w") as f:
            f.write("#!/bin/sh\n")
        sig = os.path.join(planted, "model.sig")
        self.ours("a planted .git: refused", 3, "verify", "--key", public, planted, says='".git" is a directory that was not signed')
        self.theirs("a planted .git in ours: model_signing finds it when told to look", False, "verify", "key", planted, "--public_key", public,
                    "--signature", sig, "--no-ignore-git-paths")
        theirs = self.copy(inside, "planted-theirs")
        shutil.copytree(os.path.join(planted, ".git"), os.path.join(theirs, ".git"))
        self.theirs("a planted .git in its own: it does not look", True, "verify", "key", theirs, "--public_key", public, "--signature",
                    os.path.join(theirs, "model.sig"), "--no-ignore-git-paths")
        self.ours("a planted .git in its own: we refuse it", 3, "verify", "--key", public, theirs, says='".git" is a directory')
        hollow = self.copy(bundle, "hollow")
        os.mkdir(os.path.join(hollow, "empty"))
        self.theirs("an empty directory: model_signing does not see it", True, "verify", "key", hollow, "--public_key", public, "--signature",
                    os.path.join(hollow, "model.sig"))
        self.ours("an empty directory: refused", 3, "verify", "--key", public, hollow, says='"empty" is a directory that was not signed')

    def keys(self, bundle):
        """Keys of another program, in both forms of PEM."""
        for curve, make in CURVES.items():
            key = ec.generate_private_key(make())
            for name, form in [("PKCS #8", serialization.PrivateFormat.PKCS8), ("SEC 1", serialization.PrivateFormat.TraditionalOpenSSL)]:
                stem = f"foreign-{curve}-{name.replace(' ', '')}"
                self.write_pair(stem, key, form)
                self.ours(f"{curve}: a {name} key of another program", 0, "sign", bundle, "--key", f"{stem}.pem", "--output", f"{stem}.sig")
                self.theirs(f"{curve}: and model_signing accepts what it signed", True, "verify", "key", bundle, "--public_key",
                            self.path(f"{stem}.pub"), "--signature", self.path(f"{stem}.sig"))

    def write_pair(self, stem, key, form):
        with open(os.open(self.path(stem + ".pem"), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
            f.write(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        with open(self.path(stem + ".pub"), "wb") as f:
            f.write(key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))

    def slipped(self, inside, public):
        """A payload that was changed is not looked at: the envelope is checked first."""
        with open(os.path.join(inside, "model.sig")) as f:
            bundle = json.load(f)
        payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        payload["predicate"]["serialization"]["method"] = "shards"
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
        with open(self.path("slipped.sig"), "w") as f:
            json.dump(bundle, f)
        self.ours("another method, slipped in", 3, "verify", "--key", public, "--signature", "slipped.sig", inside, says="the signature does not hold")

    def run(self):
        done = [self.curve(c) for c in CURVES]
        bundle, inside, public = done[0]
        self.ours("the key of another", 3, "verify", "--key", done[1][2], bundle, says="the signature does not hold")
        self.theirs("the key of another: model_signing refuses it", False, "verify", "key", bundle, "--public_key", done[1][2], "--signature",
                    os.path.join(bundle, "model.sig"))
        self.strictness(bundle, inside, public)
        self.keys(bundle)
        self.slipped(inside, public)
        p = subprocess.run([sys.executable, "-m", "model_signing", "verify", "key", bundle, "--public_key", public, "--signature",
                            os.path.join(bundle, "model.sig")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.expect("as a program of its own, too", p.returncode == 0, p.stdout)
        print(f"signatures: {self.groups - self.failed} of {self.groups} ok")
        return 1 if self.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--runs", required=True)
    sys.exit(Suite(parser.parse_args()).run())
