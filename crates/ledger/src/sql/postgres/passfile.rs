//! The file that passwords of PostgreSQL servers lie in, of the form that `psql` reads as well.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use zeroize::Zeroizing;

use super::address::Address;
use crate::error::{LedgerError, Result};

/// The password for an address, where there is a file with one: the one that the URL names, else that of `PGPASSFILE`,
/// else `~/.pgpass`.
pub(super) fn password(address: &Address) -> Result<Option<Zeroizing<String>>> {
    let by_variable = || std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let named = address.passfile.clone().or_else(by_variable);
    let usual = || std::env::home_dir().map(|home| home.join(".pgpass")).filter(|path| path.exists());
    let Some(path) = named.or_else(usual) else { return Ok(None) };
    let text = read(&path)?;
    Ok(text.lines().find_map(|line| fits(line, &address.config)))
}

fn read(path: &Path) -> Result<Zeroizing<String>> {
    let io = |error: std::io::Error| LedgerError::Io(format!("{}: {error}", path.display()));
    let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        let why = format!("{} holds passwords and can be read by others; chmod go-rwx it", path.display());
        return Err(LedgerError::Io(why));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(io)
}

/// `host:port:database:user:password`; `*` stands for anything, `\` before a colon takes its meaning away.
fn fits(line: &str, config: &Config) -> Option<Zeroizing<String>> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![Zeroizing::new(String::with_capacity(line.len()))];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let is_last = fields.len() == 5;
        match character {
            ':' if !is_last => fields.push(Zeroizing::new(String::with_capacity(line.len()))),
            '\\' => fields.last_mut()?.push(characters.next()?),
            other => fields.last_mut()?.push(other),
        }
    }
    let [host, port, database, user, password] = <[Zeroizing<String>; 5]>::try_from(fields).ok()?;
    let is = |field: &str, wanted: &str| field == "*" || field == wanted;
    let user_name = config.get_user().unwrap_or_default();
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.as_str(),
        Host::Unix(_) => "localhost",
    });
    let is_host = hosts.into_iter().any(|wanted| is(&host, wanted));
    let ports = config.get_ports();
    let is_port =
        if ports.is_empty() { is(&port, "5432") } else { ports.iter().any(|p| is(&port, &p.to_string())) };
    let fits =
        is_host && is_port && is(&database, config.get_dbname().unwrap_or(user_name)) && is(&user, user_name);
    fits.then_some(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &str, url: &str) -> Option<String> {
        let address: Address = url.parse().unwrap();
        lines.lines().find_map(|line| fits(line, &address.config)).map(|password| password.to_string())
    }

    #[test]
    fn the_first_line_that_fits_says_the_password() {
        let lines =
            "# db:5432:kw:kw:comment\ndb:5433:kw:kw:other port\ndb:*:kw:kw:p\\:a\\\\ss:word\n*:*:*:*:any";
        assert_eq!(found(lines, "postgres://kw@db/kw").as_deref(), Some("p:a\\ss:word"));
        assert_eq!(found(lines, "postgres://kw@db:5433/kw").as_deref(), Some("other port"));
        assert_eq!(found(lines, "postgres://me@db/kw").as_deref(), Some("any"));
        assert_eq!(
            found("localhost:5432:kw:kw:socket", "postgres://kw@%2Ftmp/kw").as_deref(),
            Some("socket")
        );
        assert_eq!(found("db:5432:kw:kw", "postgres://kw@db/kw"), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "*:*:*:*:hunter2").unwrap();
        let address: Address =
            format!("postgres://kw@localhost/kw?passfile={}", file.path().display()).parse().unwrap();
        assert_eq!(password(&address).unwrap().unwrap().as_str(), "hunter2");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let said = password(&address).unwrap_err().to_string();
        assert!(said.contains("chmod") && !said.contains("hunter2"), "{said}");
    }
}
