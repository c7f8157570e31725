//! Words that mean the same at every provider: verbs, negations, small words, and words that only say who is asking.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use super::knowledge::Kind;

const READ: &str = "read who list show see view get fetch check inspect monitor watch export dump report audit count what which \
lookup look search find queri scrap describ inventori verifi compar tail graph investigat analyz brows \
poll observ visualiz know display examin track pull overview retriev discover enumerat observabiliti summariz visibiliti scan \
diff preview crawl consult fetcher reader viewer readonli visualis listen peek download learn prove evaluat estimat forecast predict detect spot trac profil sampl collect gather pull preview statistic statu status histori usag metric";
const CREATE: &str = "creat mak mint add new open issu order generat regist provision launch spin setup upload put push writ insert post publish \
send enqueu attach start submit schedul upsert stor sav ingest import install deploy invok trigger execut subscrib invit \
build copi restor emit plac produc fil append bootstrap seed populat host establish bak kick backport request tak introduc enrol alloc allocat commission buy purchas run record rais register spawn duplicat enroll reserv grant share deliver forward repli respond render recreat rebuild redeploy rerun retri recover redriv captur wak grab";
const UPDATE: &str = "updat chang edit modifi set enabl disabl turn toggl flip switch renam rotat bump adjust configur tun point assign rewrit renew \
resiz scal replac patch tweak paus resum lock unlock extend block unblock allow permit restart reboot stop merg clos reopen label mark pin promot \
increas lower rais limit map link swap customiz activat deactivat bypass proxi forc fix harden upgrad downgrad convert migrat mov transfer authoriz \
suspend archiv approv rol roll put rais decreas reduc protect restrict redirect rout rerout reconfigur overwrit reset maintain correct alter shift grow shrink unpaus snooz resolv triag enforc requir quarantin isolat ban rebas squash unban unarchiv appli deni amend reassign relabel reschedul relax demot elevat repair resync recheck reconnect bounc retir reactivat reenabl unmut mut silenc throttl unassociat associat";
const DELETE: &str = "delet remov drop purg clean prun revok destroy clear wip kill tear teardown unassign detach dismiss evict uninstall unregist deregist \
nuk eras trash cleanup gc terminat decommission unlink unset cancel abort delist expung empti rm get-rid rid throw unbind unmount discard deregister unregister expel unshar shut disassociat offboard forget";
const ANY: &str = "manag administ crud sync synchroniz handl control reconcil";

/// What a verb does; nothing for a word that is no verb.
pub(super) fn verb(stem: &str) -> &'static [Kind] {
    static VERBS: OnceLock<HashMap<&'static str, &'static [Kind]>> = OnceLock::new();
    let verbs = VERBS.get_or_init(|| {
        let lists: [(&str, &'static [Kind]); 6] = [
            (READ, &[Kind::Read]),
            (UPDATE, &[Kind::Update]),
            (CREATE, &[Kind::Create]),
            ("put", &[Kind::Create, Kind::Update]),
            (DELETE, &[Kind::Delete]),
            (ANY, &Kind::ALL),
        ];
        let each = |(list, kinds): (&'static str, &'static [Kind])| {
            list.split_ascii_whitespace().map(move |word| (word, kinds))
        };
        lists.into_iter().flat_map(each).collect()
    });
    verbs.get(stem).copied().unwrap_or_default()
}

/// Whether a list of words has one.
pub(super) fn holds(set: &'static OnceLock<HashSet<&'static str>>, list: &'static str, word: &str) -> bool {
    set.get_or_init(|| list.split_ascii_whitespace().collect()).contains(word)
}

/// What words do that are verbs only where a verb stands: `tag the disks`, but not `the tag of a disk`.
pub(super) fn verb_first(stem: &str) -> &'static [Kind] {
    match stem {
        "comment" | "tag" | "snapshot" | "fork" | "branch" | "dispatch" | "onboard" | "email" | "mount"
        | "bind" | "mirror" | "transcod" | "releas" | "hook" | "blocklist" => &[Kind::Create],
        "cap" | "encrypt" | "sign" | "tighten" | "loosen" | "strip" | "hid" | "expos" | "freez"
        | "unfreez" | "promot" | "cordon" | "rotat" | "secur" | "allowlist" | "steer" | "reload"
        | "refresh" => &[Kind::Update],
        "eject" => &[Kind::Delete],
        _ => &[],
    }
}

