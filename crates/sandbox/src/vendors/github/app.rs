//! A GitHub App, and the tokens of its installation. A call of the App carries a JWT (RS256) that its private key signed;
//! the signature is checked with the public key, by another library than the one that signs in Keywright.
//!
//! As at GitHub, a create without `permissions` or without `repositories` gives everything that the App has.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::door::{Asked, Told};
use super::{ORGANISATION, REPOSITORIES, no, now, page, repository};
use crate::error::SandboxError;
use crate::ids::fresh_value;

/// The App's client id.
pub(in crate::vendors) const CLIENT_ID: &str = "Iv23liSandbox0000001";
pub(in crate::vendors) const INSTALLATION: &str = "4242";
/// What the App was granted.
const GRANTED: [(&str, &str); 9] = [
    ("actions", "write"),
    ("checks", "write"),
    ("contents", "write"),
    ("deployments", "write"),
    ("issues", "write"),
    ("metadata", "read"),
    ("pages", "write"),
    ("pull_requests", "write"),
    ("statuses", "write"),
];
const LIFE: SignedDuration = SignedDuration::from_hours(1);

pub(super) struct App {
    key: KeyPair,
    tokens: Vec<Token>,
    /// What the next token has besides what was asked.
    widen: Option<String>,
}

struct Token {
    value: String,
    repositories: Vec<u64>,
    is_all: bool,
    expires_at: Timestamp,
    revoked: bool,
}

impl App {
    pub(super) fn new() -> Result<Self, SandboxError> {
        let key = KeyPair::generate(KeySize::Rsa2048)
            .map_err(|_| SandboxError::Config("no RSA key could be made".to_owned()))?;
        Ok(Self { key, tokens: Vec::new(), widen: None })
    }

    /// The private key in PEM (PKCS #8).
    pub(super) fn pem(&self) -> String {
        let der = self.key.as_der().map(|der| der.as_ref().to_vec()).unwrap_or_default();
        let text = STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    /// What tests ask: the tokens in the order of their creation, and `POST /-/widen` with `what`.
    pub(super) fn control(&mut self, path: &[&str], asked: &Asked) -> Option<Told> {
        match path {
            ["tokens"] => {
                let lives: Vec<bool> = self.tokens.iter().map(Token::lives).collect();
                Some((200, Some(json!(lives))))
            }
            ["widen"] => {
                self.widen = asked.text("/what").map(str::to_owned);
                Some((204, None))
            }
            _ => None,
        }
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Option<Told> {
        let segments = asked.segments();
        let method = asked.method.as_str();
        if segments.first() == Some(&"installation") {
            let bearer = asked.bearer().unwrap_or_default();
            let Some(token) = self.tokens.iter_mut().find(|token| token.value == bearer && token.lives())
            else {
                return Some(no(401, "Bad credentials"));
            };
            return match (method, segments.as_slice()) {
                ("DELETE", ["installation", "token"]) => {
                    token.revoked = true;
                    Some((204, None))
                }
                ("GET", ["installation", "repositories"]) => {
                    let all: Vec<Value> = token.repositories.iter().filter_map(|id| by_id(*id)).collect();
                    let selection = if token.is_all { "all" } else { "selected" };
                    Some((
                        200,
                        Some(json!({
                            "total_count": all.len(),
                            "repository_selection": selection,
                            "repositories": page(asked, &all),
                        })),
                    ))
                }
                _ => None,
            };
        }
        if let Err(why) = self.is_signed(asked.bearer().unwrap_or_default()) {
            return Some(no(401, why));
        }
        match (method, segments.as_slice()) {
            ("GET", ["app"]) => Some((200, Some(json!({"id": 1, "slug": "keys", "name": "Keys"})))),
            ("GET", ["app", "installations", INSTALLATION]) => Some((200, Some(installation()))),
            ("GET", ["repos", owner, name, "installation"]) => {
                let known = owner.eq_ignore_ascii_case(ORGANISATION)
                    && repository(&name.to_ascii_lowercase()).is_some();
                known.then(|| (200, Some(installation())))
            }
            ("POST", ["app", "installations", INSTALLATION, "access_tokens"]) => Some(self.create(asked)),
            _ => None,
        }
    }

    fn create(&mut self, asked: &Asked) -> Told {
        let granted = || GRANTED.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned()));
        let mut permissions: BTreeMap<String, String> =
            match asked.body.get("permissions").and_then(Value::as_object) {
                None => granted().collect(),
                Some(asked) => asked
                    .iter()
                    .map(|(name, level)| (name.clone(), level.as_str().unwrap_or_default().to_owned()))
                    .collect(),
            };
        let is_granted = |(name, level): (&String, &String)| {
            granted().any(|(known, most)| known == *name && (most == *level || level == "read"))
        };
        if !permissions.iter().all(is_granted) {
            return no(422, "The permissions requested are not granted to this installation.");
        }
        // Every token reads metadata.
        permissions.insert("metadata".to_owned(), "read".to_owned());
        let named = asked.body.get("repositories").and_then(Value::as_array);
        let is_all = named.is_none();
        let found: Option<Vec<u64>> = match named {
            None => Some(REPOSITORIES.iter().map(|(_, id)| *id).collect()),
            Some(names) => names.iter().map(|name| repository(name.as_str()?)).collect(),
        };
        let Some(mut repositories) = found else {
            return no(
                422,
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            );
        };
        match self.widen.take().as_deref() {
            Some("permissions") => drop(permissions.insert("actions".to_owned(), "write".to_owned())),
            Some("repositories") => repositories = REPOSITORIES.iter().map(|(_, id)| *id).collect(),
            _ => {}
        }
        let Ok(value) = fresh_value() else { return no(500, "no randomness") };
        let expires_at = now().checked_add(LIFE).unwrap_or_default();
        let body = json!({
            "token": format!("ghs_{value}"),
            "expires_at": expires_at.to_string(),
            "permissions": permissions,
            "repository_selection": if is_all { "all" } else { "selected" },
            "repositories": repositories.iter().filter_map(|id| by_id(*id)).collect::<Vec<_>>(),
        });
        let value = format!("ghs_{value}");
        self.tokens.push(Token { value, repositories, is_all, expires_at, revoked: false });
        (201, Some(body))
    }

