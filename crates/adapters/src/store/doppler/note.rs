//! The line in a secret's note that says whose value it is.
//!
//! A note is shared by the configs of a project, so each has its own line below what people wrote:
//! ```text
//! keywright dev: plc_... kw-... 1f2e3d4c
//! ```

use crate::store::remote::Stamp;

fn start(config: &str) -> String {
    format!("keywright {config}: ")
}

/// The stamp of a config.
pub(super) fn stamp(note: &str, config: &str) -> Option<Stamp> {
    let start = start(config);
    note.lines().find_map(|line| Stamp::parse(line.strip_prefix(&start)?.trim_end()))
}

/// The note with this stamp as the only one of its config.
pub(super) fn with(note: &str, config: &str, stamp: &Stamp) -> String {
    let rest = without(note, config);
    let gap = if rest.is_empty() { "" } else { "\n" };
    format!("{rest}{gap}{}{}", start(config), stamp.text())
}

/// The note without a stamp of this config.
pub(super) fn without(note: &str, config: &str) -> String {
    let start = start(config);
    let kept: Vec<&str> = note.lines().filter(|line| !line.starts_with(&start)).collect();
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "keywright dev: plc_00000000000070008000070707070707 kw-abcd-aab-x-1 01020304";

    #[test]
    fn a_line_comes_and_goes_and_the_rest_stays() {
        let stamp = stamp(LINE, "dev").unwrap();
        assert_eq!(super::stamp(LINE, "dev2"), None);
        for text in ["", "for the web team", "two\nlines", "keywright prd: plc_x"] {
            let with = with(text, "dev", &stamp);
            assert_eq!(super::stamp(&with, "dev").as_ref(), Some(&stamp));
            assert_eq!(super::with(&with, "dev", &stamp), with, "once");
            assert_eq!(without(&with, "dev"), text);
        }
    }
}
