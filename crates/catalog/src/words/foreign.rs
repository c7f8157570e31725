//! Texts in other languages: little of them is understood, so that what is not said in English changes nothing by default.

use super::hear::{Heard, Word};
use super::lexicon::verb;

/// Small words of English that none of its neighbours has.
const ENGLISH: &str = "the of to for with our my by from into that please need needs is are and it its at this which every when should must \
can we you your their these those because before after while each any some have has not only";

/// Small words of its neighbours that it does not have.
const ABROAD: &str = "von vom zum zur der das den dem une les des du aux dans pour avec el los las del por para con il gli della delle di \
het een voor van os um uma og och fur f\u{fc}r bitte aus bei oder auf";

/// Words for `only`, `without`, `not` in languages that people write in.
const ONLY: &str = "sans ohne sin senza zonder sem bez nur bloss blo\u{df} lediglich seulement uniquement solo s\u{f3}lo solamente \
\u{fa}nicamente soltanto alleen apenas somente tylko nicht nichts kein keine keinen pas rien jamais nunca mai niet geen n\u{e3}o nie \
\u{442}\u{43e}\u{43b}\u{44c}\u{43a}\u{43e} \u{43d}\u{435} \u{431}\u{435}\u{437} lectura lecture lettura leitura nurlesen lesend leserecht";

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

fn holds(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|one| one == word)
}

/// Whether a word shows that the text is English.
pub(super) fn is_english(text: &str) -> bool {
    words(text).any(|word| holds(ENGLISH, &word))
}

/// Whether more words of a text are strange than known.
pub(super) fn mostly_unknown(heard: &Heard) -> bool {
    let words =
        || heard.words.iter().filter(|word| !word.named && !matches!(word.stem.as_str(), "ahost" | "apath"));
    let known = |word: &&Word| word.number.is_some() && word.trust >= 1.0 || !verb(&word.stem).is_empty();
    let strange = words().filter(|word| !known(word) && word.stem.chars().any(char::is_alphabetic)).count();
    let said = words().any(|word| holds(ABROAD, &word.stem));
    said || strange > words().filter(known).count()
}

/// Whether a text in another language forbids something: then it only reads, whatever it is that it forbids.
pub(super) fn forbids_abroad(text: &str) -> bool {
    !is_english(text) && words(text).any(|word| holds(ONLY, &word))
        || ["\u{3060}\u{3051}", "\u{306e}\u{307f}", "\u{53ea}\u{8bfb}", "\u{4ec5}", "\u{53ea}\u{80fd}"]
            .iter()
            .any(|only| text.contains(only))
}