    /// RFC 7515 and 7519: the signature, who it is from, and that it is neither old nor good for more than ten minutes.
    fn is_signed(&self, jwt: &str) -> Result<(), &'static str> {
        const BAD: &str = "A JSON web token could not be decoded";
        let (signed, signature) = jwt.rsplit_once('.').ok_or(BAD)?;
        let (header, claims) = signed.split_once('.').ok_or(BAD)?;
        let json = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (header, claims) = (json(header).ok_or(BAD)?, json(claims).ok_or(BAD)?);
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BAD)?;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref());
        if header["alg"] != "RS256" || public.verify(signed.as_bytes(), &signature).is_err() {
            return Err(BAD);
        }
        if claims["iss"] != CLIENT_ID {
            return Err("Integration not found");
        }
        let time = |name: &str| claims[name].as_i64().ok_or(BAD);
        let (issued, expires, now) = (time("iat")?, time("exp")?, Timestamp::now().as_second());
        if expires <= now {
            return Err(
                "'Expiration time' claim ('exp') must be a numeric value representing the future time",
            );
        }
        if issued > now || expires - issued > 600 {
            return Err("'Expiration time' claim ('exp') is too far in the future");
        }
        Ok(())
    }
}

impl Token {
    fn lives(&self) -> bool {
        !self.revoked && self.expires_at > Timestamp::now()
    }
}

fn by_id(id: u64) -> Option<Value> {
    let (name, id) = REPOSITORIES.iter().find(|(_, known)| *known == id)?;
    Some(json!({"id": id, "name": name, "full_name": format!("{ORGANISATION}/{name}")}))
}

fn installation() -> Value {
    let permissions: BTreeMap<&str, &str> = GRANTED.into_iter().collect();
    json!({
        "id": 4242,
        "account": {"login": ORGANISATION},
        "repository_selection": "selected",
        "permissions": permissions,
        "suspended_at": null,
    })
}