/// Words that look at something only when nothing else in the sentence does anything (`status`, `usage`).
pub(super) fn is_faint(stem: &str) -> bool {
    matches!(
        stem,
        "statistic"
            | "statu"
            | "status"
            | "histori"
            | "usag"
            | "metric"
            | "report"
            | "what"
            | "which"
            | "know"
            | "audit"
            | "inventori"
            | "overview"
            | "visibiliti"
            | "count"
            | "track"
            | "new"
            | "record"
            | "set"
            | "run"
            | "get"
            | "look"
            | "open"
            | "host"
            | "backup"
            | "plac"
            | "mark"
            | "link"
            | "map"
            | "limit"
            | "fil"
            | "mak"
            | "issu"
            | "order"
            | "control"
            | "start"
            | "queri"
            | "search"
            | "scan"
            | "preview"
    )
}

/// Verbs that are as often the name of a thing.
pub(super) fn is_noun_too(stem: &str) -> bool {
    const THINGS: &str = "list view look pull request resolv check monitor watch export dump report audit count search queri inventori statistic statu status histori usag metric track overview scan diff preview \
display tail order setup run record issu plac host file fil import build copi backup purchas alloc chang set turn flip switch point block permit stop clos label mark pin limit map link \
transfer archiv rout rol roll rais protect restrict redirect bypass lock purg drop clean flush cleanup kill invalidat control handl manag administ trash test log store stor sav schedul deploy \
publish produc plug scale scal patch trac profil sampl detect spot move forc proxi renew rewrit merg upgrad restart reboot submit post writ read open put upload upsert download add graph poll notifi upload share forward reserv captur retri rebuild grant bounc rerun wak grab recheck resync silenc redeploy throttl trigger sync invit";
    const VERBS: &str = "upload upsert add writ read put post download";
    static SET: OnceLock<HashSet<&'static str>> = OnceLock::new();
    static REST: OnceLock<HashSet<&'static str>> = OnceLock::new();
    holds(&SET, THINGS, stem) && !holds(&REST, VERBS, stem)
}

/// Those of them that open a sentence as a verb: `snapshot the disk`, but `build logs`.
pub(super) fn opens_as_verb(stem: &str) -> bool {
    const NOUNS: &str = "build record log run file fil host issu order stor stor view report stat statistic statu status search test set point map link plac control chang import check histori \
usag metric audit inventori overview poll graph stream store display alloc backup limit setup upload writ read schedul queri alert monitor trash plug patch";
    static SET: OnceLock<HashSet<&'static str>> = OnceLock::new();
    !holds(&SET, NOUNS, stem)
}

const SMALL: &str = "a an the of to for in on at is it we i my our and or with by from that thi be all need pleas let me so as onli can must \
should will would could just want giv us you your them they  im id ive hav has do doe did are was wer been than then ther her into onto \
via using us per each everi som any one two thing stuff way how when wher who why becaus sinc whil if but also too btw plu not no without \
never dont ever still yet alreadi now later today tomorrow yesterday up down out over under about lik etc eg ie ok okai hi hello hei thank \
key token api access permission credential agent bot script job tool app servic user team compani custom everyth someth our their own hi \
mai might abl our min myself thei thos thes its he she him her what which cloudflar github aw amazon digitalocean tailscal sendgrid openrout \
good real realli actual actualli basic basicalli simpl simpli quick quickli soon right again onli sam other anoth mor most less least much mani few lot \
work use wanna gonna gotta try help be being abl seem keep kept com cam go goe going went mean sur sorri actualli mayb perhap least \
prod production stag dev test nightli weekli daili hourli cron automat automaticali our befor after dur until till through within across between wir brauchen der das den ein ein und bitte für mit wer ich mir mein";

/// Words that say nothing about the thing.
pub(super) fn is_small(stem: &str) -> bool {
    static SET: OnceLock<HashSet<&'static str>> = OnceLock::new();
    holds(&SET, SMALL, stem)
}

