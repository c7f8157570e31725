"""A second reader of HOME/audit: hashlib for the tree, libsodium (PyNaCl) or OpenSSL (cryptography) for the signature.

It shares no code with the project, only the published formats (C2SP tlog-tiles, tlog-checkpoint, signed-note;
RFC 6962). Run as `verify_log.py DIRECTORY`; it exits 0 and prints `origin size root` when the checkpoint is signed by
the key in `vkey` and both the entries and every tile give its root, 1 with a reason when not, 77 when neither package
is installed.
"""

import base64
import hashlib
import pathlib
import struct
import sys

try:
    import nacl.exceptions
    import nacl.signing

    def check(public, signature, message):
        try:
            nacl.signing.VerifyKey(public).verify(message, signature)
        except nacl.exceptions.CryptoError as error:
            raise ValueError("the signature does not verify") from error

except ModuleNotFoundError:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        def check(public, signature, message):
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
            except InvalidSignature as error:
                raise ValueError("the signature does not verify") from error

    except ModuleNotFoundError:
        sys.exit(77)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root_of(hashes):
    """RFC 6962, section 2.1, level by level: pairs are joined, an odd one moves up as it is."""
    if not hashes:
        return sha256(b"")
    while len(hashes) > 1:
        pairs = [sha256(b"\x01", a, b) for a, b in zip(hashes[::2], hashes[1::2])]
        hashes = pairs + hashes[len(pairs) * 2 :]
    return hashes[0]


def require(condition, complaint):
    if not condition:
        raise ValueError(complaint)


def read_key(text):
    name, key_id, key = text.strip().split("+", 2)
    key = base64.b64decode(key, validate=True)
    require(key[0] == 1 and len(key) == 33, "the key is not Ed25519")
    require(sha256(name.encode(), b"\n", key)[:4].hex() == key_id, "the key's id is not its own")
    return name, bytes.fromhex(key_id), key[1:]


def read_checkpoint(text, name, key_id, public):
    body, _, signatures = text.partition("\n\n")
    body += "\n"
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if dash == "\u2014" and signer == name and signature[:4] == key_id:
            check(public, signature[4:], body.encode())
            break
    else:
        raise ValueError("the checkpoint is not signed by the key")
    origin, size, root = body.splitlines()[:3]
    require(origin == name, "the checkpoint names another log")
    return int(size), base64.b64decode(root, validate=True)


def path_of(directory, level, number, width):
    text = f"{number % 1000:03}"
    while number := number // 1000:
        text = f"x{number % 1000:03}/{text}"
    path = directory / "tile" / str(level) / text
    if width < 256 and not path.exists():
        path = path.with_name(f"{path.name}.p") / str(width)
    return path


def tiles(count):
    return [(number, min(256, count - 256 * number)) for number in range(-(-count // 256))]


def main(directory):
    name, key_id, public = read_key((directory / "vkey").read_text(encoding="utf-8"))
    checkpoint = (directory / "checkpoint").read_text(encoding="utf-8")
    size, signed = read_checkpoint(checkpoint, name, key_id, public)
    hashes = []
    for number, width in tiles(size):
        bundle = path_of(directory, "entries", number, width).read_bytes()
        at = 0
        for _ in range(width):
            (length,) = struct.unpack_from(">H", bundle, at)
            leaf = bundle[at + 2 : at + 2 + length]
            require(len(leaf) == length, "an entry is cut short")
            hashes.append(sha256(b"\x00", leaf))
            at += 2 + length
        require(width < 256 or at == len(bundle), "there are bytes behind the last entry")
    require(root_of(hashes) == signed, "the entries do not give the signed root")
    level = 0
    while hashes:
        for number, width in tiles(len(hashes)):
            wanted = b"".join(hashes[256 * number : 256 * number + width])
            found = path_of(directory, level, number, width).read_bytes()
            require(found[: 32 * width] == wanted, f"tile {number} of level {level} is not that of the entries")
        hashes = [root_of(hashes[at : at + 256]) for at in range(0, len(hashes) - 255, 256)]
        level += 1
    print(name, size, signed.hex())


try:
    main(pathlib.Path(sys.argv[1]))
except (ValueError, OSError, struct.error) as error:
    sys.exit(f"{type(error).__name__}: {error}")
