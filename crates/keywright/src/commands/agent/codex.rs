//! Codex keeps its servers in TOML: one table is put in, and everything else stays as it is, comments included.

use serde_json::Value;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value as Toml, value};

use super::client::NAME;

const SERVERS: &str = "mcp_servers";

/// Puts our server into a file's text. `None` when that is not TOML, or servers are no table in it.
pub(super) fn put(text: &str, server: &Value) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let servers = document.entry(SERVERS).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let is_table = servers.is_table();
    let servers = servers.as_table_like_mut()?;
    if !servers.get(NAME).is_some_and(is_program) {
        servers.insert(NAME, if is_table { Item::Table(Table::new()) } else { value(InlineTable::new()) });
    }
    fill(servers.get_mut(NAME)?.as_table_like_mut()?, server)?;
    Some(document.to_string())
}

/// Whether an entry is a table that starts a program, as ours does. One that names an address is replaced whole.
fn is_program(entry: &Item) -> bool {
    entry.as_table_like().is_some_and(|table| !table.contains_key("url"))
}

fn fill(table: &mut dyn TableLike, server: &Value) -> Option<()> {
    let command = server.get("command")?.as_str()?;
    if table.get("command").and_then(Item::as_str) != Some(command) {
        set(table, "command", command.into());
    }
    let args: Vec<&str> = server.get("args")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let is_same = |there: &Array| there.iter().map(|arg| arg.as_str()).eq(args.iter().copied().map(Some));
    if !table.get("args").and_then(Item::as_array).is_some_and(is_same) {
        set(table, "args", args.iter().copied().collect::<Array>().into());
    }
    let variables = server.get("env").and_then(Value::as_object);
    for (name, text) in variables.into_iter().flatten() {
        let env = table.entry("env").or_insert(value(InlineTable::new())).as_table_like_mut()?;
        let text = text.as_str()?;
        if env.get(name).and_then(Item::as_str) != Some(text) {
            set(env, name, text.into());
        }
    }
    Some(())
}

/// Sets a value and keeps the comments around it.
fn set(table: &mut dyn TableLike, name: &str, mut new: Toml) {
    match table.get_mut(name) {
        Some(item) => {
            if let Some(old) = item.as_value() {
                *new.decor_mut() = old.decor().clone();
            }
            *item = Item::Value(new);
        }
        None => {
            table.insert(name, Item::Value(new));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comments_order_and_what_others_wrote_stay() {
        let server = json!({ "command": "kw", "args": ["mcp"], "env": { "H": "h" } });
        let ours = "[mcp_servers.keywright]\ncommand = \"kw\"\nargs = [\"mcp\"]\nenv = { H = \"h\" }\n";
        let theirs = "# mine\nmodel = \"x\" # best\n\n[mcp_servers.other]\ncommand = \"o\"\n";
        assert_eq!(put("", &server).unwrap(), ours);
        assert_eq!(put(theirs, &server).unwrap(), format!("{theirs}\n{ours}"));
        assert_eq!(put(ours, &server).unwrap(), ours, "twice is once");
        let old =
            "[mcp_servers.keywright]\n# why\ncommand = \"old\" # here\nargs = []\nstartup_timeout_sec = 9\n";
        let new = put(old, &server).unwrap();
        for kept in ["# why\ncommand = \"kw\" # here\n", "startup_timeout_sec = 9\n", "args = [\"mcp\"]\n"] {
            assert!(new.contains(kept), "{new}");
        }
        let inline = put("mcp_servers = { other = { command = \"o\" } }\n", &server).unwrap();
        let read: DocumentMut = inline.parse().unwrap();
        assert_eq!(read["mcp_servers"]["keywright"]["command"].as_str(), Some("kw"), "{inline}");
        let remote = put("[mcp_servers.keywright]\nurl = \"https://x\"\n", &server).unwrap();
        assert_eq!(remote, ours);
        for bad in ["not toml at all", "mcp_servers = 1"] {
            assert_eq!(put(bad, &server), None, "{bad}");
        }
    }
}
