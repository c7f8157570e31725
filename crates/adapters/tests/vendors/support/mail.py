"""A mail server on loopback (aiosmtpd), in one of three ways: `plain`, `starttls` or `tls`, with certificates in a folder.

It prints its port, then each mail that it took as a line of JSON. Who logs in is `kw`, with the password of the environment."""

import asyncio
import datetime
import ipaddress
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

folder, way = sys.argv[1:3]
password = os.environ["PASSWORD"].encode()


def issue(subject, key, issuer, signer, extension):
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    made = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - day).not_valid_after(now + day).add_extension(extension, critical=True)
    return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def context():
    ca, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = issue("house", ca, "house", ca, x509.BasicConstraints(ca=True, path_length=None))
    san = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = issue("server", own, "house", ca, san)
    key = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, text in [("ca", authority), ("leaf", leaf), ("key", key)]:
        with open(f"{folder}/{name}.pem", "wb") as file:
            file.write(text)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(f"{folder}/leaf.pem", f"{folder}/key.pem")
    return made


class Takes:
    async def handle_DATA(self, server, session, envelope):
        if any(to.startswith("refused") for to in envelope.rcpt_tos):
            return "554 5.7.1 no: " + password.decode()
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": envelope.content.decode("latin-1"),
            "user": session.auth_data,
            "tls": session.ssl is not None or way == "tls",
        }
        print(json.dumps(mail), flush=True)
        return "250 taken"


def lets_in(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"kw" and data.password == password, handled=False, auth_data="kw")


async def main():
    tls = context()
    options = {"authenticator": lets_in, "auth_required": True, "auth_require_tls": False}
    if way == "starttls":
        options.update(tls_context=tls, require_starttls=True)
    loop = asyncio.get_running_loop()
    serve = lambda: SMTP(Takes(), enable_SMTPUTF8=False, **options)
    server = await loop.create_server(serve, "127.0.0.1", 0, ssl=tls if way == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
