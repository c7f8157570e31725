//! What the names and ids of services are made of, and how a digest is written.

/// Whether it is 1 to `longest` letters, digits and these marks.
pub(crate) fn is_plain(text: &str, marks: &str, longest: usize) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || marks.as_bytes().contains(&b);
    (1..=longest).contains(&text.len()) && text.bytes().all(fits)
}

/// As [`is_plain`], with all letters in lower case.
pub(crate) fn is_lower(text: &str, marks: &str, longest: usize) -> bool {
    is_plain(text, marks, longest) && !text.bytes().any(|b| b.is_ascii_uppercase())
}

/// As [`is_plain`], with all letters in upper case.
pub(crate) fn is_upper(text: &str, marks: &str, longest: usize) -> bool {
    is_plain(text, marks, longest) && !text.bytes().any(|b| b.is_ascii_lowercase())
}

/// The longest part of a path: file systems take 255 bytes, and what is written first may have a longer name.
const LONGEST_PART: usize = 200;

/// Whether it is a path that means the same to a program, to a file system and to a shell.
pub(crate) fn is_path(path: &str, longest: usize) -> bool {
    let is_part = |part: &str| is_plain(part, "-_.@+", LONGEST_PART) && !part.starts_with(['.', '-']);
    path.len() <= longest && path.split('/').all(is_part)
}

/// As `3f2504e0-4f89-11d3-9a0c-0305e82c3301`.
pub(crate) fn is_uuid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    let fits = |(at, b): (usize, u8)| if dashes.contains(&at) { b == b'-' } else { b.is_ascii_hexdigit() };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

/// Bytes as hexadecimal digits, in lower case.
pub(crate) fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_characters_and_its_length() {
        for (text, plain, lower, upper) in [
            ("aB-1", true, false, false),
            ("ab-1", true, true, false),
            ("AB-1", true, false, true),
            ("a_1", false, false, false),
            ("", false, false, false),
            ("ä", false, false, false),
            ("12345", false, false, false),
        ] {
            let found = [is_plain, is_lower, is_upper].map(|is| is(text, "-", 4));
            assert_eq!(found, [plain, lower, upper], "{text}");
        }
        assert_eq!(hex(&[0, 0xa7]), "00a7");
        assert!(is_uuid("3f2504e0-4f89-11d3-9a0c-0305e82c3301"));
        assert!(!is_uuid("3f2504e04-f89-11d3-9a0c-0305e82c3301") && !is_uuid("3f2504e0"));
    }

    #[test]
    fn a_path_is_one_that_no_program_reads_otherwise() {
        for good in ["a", "web/dev/TOKEN", "web/a.b@c+d-e_f"] {
            assert!(is_path(good, 40), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/.git", "-m", "a/-f", "a b", "a$b", "a\nb", "ä"] {
            assert!(!is_path(bad, 40), "{bad}");
        }
        assert!(!is_path("web/dev", 6) && is_path(&"x".repeat(200), 400) && !is_path(&"x".repeat(201), 400));
    }
}
