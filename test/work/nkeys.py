"""Keys and credentials as NATS has them in operator mode: an operator signs accounts, an account signs users, and a user's
.creds file has its JWT and the seed of its key. Made with openssl, so that a test needs no tool of NATS'."""
import base64
import json
import os
import subprocess
import tempfile
import time

PREFIX = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # what stands before an Ed25519 key's 32 bytes


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xffff
    return crc


def base32(data):
    return base64.b32encode(data + crc16(data).to_bytes(2, "little")).decode().rstrip("=")


def url64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def openssl(*words, data=b""):
    return subprocess.run(["openssl", *words], input=data, check=True, capture_output=True).stdout


class Key:
    def __init__(self, kind):
        self.kind, self.raw = kind, os.urandom(32)
        prefix = PREFIX[kind]
        public = openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", data=PKCS8 + self.raw)[-32:]
        self.public = base32(bytes([prefix]) + public)
        self.seed = base32(bytes([18 << 3 | prefix >> 5, (prefix & 31) << 3]) + self.raw)

    def sign(self, data):
        with tempfile.NamedTemporaryFile() as key, tempfile.NamedTemporaryFile() as text:
            for file, content in ((key, PKCS8 + self.raw), (text, data)):
                file.write(content)
                file.flush()
            return openssl("pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", key.name, "-in", text.name)

    def jwt(self, subject, **claims):
        """What this key says about another one, or about itself."""
        body = {"jti": os.urandom(8).hex(), "iat": int(time.time()), "iss": self.public, "name": subject.kind,
                "sub": subject.public, "nats": {"type": subject.kind, "version": 2, **claims}}
        text = ".".join(url64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body))
        return f"{text}.{url64(self.sign(text.encode()))}"


class Operator:
    """An operator with a system account and one that may use JetStream."""

    def __init__(self):
        self.key, self.system, self.account = Key("operator"), Key("account"), Key("account")

    def configuration(self):
        ends = {name: -1 for name in ("subs", "data", "payload", "imports", "exports", "conn", "leaf")}
        stored = {name: -1 for name in ("mem_storage", "disk_storage", "streams", "consumer")}
        accounts = {self.system.public: self.key.jwt(self.system, limits={**ends, "wildcards": True}),
                    self.account.public: self.key.jwt(self.account, limits={**ends, "wildcards": True, **stored})}
        preload = "\n".join(f"  {name}: {jwt}" for name, jwt in accounts.items())
        return (f"operator: {self.key.jwt(self.key)}\nsystem_account: {self.system.public}\nresolver: MEMORY\n"
                f"resolver_preload: {{\n{preload}\n}}\n")

    def credentials(self, **claims):
        """A user's file, and the secret in it."""
        user = Key("user")
        jwt = self.account.jwt(user, subs=-1, data=-1, payload=-1, **claims)
        return (f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
                f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"), user.seed
