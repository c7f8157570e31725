//! Text to tokens: words in one spelling, so that what people write and what the knowledge files say meet.

/// One word of a text, cut to its stem.
pub(super) fn stem(word: &str) -> String {
    let word = canonical(word);
    if matches!(word, "managed" | "status" | "acme" | "cloudflared")
        || word.len() <= 3
        || word.ends_with("ss")
        || word.ends_with("us")
        || word.ends_with("is")
    {
        return word.to_owned();
    }
    let mut cut = word;
    if let Some(rest) = cut.strip_suffix("ies").filter(|rest| rest.len() >= 2) {
        return format!("{rest}i");
    }
    if let Some(rest) = cut.strip_suffix('s') {
        cut = rest;
    }
    for ending in ["ing", "ed"] {
        if let Some(rest) = cut.strip_suffix(ending).filter(|rest| rest.len() >= 3 && has_vowel(rest)) {
            cut = undoubled(rest);
            break;
        }
    }
    if cut.len() > 3 {
        cut = cut.strip_suffix('e').unwrap_or(cut);
    }
    match cut.strip_suffix('y').filter(|rest| rest.len() >= 2 && !ends_in_vowel(rest)) {
        Some(rest) => format!("{rest}i"),
        None => cut.to_owned(),
    }
}

fn has_vowel(word: &str) -> bool {
    word.contains(['a', 'e', 'i', 'o', 'u', 'y'])
}

fn ends_in_vowel(word: &str) -> bool {
    word.ends_with(['a', 'e', 'i', 'o', 'u'])
}

fn undoubled(word: &str) -> &str {
    let mut letters = word.chars().rev();
    match (letters.next(), letters.next()) {
        (Some(last), Some(before)) if last == before && !matches!(last, 'l' | 's' | 'z') => {
            word.get(..word.len() - last.len_utf8()).unwrap_or(word)
        }
        _ => word,
    }
}

/// Short forms and other spellings of one word.
fn canonical(word: &str) -> &str {
    match word {
        "cert" | "certs" | "certificates" | "certificate" => "cert",
        "repo" | "repos" | "repository" | "repositories" => "repo",
        "org" | "orgs" | "organisation" | "organisations" | "organizations" | "organization" => "org",
        "config" | "configs" | "configuration" | "configurations" | "conf" => "config",
        "env" | "envs" | "environment" | "environments" => "env",
        "var" | "vars" | "variables" | "variable" => "var",
        "param" | "params" | "parameters" | "parameter" => "param",
        "db" | "dbs" | "database" | "databases" => "db",
        "msg" | "msgs" | "messages" | "message" => "message",
        "acct" | "accounts" | "account" => "account",
        "img" | "imgs" | "images" | "image" => "image",
        "k8s" | "kube" => "kubernetes",
        "fn" | "fns" | "func" | "functions" | "function" | "lambdas" => "function",
        "dynamo" | "ddb" => "dynamodb",
        "lb" | "lbs" | "loadbalancer" | "loadbalancers" => "lb",
        "pr" | "prs" => "pr",
        "authn" | "authentication" | "auth" => "auth",
        "pg" | "postgre" | "postgresql" => "postgres",
        "whitelist" | "whitelisting" => "allowlist",
        "blacklist" => "blocklist",
        "behaviour" => "behavior",
        "centre" => "center",
        "mails" | "mail" | "emails" | "email" | "e-mail" => "email",
        "logpush" => "logpush",
        "ips" | "ip" => "ip",
        "dependancy" => "dependency",
        "stats" | "statistics" | "stat" => "statistic",
        "info" | "information" | "infos" => "info",
        "subs" | "subscriptions" => "subscription",
        "vms" | "vm" => "vm",
        "ids" => "id",
        "videos" | "vids" => "video",
        "pics" | "pictures" | "photos" | "picture" | "photo" | "pic" => "picture",
        "analyse" | "analyze" => "analyz",
        "authorise" => "authoriz",
        "optimise" => "optimiz",
        "customise" => "customiz",
        "catalogue" => "catalog",
        "colour" => "color",
        "russia" | "china" | "iran" | "brazil" | "vietnam" | "germany" | "france" | "india" | "ukraine"
        | "korea" | "countries" => "country",
        "pls" | "plz" => "please",
        "w" => "with",
        "zertifikat" | "zertifikate" | "certificat" | "certificats" | "certificado" | "certificados" => {
            "cert"
        }
        "subir" | "hochladen" | "téléverser" | "caricare" => "upload",
        "aufrufen" | "appeler" | "invocar" => "invoke",
        "eintrag" | "einträge" | "enregistrement" | "enregistrements" | "registro" | "registros" => "record",
        "herunterladen" | "descargar" | "télécharger" => "download",
        "archivos" | "fichiers" | "dateien" => "files",
        "vider" | "leeren" | "vaciar" | "limpiar" | "svuotare" => "purge",
        "ajouter" | "creer" | "créer" | "anlegen" | "hinzufügen" | "erstellen" | "crear" | "agregar"
        | "criar" | "aggiungere" => "create",
        "supprimer" | "löschen" | "eliminar" | "borrar" | "entfernen" | "cancellare" => "delete",
        "liste" | "lista" => "list",
        "lister" | "anzeigen" | "lesen" | "leer" | "listar" | "mostrar" | "lire" | "auflisten"
        | "afficher" => "show",
        "modifier" | "ändern" | "actualizar" | "aktualisieren" | "cambiar" | "bearbeiten" => "update",
        other => other,
    }
}

