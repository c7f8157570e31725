"""A second reader of the log: hashlib for the tree, OpenSSL (through `cryptography`) for the signatures.

It shares no code with the project, only the published formats (C2SP tlog-tiles, tlog-checkpoint, signed-note;
RFC 6962). Run as `read_log.py DIRECTORY VKEY`; it exits 0 when the checkpoint is signed by the key and the
entries and all tiles give its root, 1 with a reason when not, 77 when `cryptography` is not installed.
`read_log.py --sign SEED-IN-HEX ORIGIN SIZE ROOT-IN-HEX` prints a checkpoint and its verifier key instead.
"""

import base64
import hashlib
import pathlib
import struct
import sys

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519
except ModuleNotFoundError:
    sys.exit(77)


def sha256(data):
    return hashlib.sha256(data).digest()


def root(hashes):
    """RFC 6962, section 2.1, as it is written there."""
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << ((len(hashes) - 1).bit_length() - 1)
    return sha256(b"\x01" + root(hashes[:k]) + root(hashes[k:]))


def key_id(name, key):
    return sha256(name.encode() + b"\n" + key)[:4]


def tile_path(level, number, width):
    text = f"{number % 1000:03}"
    while number >= 1000:
        number //= 1000
        text = f"x{number % 1000:03}/{text}"
    return f"tile/{level}/{text}" + (f".p/{width}" if width < 256 else "")


def tiles(size, level):
    count = size >> (8 * level)
    for number in range((count + 255) // 256):
        yield number, min(256, count - 256 * number)


def open_checkpoint(text, vkey):
    name, wanted_id, key = vkey.split("+", 2)
    key = base64.b64decode(key, validate=True)
    assert key[0] == 1 and key_id(name, key).hex() == wanted_id, "the verifier key is malformed"
    body, signatures = text.rsplit("\n\n", 1)
    body += "\n"
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if dash == "\u2014" and signer == name and signature[:4].hex() == wanted_id:
            ed25519.Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], body.encode())
            break
    else:
        raise AssertionError("the checkpoint is not signed by the key")
    lines = body.split("\n")
    assert lines[0] == name, "the checkpoint names another log"
    return int(lines[1]), base64.b64decode(lines[2], validate=True)


def read(directory, vkey):
    size, signed_root = open_checkpoint((directory / "checkpoint").read_text(), vkey)
    hashes = []
    for number, width in tiles(size, 0):
        bundle = (directory / tile_path("entries", number, width)).read_bytes()
        for _ in range(width):
            (length,) = struct.unpack(">H", bundle[:2])
            assert len(bundle) >= 2 + length, "an entry is cut short"
            hashes.append(sha256(b"\x00" + bundle[2 : 2 + length]))
            bundle = bundle[2 + length :]
        assert not bundle, "there are bytes behind the last entry"
    assert root(hashes) == signed_root, "the entries do not give the signed root"
    level = 0
    while size >> (8 * level):
        for number, width in tiles(size, level):
            expected = b"".join(hashes[256 * number : 256 * number + width])
            assert (directory / tile_path(level, number, width)).read_bytes() == expected, f"level {level}, tile {number}"
        hashes = [root(hashes[at : at + 256]) for at in range(0, len(hashes) - len(hashes) % 256, 256)]
        level += 1


def sign(seed, name, size, root_hash):
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    raw = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    public = b"\x01" + key.public_key().public_bytes(*raw)
    body = f"{name}\n{size}\n{base64.b64encode(bytes.fromhex(root_hash)).decode()}\n"
    signature = base64.b64encode(key_id(name, public) + key.sign(body.encode())).decode()
    print(f"{body}\n\u2014 {name} {signature}")
    print(f"{name}+{key_id(name, public).hex()}+{base64.b64encode(public).decode()}")


if sys.argv[1] == "--sign":
    sys.stdout.reconfigure(encoding="utf-8")
    sign(*sys.argv[2:])
else:
    try:
        read(pathlib.Path(sys.argv[1]), sys.argv[2])
    except (AssertionError, InvalidSignature, FileNotFoundError, ValueError, struct.error) as error:
        sys.exit(f"{type(error).__name__}: {error}")
