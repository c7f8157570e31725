//! Names of zones that look like others: how to show them, and what they imitate.

use keywright_core::text::Untrusted;
use unicode_security::skeleton;
use url::{Host, quirks};

/// The most characters of a name that are shown.
const MOST_SHOWN: usize = 253;

/// The name in ASCII, so that it can't be taken for another one: in punycode, or escaped where it is no name at all.
pub(super) fn plain(name: &str) -> String {
    punycode(name).unwrap_or_else(|| escaped(name))
}

/// What helps with a name that is none of these zones': the zone that it imitates, or how to write it.
pub(super) fn hint(name: &str, zones: &[&str]) -> Option<String> {
    let shown = |zone: &str| Untrusted::capped(&plain(zone), MOST_SHOWN).to_string();
    let ascii = plain(name);
    if let Some(zone) = zones.iter().find(|zone| zone.eq_ignore_ascii_case(&ascii)) {
        return Some(format!("; it looks like `{}`, which exists: write it that way", shown(zone)));
    }
    let asked = look(name);
    if let Some(zone) = zones.iter().find(|zone| look(zone) == asked) {
        let differs = differs(name, zone).map(|how| format!(" ({how})")).unwrap_or_default();
        return Some(format!("; it only looks like `{}`, which exists{differs}", shown(zone)));
    }
    (!name.is_ascii()).then(|| "; write the name in punycode (`xn--...`)".to_owned())
}

/// Where a name first differs from the zone that it looks like, by code points: in ASCII both may be shown alike.
fn differs(name: &str, zone: &str) -> Option<String> {
    let unicode = |text: &str| match text.to_ascii_lowercase().contains("xn--") {
        true => quirks::domain_to_unicode(text),
        false => text.to_lowercase(),
    };
    let (name, zone) = (unicode(name), unicode(zone));
    let (mut own, mut theirs) = (name.chars(), zone.chars());
    for place in 1.. {
        return match (own.next(), theirs.next()) {
            (None, None) => None,
            (one, other) if one == other => continue,
            (one, other) => {
                let point =
                    |c: Option<char>| c.map_or("its end".to_owned(), |c| format!("U+{:04X}", u32::from(c)));
                Some(format!("character {place} is {}, and there it is {}", point(one), point(other)))
            }
        };
    }
    None
}

/// What a name looks like to a person (Unicode TR 39, skeleton), whatever its case, and also when it is in punycode.
fn look(name: &str) -> String {
    let decoded = match name.to_ascii_lowercase().contains("xn--") {
        true => quirks::domain_to_unicode(name),
        false => String::new(),
    };
    let seen = if decoded.is_empty() { name } else { &decoded };
    skeleton(&seen.to_lowercase()).collect()
}

/// The name as the name system knows it (UTS 46); `None` when it is no name, or ASCII already.
fn punycode(name: &str) -> Option<String> {
    match (name.is_ascii(), Host::parse(name)) {
        (false, Ok(Host::Domain(ascii))) => Some(ascii),
        _ => None,
    }
}

fn escaped(name: &str) -> String {
    let one = |c: char| if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() };
    name.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_in_ascii() {
        for (name, shown) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com", "EXAMPLE.com"),
            ("\u{435}xample.com", "xn--xample-2of.com"),
            ("m\u{fc}ller.example", "xn--mller-kva.example"),
            ("\u{202e}moc.elpmaxe", "\\u{202e}moc.elpmaxe"),
            ("\u{435} b.com", "\\u{435} b.com"),
        ] {
            assert_eq!(plain(name), shown);
        }
    }

    #[test]
    fn the_hint_names_the_zone_that_is_imitated() {
        let zones = ["shop.example.com", "example.com", "xn--mller-kva.example"];
        for imitation in [
            "\u{435}xample.com",
            "EXAMPL\u{415}.com",
            "examp1e.com",
            "xn--xample-2of.com",
            "\u{ff45}xample\u{3002}com",
        ] {
            let said = hint(imitation, &zones).unwrap_or_else(|| panic!("{imitation}"));
            assert!(said.contains("looks like `example.com`"), "{imitation}: {said}");
        }
        let said = hint("examp1e.com", &zones).unwrap();
        assert!(said.ends_with("(character 6 is U+0031, and there it is U+006C)"), "{said}");
        // A zone's own name in another form imitates nothing; one with other letters does.
        for (own, zone) in [("m\u{fc}ller.example", zones[2]), ("\u{ff45}xample\u{3002}com", zones[1])] {
            assert_eq!(
                hint(own, &zones).unwrap(),
                format!("; it looks like `{zone}`, which exists: write it that way")
            );
        }
        let imitated = hint("m\u{fc}ll\u{435}r.example", &zones).unwrap();
        assert!(imitated.contains("looks like `xn--mller-kva.example`"), "{imitated}");
        assert_eq!(hint("other.org", &zones), None);
        assert!(hint("\u{43f}\u{440}.org", &zones).unwrap().contains("punycode"));
    }
}
