//! The clients whose configuration is known: where their files are, and what belongs into them.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{codex, json_text};

/// What our server is called in a client's file.
pub(super) const NAME: &str = "keywright";

/// The clients whose configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Client {
    ClaudeCode,
    Cursor,
    Vscode,
    Codex,
    Windsurf,
    Zed,
    Gemini,
}

/// For whom a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Scope {
    /// In all your projects.
    User,
    /// In the project of the current directory.
    Project,
}

impl Scope {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
        }
    }
}

impl Client {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::Codex => "codex",
            Self::Windsurf => "windsurf",
            Self::Zed => "zed",
            Self::Gemini => "gemini",
        }
    }

    /// The scope that is meant when none is named.
    pub(super) fn usual_scope(self) -> Scope {
        match self {
            Self::ClaudeCode | Self::Cursor | Self::Vscode => Scope::Project,
            Self::Codex | Self::Windsurf | Self::Zed | Self::Gemini => Scope::User,
        }
    }

    /// The file, from the directory that [`Scope`] stands for; `None` where the client has none.
    fn file(self, scope: Scope) -> Option<&'static str> {
        Some(match (self, scope) {
            (Self::ClaudeCode, Scope::Project) => ".mcp.json",
            (Self::ClaudeCode, Scope::User) => ".claude.json",
            (Self::Cursor, _) => ".cursor/mcp.json",
            (Self::Vscode, Scope::Project) => ".vscode/mcp.json",
            (Self::Vscode, Scope::User) if cfg!(target_os = "macos") => {
                "Library/Application Support/Code/User/mcp.json"
            }
            (Self::Vscode, Scope::User) => ".config/Code/User/mcp.json",
            (Self::Codex, _) => ".codex/config.toml",
            (Self::Windsurf, Scope::User) => ".codeium/windsurf/mcp_config.json",
            (Self::Zed, Scope::User) => ".config/zed/settings.json",
            (Self::Gemini, _) => ".gemini/settings.json",
            (Self::Windsurf | Self::Zed, Scope::Project) => return None,
        })
    }

    /// Where the file is.
    pub(super) fn path(self, scope: Scope, home: &Path, project: &Path) -> Option<PathBuf> {
        let directory = if scope == Scope::User { home } else { project };
        self.file(scope).map(|file| directory.join(file))
    }

    /// The key under which the client's servers stand.
    fn servers(self) -> &'static str {
        match self {
            Self::Vscode => "servers",
            Self::Zed => "context_servers",
            Self::Codex => "mcp_servers",
            Self::ClaudeCode | Self::Cursor | Self::Windsurf | Self::Gemini => "mcpServers",
        }
    }

    /// What a file of its own would hold. No secret is in there: the token stays in its own file.
    pub(super) fn snippet(self, server: &Value) -> String {
        match self {
            Self::Codex => codex::put("", server).unwrap_or_default(),
            _ => {
                let whole = json!({ (self.servers()): { (NAME): server } });
                serde_json::to_string_pretty(&whole).unwrap_or_default()
            }
        }
    }

    /// The file's text with our server in it; the same text when it is there. `None` where that can't be done without
    /// harm.
    pub(super) fn put(self, text: &str, server: &Value) -> Option<String> {
        if self == Self::Codex {
            return codex::put(text, server);
        }
        if text.trim().is_empty() {
            return json_text::put(text, &[self.servers(), NAME], server);
        }
        let read: Value = serde_json::from_str(text).ok()?;
        let there = read.get(self.servers()).and_then(|servers| servers.get(NAME));
        let Some(there) = there.filter(|there| is_program(there)) else {
            return json_text::put(text, &[self.servers(), NAME], server);
        };
        // What else somebody set for our server stays; only what we know is brought up to date.
        let mut text = text.to_owned();
        for (name, value) in server.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                ("env", Value::Object(variables)) => {
                    for (variable, value) in variables {
                        if there.pointer(&format!("/env/{variable}")) != Some(value) {
                            text = json_text::put(&text, &[self.servers(), NAME, "env", variable], value)?;
                        }
                    }
                }
                _ if there.get(name) == Some(value) => {}
                _ => text = json_text::put(&text, &[self.servers(), NAME, name], value)?,
            }
        }
        Some(text)
    }

    /// Whether a text names a home for our server, so that it has to name the right one.
    pub(super) fn names_home(self, text: &str) -> bool {
        match self {
            Self::Codex => text.contains("KEYWRIGHT_HOME"),
            _ => serde_json::from_str::<Value>(text).is_ok_and(|read| {
                read.pointer(&format!("/{}/{NAME}/env/KEYWRIGHT_HOME", self.servers())).is_some()
            }),
        }
    }
}

/// Whether an entry starts a program, as ours does. One that names an address is replaced whole.
fn is_program(entry: &Value) -> bool {
    entry.is_object() && !["url", "serverUrl", "httpUrl"].iter().any(|key| entry.get(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Value {
        json!({ "command": "keywright", "args": ["mcp", "--agent", "a"], "env": { "KEYWRIGHT_HOME": "/h" } })
    }

    #[test]
    fn every_client_gets_its_own_shape() {
        for client in Client::value_variants() {
            let snippet = client.snippet(&server());
            if *client == Client::Codex {
                assert_eq!(
                    snippet,
                    "[mcp_servers.keywright]\ncommand = \"keywright\"\nargs = [\"mcp\", \"--agent\", \"a\"]\n\
                     env = { KEYWRIGHT_HOME = \"/h\" }\n"
                );
                continue;
            }
            let json: Value = serde_json::from_str(&snippet).unwrap();
            assert_eq!(json[client.servers()]["keywright"], server(), "{client:?}");
        }
    }

    #[test]
    fn what_is_there_already_does_not_change_and_what_is_out_of_date_does() {
        for client in Client::value_variants() {
            let first = client.put("", &server()).unwrap();
            assert_eq!(client.put(&first, &server()).unwrap(), first, "{client:?}");
            let other = json!({ "command": "/new", "args": ["mcp"], "env": { "KEYWRIGHT_HOME": "/i" } });
            let second = client.put(&first, &other).unwrap();
            assert_eq!(client.put(&second, &other).unwrap(), second, "{client:?}");
            assert!(
                second.contains("/new") && second.contains("/i") && !second.contains("--agent"),
                "{second}"
            );
        }
        let old = r#"{"servers":{"keywright":{"command":"old","args":[],"note":"mine"}}}"#;
        let new = Client::Vscode.put(old, &server()).unwrap();
        assert!(new.contains(r#""note":"mine""#) && !new.contains("old"), "{new}");
        let remote = r#"{"mcpServers":{"keywright":{"url":"https://x"}}}"#;
        assert!(!Client::Cursor.put(remote, &server()).unwrap().contains("url"));
    }
}