/// Words that turn what follows into what is not wanted.
pub(super) fn negates(word: &str) -> bool {
    matches!(
        word,
        "noth"
            | "non"
            | "exclud"
            | "no"
            | "not"
            | "without"
            | "never"
            | "dont"
            | "doesnt"
            | "shouldnt"
            | "mustnt"
            | "wont"
            | "cannot"
            | "except"
            | "neither"
            | "nor"
            | "w/o"
            | "excluding"
            | "minus"
            | "nothing"
            | "nobodi"
            | "noon"
            | "isnt"
            | "arent"
            | "none"
            | "cant"
            | "mustn"
            | "avoid"
            | "pas"
            | "nicht"
            | "kein"
            | "keine"
            | "sans"
    )
}

/// What may follow a negation without being negated (`no longer`, `not only`).
pub(super) fn undoes_negation(word: &str) -> bool {
    matches!(
        word,
        "only"
            | "just"
            | "sure"
            | "working"
            | "matter"
            | "longer"
            | "idea"
            | "problem"
            | "worries"
            | "more"
            | "else"
            | "yet"
            | "know"
    )
}

/// Words that open a reason, a condition or a time: what is said there happens elsewhere.
pub(super) fn opens_aside(word: &str) -> bool {
    matches!(
        word,
        "because"
            | "since"
            | "when"
            | "whenever"
            | "if"
            | "while"
            | "after"
            | "before"
            | "as"
            | "until"
            | "so"
            | "unless"
            | "once"
            | "cuz"
            | "although"
            | "though"
    )
}

/// Words that bring in where something comes from or what it is for.
pub(super) fn opens_context(word: &str) -> bool {
    matches!(
        word,
        "from"
            | "for"
            | "by"
            | "via"
            | "over"
            | "against"
            | "existing"
            | "using"
            | "through"
            | "like"
            | "behind"
            | "inside"
            | "within"
            | "during"
    )
}

/// Conjunctions that join two things that are both asked for.
pub(super) fn joins(word: &str) -> bool {
    matches!(word, "and" | "then" | "plus" | "or" | "also" | "und" | "et" | "but" | "&" | "+")
}

/// Programs and places outside the provider that only receive or send what the job is about.
pub(super) fn is_elsewhere(stem: &str) -> bool {
    matches!(
        stem,
        "slack"
            | "pagerduti"
            | "grafana"
            | "prometheu"
            | "datadog"
            | "jenkin"
            | "splunk"
            | "excel"
            | "csv"
            | "spreadsheet"
            | "jira"
            | "notion"
            | "auditor"
            | "soc2"
            | "iso27001"
            | "siem"
            | "dashboard"
            | "opsgeni"
            | "teams"
            | "discord"
            | "zapier"
            | "n8n"
            | "bigqueri"
            | "snowflak"
            | "sentri"
            | "kibana"
    )
}

/// Kind words: the word after one of them is a name.
pub(super) fn names_next(stem: &str) -> Option<&'static str> {
    Some(match stem {
        "bucket" => "bucket",
        "tabl" => "table",
        "worker" => "worker",
        "function" => "function",
        "queue" | "queu" => "queue",
        "project" => "project",
        "tunnel" => "tunnel",
        "droplet" => "droplet",
        "repo" => "repo",
        "namespac" => "namespace",
        "db" => "database",
        "secret" => "secret",
        "param" => "param",
        "instanc" => "instance",
        "box" => "instance",
        "cluster" => "cluster",
        "topic" => "topic",
        "zon" => "zone",
        "domain" => "zone",
        "stream" => "stream",
        "index" => "index",
        "branch" => "branch",
        "servic" => "service",
        "rol" => "role",
        "user" => "user",
        "team" => "team",
        "volum" => "volume",
        "distribution" => "distribution",
        "pool" => "pool",
        "site" => "site",
        "script" => "worker",
        "devic" => "device",
        "environment" | "env" => "environment",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tokens::stem;
    use super::{ANY, CREATE, DELETE, READ, SMALL, UPDATE};

    /// A word that is not its own stem would never be met.
    #[test]
    fn each_word_is_its_own_stem() {
        let lists = [ANY, CREATE, DELETE, READ, SMALL, UPDATE];
        let words = lists.iter().flat_map(|list| list.split_ascii_whitespace());
        // `clos` is the stem of `close`, though it would be cut again.
        let lost: Vec<&str> =
            words.filter(|word| stem(word) != **word && stem(&format!("{word}e")) != **word).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}
