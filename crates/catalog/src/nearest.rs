//! Names that come close to a misspelt one, for hints.

/// Longer names get no hint by spelling: nobody mistypes them, and the comparison is quadratic.
const LONGEST: usize = 80;

/// The names within a few typing mistakes of `asked`, best first, without repeats.
pub(crate) fn nearest<'a>(asked: &str, names: impl Iterator<Item = &'a str>, limit: usize) -> Vec<&'a str> {
    let asked: Vec<char> = asked.to_lowercase().chars().take(LONGEST + 1).collect();
    if asked.len() > LONGEST {
        return Vec::new();
    }
    let tolerance = 1 + asked.len() / 6;
    let mut close: Vec<(usize, &str)> = names
        .filter(|name| name.len().abs_diff(asked.len()) <= tolerance)
        .map(|name| (distance(&asked, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= tolerance)
        .collect();
    close.sort_unstable();
    close.dedup();
    close.into_iter().take(limit).map(|(_, name)| name).collect()
}

/// The Levenshtein distance, one row of the table at a time.
fn distance(one: &[char], other: &str) -> usize {
    let mut row: Vec<usize> = (0..=one.len()).collect();
    for (line, theirs) in other.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, ours) in row.iter_mut().skip(1).zip(one) {
            let replaced = diagonal + usize::from(*ours != theirs);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_levenshteins() {
        for (one, other, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("dns", "dns", 0), ("flaw", "lawn", 2)]
        {
            let letters: Vec<char> = one.chars().collect();
            assert_eq!(distance(&letters, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn a_slip_finds_its_name_and_nonsense_finds_none() {
        let names = ["DNS Write", "DNS Read", "Zone Write"];
        assert_eq!(nearest("DNS Wirte", names.into_iter(), 3), ["DNS Write"]);
        assert_eq!(nearest("dns write", names.into_iter(), 3), ["DNS Write"]);
        assert_eq!(nearest("everything", names.into_iter(), 3), [""; 0]);
        assert_eq!(nearest(&"x".repeat(5000), names.into_iter(), 3), [""; 0]);
    }
}
