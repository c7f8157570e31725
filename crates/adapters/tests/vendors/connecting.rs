//! What an operator gives to connect, and what is said when it does not fit.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use keywright_adapters::provider::{self, ConnectionConfig};
use keywright_adapters::store::StoreConnectError;
use keywright_core::secret::Secret;

use crate::support::opened::open;
use crate::support::peer;

const VAULT_ID: (&str, &str) = ("vault", "abcdefghijklmnopqrstuvwxyz");

fn connect_gitlab(
    address: &str,
    extra: &[(&str, &str)],
) -> Result<Box<dyn keywright_core::provider::Provider>, String> {
    let extra = [("projects", "acme/web")].iter().chain(extra);
    let config = ConnectionConfig {
        base_url: Some(address.to_owned()),
        account: None,
        extra: extra.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    provider::connect("gitlab", config, Secret::new("glpat-x".to_owned())).map_err(|error| error.to_string())
}

#[test]
fn what_is_missing_is_named_as_it_is_given() {
    for (kind, settings) in [("vault", &[][..]), ("kubernetes", &[]), ("1password", &[VAULT_ID])] {
        let error = open(kind, None, settings, Some("token")).err().unwrap();
        assert!(matches!(error, StoreConnectError::Address { .. }), "{error}");
        assert!(error.to_string().contains("needs `--address`: the "), "{error}");
        let error =
            open(kind, Some("http://vault.example"), settings, Some("token")).err().unwrap().to_string();
        assert!(error.contains("`--address`") && error.contains("not https"), "{error}");
    }
    let error = open("pass", Some("https://pass.example"), &[], None).err().unwrap().to_string();
    assert!(error.contains("takes no `--address`"), "{error}");
}

#[test]
fn every_store_that_is_reached_by_network_takes_a_time_for_its_calls() {
    for kind in keywright_adapters::store::kinds() {
        let has_it = kind.settings.iter().any(|(name, _)| *name == "timeout");
        assert_eq!(has_it, kind.address.is_some(), "{}", kind.kind);
    }
    let vault =
        |timeout| open("vault", Some("https://vault.example"), &[("timeout", timeout)], Some("token"));
    for good in ["1s", "30s", "5m"] {
        assert!(vault(good).is_ok(), "{good}");
    }
    for bad in ["6m", "0", "soon", "-1s"] {
        let error = vault(bad).err().unwrap().to_string();
        assert!(error.contains("setting `timeout` must be a span from `1s` to `5m`"), "{bad}: {error}");
    }
    let error = open("pass", None, &[("timeout", "1s")], None).err().unwrap().to_string();
    assert!(error.contains("`timeout` is not known"), "{error}");
}

#[test]
fn a_server_of_ones_own_may_be_on_a_private_network() {
    for address in
        ["https://10.0.0.1:8200", "https://192.168.1.1", "https://100.64.0.1", "https://[fd12::1]:8200"]
    {
        for (kind, settings) in [("vault", &[][..]), ("kubernetes", &[]), ("1password", &[VAULT_ID])] {
            assert!(open(kind, Some(address), settings, Some("token")).is_ok(), "{kind} {address}");
        }
        assert_eq!(connect_gitlab(address, &[]).err(), None, "{address}");
    }
    for address in [
        "http://10.0.0.1",
        "https://169.254.169.254",
        "https://[fd00:ec2::254]",
        "https://[fe80::1]",
        "https://0.0.0.0",
    ] {
        let error = open("vault", Some(address), &[], Some("token")).err().unwrap().to_string();
        assert!(error.contains("can't use its `--address`"), "{error}");
        let error = connect_gitlab(address, &[]).err().unwrap();
        assert!(error.contains("its `--base-url`"), "{error}");
    }
}

/// Makes the certificates in a directory, and answers `{}` to everything.
const SERVER: &str = r#"
import datetime, http.server, ipaddress, ssl, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
pem = lambda it: it.public_bytes(serialization.Encoding.PEM)
def issue(subject, key, issuer, signer, *extensions):
    made = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - day).not_valid_after(now + day)
    for extension in extensions: made = made.add_extension(extension, critical=True)
    return made.sign(signer, hashes.SHA256())
keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
is_ca = x509.BasicConstraints(ca=True, path_length=None)
ca = issue('house', keys[0], 'house', keys[0], is_ca)
other = issue('other', keys[1], 'other', keys[1], is_ca)
san = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))])
leaf = issue('server', keys[2], 'house', keys[0], san)
for file, it in [('ca', ca), ('other', other), ('leaf', leaf)]:
    open(sys.argv[1] + '/' + file + '.pem', 'wb').write(pem(it))
open(sys.argv[1] + '/key.pem', 'wb').write(keys[2].private_bytes(serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
class Says(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('content-length', '2'); self.end_headers(); self.wfile.write(b'{}')
    def log_message(self, *of): pass
class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *of): pass
server = Server(('127.0.0.1', 0), Says)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + '/leaf.pem', sys.argv[1] + '/key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// A server with a certificate of an authority that it makes up; both certificates' files are in the directory.
struct Private {
    child: Child,
    address: String,
}

impl Private {
    fn start(directory: &Path) -> Option<Self> {
        let python = peer("venv/bin/python")?;
        let mut child =
            Command::new(python).args(["-c", SERVER]).arg(directory).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Some(Self { child, address: format!("https://127.0.0.1:{}", port.trim()) })
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Private::start(directory.path()) else { return };
    let [ca, other] =
        ["ca.pem", "other.pem"].map(|name| directory.path().join(name).to_str().unwrap().to_owned());
    let store = |file: Option<&String>| {
        let settings: Vec<_> =
            [VAULT_ID].into_iter().chain(file.map(|file| ("ca_file", file.as_str()))).collect();
        open("1password", Some(&server.address), &settings, Some("token")).unwrap()
    };
    store(Some(&ca)).check().await.unwrap();
    let error = store(None).check().await.unwrap_err().to_string();
    assert!(error.contains("TLS: ") && error.contains("with the setting `ca_file`"), "{error}");
    let error = store(Some(&other)).check().await.unwrap_err().to_string();
    assert!(error.contains("TLS: ") && error.contains("no authority in `ca_file`"), "{error}");
    // So it is with a provider: past TLS, an empty answer is what is wrong.
    let error = connect_gitlab(&server.address, &[]).unwrap().check().await.unwrap_err().to_string();
    assert!(error.contains("TLS: ") && error.contains("`ca_file`"), "{error}");
    let named = connect_gitlab(&server.address, &[("ca_file", &ca)]).unwrap();
    let error = named.check().await.unwrap_err().to_string();
    assert!(error.contains("status 200"), "{error}");
    // A kind that nobody runs themselves has no such setting, and says nothing of it.
    let doppler = open("doppler", Some(&server.address), &[], Some("token")).unwrap();
    let error = doppler.check().await.unwrap_err().to_string();
    assert!(error.contains("TLS: ") && !error.contains("ca_file"), "{error}");
    assert!(open("doppler", Some(&server.address), &[("ca_file", &ca)], Some("token")).is_err());
}

#[test]
fn a_file_that_holds_no_authority_is_refused_and_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("wrong"), "hunter2-hunter2").unwrap();
    std::fs::write(path("broken"), "-----BEGIN CERTIFICATE-----\nhunter2!\n-----END CERTIFICATE-----\n")
        .unwrap();
    for (file, says) in [
        ("ca.pem".to_owned(), "not an absolute path"),
        (path("nothing"), "can't be read"),
        (path(""), "not a file"),
        (path("wrong"), "holds no certificate"),
        (path("broken"), "holds no certificate"),
    ] {
        let settings = [("ca_file", file.as_str())];
        let vault = open("vault", Some("https://vault.example"), &settings, Some("token"));
        for error in [
            vault.err().unwrap().to_string(),
            connect_gitlab("https://gitlab.example", &settings).err().unwrap(),
        ] {
            assert!(error.contains("`ca_file`") && error.contains(says), "{says}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
