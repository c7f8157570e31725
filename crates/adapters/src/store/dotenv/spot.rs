//! Reads a place: `PATH#VARIABLE`, or `PATH` alone, where the variable is the key's name.

use std::path::{Path, PathBuf};

use keywright_core::name::KeyName;

use super::trouble::Trouble;

/// What files may be called: nothing that a shell, a build or a browser would pick up by another name.
const NAMES: &str = "the file must be called `.env`, `.env.SOMETHING` or `SOMETHING.env`";

/// Files that are made to be shared, by custom.
const SHARED: &[&str] = &["example", "sample", "template", "dist", "defaults"];

/// One variable of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// The directory: absolute, or below the destination's base. No `.` or `..` in it.
    folder: PathBuf,
    /// The file's name in it.
    pub(super) file: String,
    pub(super) variable: KeyName,
}

impl Spot {
    /// Reads a place; `name` is the variable where the place names none.
    pub(super) fn parse(place: &str, name: Option<&KeyName>) -> Result<Self, Trouble> {
        let wrong =
            |why: &str| Trouble::Place(format!("{why}; write `PATH#VARIABLE`, as in `./.env#CF_TOKEN`"));
        let (path, variable) = match (place.split_once('#'), name) {
            (Some((path, variable)), _) => {
                (path, KeyName::parse(variable).map_err(|error| wrong(&error.to_string()))?)
            }
            (None, Some(name)) => (place, name.clone()),
            (None, None) => return Err(wrong("it names no variable")),
        };
        if path.starts_with('~') {
            return Err(wrong("`~` is not expanded here"));
        }
        if path.contains('\\') || path.chars().any(char::is_control) {
            return Err(wrong("the path holds a backslash or a control character"));
        }
        if path.split('/').any(|part| part == ".." || part.eq_ignore_ascii_case(".git")) {
            return Err(wrong("the path leads through `..` or `.git`"));
        }
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let file = parts.pop().filter(|_| !path.ends_with('/')).ok_or_else(|| wrong("it names no file"))?;
        let shared = file.rsplit('.').any(|part| SHARED.contains(&part.to_ascii_lowercase().as_str()));
        let allowed = file == ".env"
            || file.ends_with(".env")
            || file.strip_prefix(".env.").is_some_and(|s| !s.is_empty());
        if !allowed {
            return Err(wrong(NAMES));
        }
        if shared {
            return Err(wrong("example files are made to be shared"));
        }
        let mut folder = PathBuf::from(if path.starts_with('/') { "/" } else { "" });
        folder.extend(parts);
        Ok(Self { folder, file: file.to_owned(), variable })
    }

    /// Whether the path starts from the destination's base.
    pub(super) fn is_relative(&self) -> bool {
        self.folder.is_relative()
    }

    /// The one way of writing this place.
    pub(super) fn text(&self) -> String {
        let path = self.folder.join(&self.file);
        format!("{}{}#{}", if self.is_relative() { "./" } else { "" }, path.display(), self.variable)
    }

    /// The absolute directory of the file.
    pub(super) fn directory(&self, base: Option<&str>) -> Result<PathBuf, Trouble> {
        if !self.is_relative() {
            return Ok(self.folder.clone());
        }
        let base = base.map(Path::new).filter(|base| base.is_absolute()).ok_or_else(|| {
            Trouble::Place(
                "it is relative, and the directory that it starts from is not known; write an absolute path"
                    .into(),
            )
        })?;
        // Joining an empty path would add a slash.
        Ok(if self.folder.as_os_str().is_empty() { base.to_owned() } else { base.join(&self.folder) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(place: &str) -> Result<String, Trouble> {
        let name = KeyName::parse("NAME").unwrap();
        Spot::parse(place, Some(&name)).map(|spot| spot.text())
    }

    #[test]
    fn a_place_has_one_way_of_being_written() {
        let table = [
            (".env", "./.env#NAME"),
            ("./.env#X", "./.env#X"),
            ("././/a/./.env.local#X", "./a/.env.local#X"),
            ("a/prod.env", "./a/prod.env#NAME"),
            ("/a//b/.env#X", "/a/b/.env#X"),
            ("/.env", "/.env#NAME"),
        ];
        for (place, text) in table {
            assert_eq!(parse(place).unwrap(), text, "{place}");
            assert_eq!(parse(text).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_env_file_is_refused() {
        for bad in [
            "",
            "#X",
            ".env#",
            ".env#2X",
            ".env#A#B",
            "../.env",
            "a/../.env",
            ".env/",
            ".git/.env",
            "a/.GIT/x.env",
            ".envrc",
            ".env.",
            "env",
            "/etc/passwd",
            "~/.env",
            "a\\.env",
            ".env.example",
            "sample.env",
            ".bashrc#PATH",
        ] {
            assert!(matches!(parse(bad), Err(Trouble::Place(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_relative_place_needs_an_absolute_base() {
        let spot = Spot::parse("a/.env#X", None).unwrap();
        assert_eq!(spot.directory(Some("/p")).unwrap(), Path::new("/p/a"));
        assert!(spot.directory(Some("p")).is_err() && spot.directory(None).is_err());
        assert_eq!(Spot::parse("/q/.env#X", None).unwrap().directory(Some("/p")).unwrap(), Path::new("/q"));
    }
}
