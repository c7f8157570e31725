//! `agent install`: other programs' files are changed only where somebody agreed, and only where they must be.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::{Ran, World};

fn install(world: &World, args: &[&str]) -> Ran {
    let mut command = world.command(&[&["--no-input", "agent", "install"], args].concat());
    command.env("HOME", world.path("user")).current_dir(world.path("project")).output().unwrap().into()
}

fn places(world: &World) -> Vec<(&'static str, &'static str, PathBuf)> {
    let (user, project) = (world.path("user"), world.path("project"));
    vec![
        ("claude-code", "project", project.join(".mcp.json")),
        ("claude-code", "user", user.join(".claude.json")),
        ("cursor", "project", project.join(".cursor/mcp.json")),
        ("cursor", "user", user.join(".cursor/mcp.json")),
        ("vscode", "project", project.join(".vscode/mcp.json")),
        ("codex", "project", project.join(".codex/config.toml")),
        ("codex", "user", user.join(".codex/config.toml")),
        ("windsurf", "user", user.join(".codeium/windsurf/mcp_config.json")),
        ("zed", "user", user.join(".config/zed/settings.json")),
        ("gemini", "project", project.join(".gemini/settings.json")),
        ("gemini", "user", user.join(".gemini/settings.json")),
    ]
}

fn world() -> World {
    let world = World::empty();
    std::fs::create_dir(world.path("user")).unwrap();
    std::fs::create_dir(world.path("project")).unwrap();
    world
}

#[test]
fn every_clients_file_is_written_once_it_is_agreed_to() {
    let world = world();
    let binary = assert_cmd::cargo::cargo_bin!("keywright").display().to_string();
    for (client, scope, file) in places(&world) {
        let args = [client, "--scope", scope, "--agent", "a", "--json"];
        for (more, change) in [("--dry-run", "dry_run"), ("--json", "pending")] {
            let answer = install(&world, &[&args[..], &[more]].concat()).expect(0).json();
            assert_eq!((answer["change"].as_str(), answer["written"].as_bool()), (Some(change), Some(false)));
            assert_eq!(answer["file"].as_str(), file.to_str());
            assert!(answer["snippet"].as_str().unwrap().contains(&binary));
            assert!(!file.exists(), "{client} {scope}: nobody agreed");
        }
        for (change, written) in [("made", true), ("none", false)] {
            let answer = install(&world, &[&args[..], &["--yes"]].concat()).expect(0).json();
            let got = (answer["change"].as_str(), answer["written"].as_bool());
            assert_eq!(got, (Some(change), Some(written)), "{client} {scope}");
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for word in [binary.as_str(), "mcp", "--agent", "KEYWRIGHT_HOME"] {
            assert!(text.contains(word), "{client} {scope}: {text}");
        }
        assert_eq!(
            only_name(file.parent().unwrap()),
            file.file_name().unwrap(),
            "nothing else is left there"
        );
    }
    for client in ["windsurf", "zed"] {
        install(&world, &[client, "--scope", "project"]).expect(2);
    }
}

/// The only file of a directory; directories do not count.
fn only_name(directory: &Path) -> std::ffi::OsString {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let names: Vec<_> = entries.filter(|e| e.file_type().unwrap().is_file()).map(|e| e.file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    names.into_iter().next().unwrap()
}

#[test]
fn what_others_wrote_stays_and_their_secrets_are_not_shown() {
    let world = world();
    let file = world.path("user/.claude.json");
    let secret = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    let before = format!(
        "{{\n  \"zebra\": 1,\n  \"mcpServers\": {{\n    \"x\": {{ \"env\": {{ \"T\": \"{secret}\" }} }}\n  }},\n  \"ant\": [2]\n}}\n"
    );
    std::fs::write(&file, &before).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(".claude.json", world.path("user/link.json")).unwrap();
    let ran = install(&world, &["claude-code", "--scope", "user"]).expect(0);
    assert!(ran.err.contains("+     \"keywright\": {") && !ran.err.contains(&secret), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    install(&world, &["claude-code", "--scope", "user", "--yes"]).expect(0);
    let after = std::fs::read_to_string(&file).unwrap();
    let mut rest = after.clone();
    let (start, end) = (after.find("\n    \"keywright\"").unwrap(), after.find(",\n    \"x\"").unwrap());
    rest.replace_range(start..=end, "");
    assert_eq!(rest, before, "only our lines are new: {after}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_file_that_can_not_be_changed_without_harm_is_left_alone() {
    let world = world();
    let table = [
        ("zed", ".config/zed/settings.json", "{\n  // dark\n  \"theme\": \"x\"\n}\n"),
        ("windsurf", ".codeium/windsurf/mcp_config.json", "{\"mcpServers\": []}"),
        ("gemini", ".gemini/settings.json", "{\"a\": 1,}"),
        ("codex", ".codex/config.toml", "mcp_servers = 1\n"),
    ];
    for (client, name, text) in table {
        let file = world.path("user").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        let ran = install(&world, &[client, "--yes"]).expect(7);
        assert!(ran.err.contains("left as it is") && ran.err.contains("add this"), "{client}: {}", ran.err);
        assert!(ran.err.contains("keywright") && ran.err.contains("--agent"), "{client}: {}", ran.err);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "{client}");
    }
}
