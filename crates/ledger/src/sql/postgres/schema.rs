//! The schema in PostgreSQL: our migrations in its dialect, and what is there held against what they make.

use keywright_core::text::escaped;

use super::SCHEMA;
use super::session::Session;
use crate::error::Result;
use crate::migrations;
use crate::sql::Row;

/// One thing in a schema: its kind, its name, and all that matters of it.
type Item = (String, String, String);

/// Statements of the dialect that both engines share, as PostgreSQL takes them. Text is compared byte by byte, as in SQLite
/// and whatever the database's language is.
pub(super) fn dialect(sql: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(sql.len() + 512);
    let mut rest = sql;
    while let Some(start) = rest.find(is_word) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
        out.push_str(before);
        out.push_str(match word {
            "INTEGER" => "BIGINT",
            "TEXT" => "TEXT COLLATE \"C\"",
            other => other,
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What a schema has that the migrations did not make, or lacks of what they made: a trigger, a rule, a policy or a constraint
/// of somebody else's would have statements do other things than they say.
pub(super) fn foreign(own: &[Item], session: &Session) -> Result<Option<String>> {
    let found = describe(session, &format!("'{SCHEMA}'::regnamespace"))?;
    let unknown = found.iter().find(|item| !own.contains(item)).map(|item| (item, "is not Keywright's"));
    let missing =
        own.iter().find(|item| !found.contains(item)).map(|item| (item, "is missing or was changed"));
    Ok(unknown.or(missing).map(|((kind, name, _), what)| format!("{kind} `{}` {what}", escaped(name))))
}

/// What the migrations make on this very server, as its own words for it differ between versions: they run on temporary
/// tables, which nobody else sees, and are taken back.
pub(super) fn own(session: &Session) -> Result<Vec<Item>> {
    session.batch("BEGIN; SET LOCAL search_path = pg_temp")?;
    let made = migrations::all().try_for_each(|migration| session.batch(&dialect(migration)));
    let described = made.and_then(|()| describe(session, "pg_my_temp_schema()"));
    session.batch("ROLLBACK")?;
    described
}

fn describe(session: &Session, schema: &str) -> Result<Vec<Item>> {
    let sql = DESCRIBE.replace("{schema}", schema);
    let rows = session.query(&sql, &[])?;
    rows.iter().map(item).collect()
}

fn item(row: &Row) -> Result<Item> {
    Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned()))
}

/// All that can be in a schema and have a say in what statements do.
const DESCRIBE: &str = r"
WITH ours AS (SELECT c.* FROM pg_class c WHERE c.relnamespace = {schema}),
found (kind, name, what) AS (
  SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'i' THEN 'index' WHEN 'v' THEN 'view' ELSE 'relation' END, c.relname::text,
         concat_ws(' ', c.relkind, c.relpersistence = 'u', c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
                   c.relpersistence <> 't' AND pg_get_userbyid(c.relowner) <> current_user)
    FROM ours c WHERE c.relkind <> 'i'
  UNION ALL
  SELECT 'column', c.relname || '.' || a.attname,
         concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                   (SELECT collname FROM pg_collation WHERE oid = a.attcollation), pg_get_expr(d.adbin, d.adrelid))
    FROM ours c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE c.relkind <> 'i'
  UNION ALL
  SELECT 'constraint', r.conname, concat_ws(' ', c.relname, pg_get_constraintdef(r.oid), r.convalidated)
    FROM ours c JOIN pg_constraint r ON r.conrelid = c.oid
  UNION ALL
  SELECT 'index', i.relname,
         concat_ws(' ', pg_get_indexdef(x.indexrelid), x.indisvalid,
                   x.indisready, x.indislive)
    FROM ours c JOIN pg_index x ON x.indrelid = c.oid JOIN pg_class i ON i.oid = x.indexrelid
  UNION ALL
  SELECT 'trigger', t.tgname, concat_ws(' ', c.relname, t.tgenabled)
    FROM ours c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal OR t.tgenabled <> 'O'
  UNION ALL
  SELECT 'rule', w.rulename, c.relname FROM ours c JOIN pg_rewrite w ON w.ev_class = c.oid
  UNION ALL
  SELECT 'policy', p.polname, c.relname FROM ours c JOIN pg_policy p ON p.polrelid = c.oid
  UNION ALL
  SELECT 'heir', h.relname, c.relname
    FROM ours c JOIN pg_inherits n ON n.inhparent = c.oid JOIN pg_class h ON h.oid = n.inhrelid WHERE c.relkind <> 'i'
  UNION ALL
  SELECT 'function', p.proname, '' FROM pg_proc p WHERE p.pronamespace = {schema}
  UNION ALL
  SELECT 'operator', o.oprname, '' FROM pg_operator o WHERE o.oprnamespace = {schema}
  UNION ALL
  SELECT 'type', t.typname, '' FROM pg_type t WHERE t.typnamespace = {schema} AND t.typrelid = 0 AND t.typelem = 0
)
SELECT kind::text, name::text, replace(replace(what, {schema}::regnamespace || '.', ''), 'pg_temp.', '') FROM found ORDER BY 1, 2, 3";

#[cfg(test)]
mod tests {
    use super::dialect;

    #[test]
    fn types_are_put_into_postgres_words_and_nothing_else_is() {
        let shared =
            "CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER NOT NULL, text_like BYTEA, at BIGINT); -- TEXTS";
        let own = "CREATE TABLE t (id TEXT COLLATE \"C\" PRIMARY KEY, n BIGINT NOT NULL, text_like BYTEA, at BIGINT); -- TEXTS";
        assert_eq!(dialect(shared), own);
    }
}