/// The stems of a text without punctuation: how phrases of the knowledge files are read.
pub(super) fn stems(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let stem = stem(&word.to_lowercase());
        // One thing, two words.
        if stem == "request" && out.last().is_some_and(|before| before == "pull") {
            out.pop();
            out.push("pr".to_owned());
        } else {
            out.push(stem);
        }
    }
    out
}

/// The parts of `camelCase`; other words come back whole.
pub(super) fn camel_parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut after_lower = false;
    for (at, letter) in word.char_indices() {
        if letter.is_uppercase() && after_lower {
            parts.extend(word.get(start..at));
            start = at;
        }
        after_lower = letter.is_lowercase();
    }
    parts.extend(word.get(start..).filter(|rest| !rest.is_empty()));
    parts
}

/// Longer words are not compared letter by letter.
const LONGEST: usize = 26;

/// The letters of a word without its doubled consonants.
fn single(word: &[char]) -> impl Iterator<Item = char> + '_ {
    let mut before = None;
    word.iter().copied().filter(move |letter| {
        let doubled = before == Some(*letter) && !matches!(letter, 'a' | 'e' | 'i' | 'o' | 'u');
        before = Some(*letter);
        !doubled
    })
}

/// Whether two neighbours of `one` changed places.
fn swapped(one: &[char], other: &[char]) -> bool {
    let mut differ = one.iter().zip(other).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
    match (differ.next(), differ.next(), differ.next()) {
        (Some(first), Some(second), None) if one.len() == other.len() && second == first + 1 => {
            one.get(first) == other.get(second) && one.get(second) == other.get(first)
        }
        _ => false,
    }
}

/// Which letters a word has.
fn letters(word: &[char]) -> u32 {
    word.iter().fold(0, |all, letter| all | 1 << (u32::from(*letter) % 32))
}

/// Whether two words differ by no more typing slips than their length forgives. A slip is a letter too many, too few,
/// another one, or two that changed places.
pub(super) fn slips(one: &[char], other: &[char]) -> Option<usize> {
    if one.first() != other.first() {
        return None;
    }
    if single(one).eq(single(other)) {
        return Some(1);
    }
    let forgiven = match one.len().max(other.len()) {
        0..=3 => return None,
        4 => return swapped(one, other).then_some(1),
        5..=7 => 1,
        8..=LONGEST => 2,
        _ => return None,
    };
    // Each slip brings in one letter at most.
    let (ours, theirs) = (letters(one), letters(other));
    let apart = (ours & !theirs).count_ones().max((theirs & !ours).count_ones());
    if one.len().abs_diff(other.len()) > forgiven || apart as usize > forgiven {
        return None;
    }
    distance(one, other).filter(|distance| *distance <= forgiven)
}

fn distance(one: &[char], other: &[char]) -> Option<usize> {
    let mut before = [0_usize; LONGEST + 1];
    let mut above = [0_usize; LONGEST + 1];
    for (column, cell) in above.iter_mut().enumerate() {
        *cell = column;
    }
    for (row, ours) in one.iter().enumerate() {
        let mut line = [0_usize; LONGEST + 1];
        *line.first_mut()? = row + 1;
        for (column, theirs) in other.iter().enumerate() {
            let mut best = (above.get(column)? + usize::from(ours != theirs))
                .min(above.get(column + 1)? + 1)
                .min(line.get(column)? + 1);
            let swapped = row > 0
                && column > 0
                && one.get(row - 1) == Some(theirs)
                && other.get(column - 1) == Some(ours);
            if swapped {
                best = best.min(before.get(column - 1)? + 1);
            }
            *line.get_mut(column + 1)? = best;
        }
        before = above;
        above = line;
    }
    above.get(other.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_word_meet() {
        for (one, other) in [
            ("caching", "cache"),
            ("purged", "purge"),
            ("policies", "policy"),
            ("certificates", "cert"),
            ("running", "run"),
            ("routes", "routing"),
            ("deploys", "deploy"),
            ("tagged", "tag"),
            ("emails", "mail"),
        ] {
            assert_eq!(stem(one), stem(other), "{one} {other}");
        }
        for word in ["dns", "access", "status", "kms", "sns"] {
            assert_eq!(stem(word), word);
        }
    }

    #[test]
    fn a_slip_is_forgiven_by_length() {
        let letters = |word: &str| word.chars().collect::<Vec<char>>();
        for (one, other, close) in [
            ("wrokers", "workers", true),
            ("certifcate", "certificate", true),
            ("bot", "boot", false),
            ("zone", "zome", false),
            ("purge", "merge", false),
            ("template", "tempalte", true),
        ] {
            assert_eq!(slips(&letters(one), &letters(other)).is_some(), close, "{one} {other}");
        }
    }
}
