//! Every command: for an operator, in words and as JSON, and for somebody who can prove nothing.

use std::collections::BTreeSet;
use std::process::Command;

use crate::agent::{Agent, ERAS};
use crate::cases::ask;
use crate::ground::Ground;
use crate::search::Search;
use crate::support::{BOBS, PASSPHRASE, Ran, World, bare};

/// A line each: the exit code, with a star where a session is not enough, and the words. `{n}` is another one in each
/// round.
const COMMANDS: &str = "
    0  status
    0  status --short
    0  doctor
    2* provider add cloudflare --name empty
    6* provider add cloudflare --name closed --account {account} --base-url http://127.0.0.1:9 --credential-file {parent}
    0  help key
    7* audit accept
    0  provider kinds
    0  provider list
    0  provider check cf
    7* provider remove cf
    6* provider replace-parent cf --credential-file {hook}
    0* store add dotenv --name store-{n}
    0  store kinds vault
    0  store list
    0  store check embedded
    0* store remove store-{n}
    0* consumer add app-{n} --project web --only CF_* --command /bin/sh -c true
    2* consumer add bad-{n} --project web --webhook http://example.com --credential-file {hook}
    0* consumer add hook-{n} --project other --webhook http://127.0.0.1:9/x --credential-file {hook}
    0  consumer list
    0* consumer test app-{n}
    6* consumer test hook-{n}
    0* consumer remove app-{n}
    0* consumer remove hook-{n}
    2* notify add pager --name bad-{n}
    2* notify add slack --name slack-{n} --credential-file {hook}
    0* notify add slack --name slack-{n} --credential-file {slack}
    0* notify add ntfy --name ntfy-{n} --credential-file {ntfy} --after 15m --with-purpose
    0* notify add email --name mail-{n} --server smtp://127.0.0.1:9 --from kw@example.com --to ana@example.com --user kw --credential-file {carols}
    0* notify add webhook --name url-{n} --url http://127.0.0.1:9/x --credential-file {hook} --quiet 22:00-07:00 --zone UTC --urgent
    2* notify add webhook --name bad-{n} --url https://hooks.example.com/{slacks} --credential-file {hook}
    6* notify test slack-{n}
    6* notify test ntfy-{n}
    6* notify test mail-{n}
    0  notify list
    0* notify remove slack-{n}
    0* notify remove ntfy-{n}
    0* notify remove mail-{n}
    0* notify remove url-{n}
    0  template list
    0  template list --pack
    0  template show cloudflare/dns-edit
    0  template check {template}
    0* template apply {template}
    0  policy show
    0  policy check {policy}
    0* policy apply --default
    0  policy test {cases}
    0  policy explain {waiting}
    0* operator add carol-{n} --new-passphrase-file {carols}
    0  operator list
    0* operator passphrase --new-passphrase-file {pass}
    0* operator remove carol-{n}
    7* passkey add --name laptop
    0  passkey list
    1* passkey remove pk_00000000000000000000000000000000
    0* agent add agent-{n}
    7* agent add builder --token-file {folder}/again-{n}
    0  agent list
    0  agent install claude-code --agent builder
    0  agent install codex --agent builder --token-file {folder}/builder.token
    0* grant add --agent agent-{n} --template cloudflare/dns-edit --project p{n} --env lab --for 7d --uses 3 --to embedded:p{n}/* --ttl 7d --param zone=example.com
    1* grant add --agent agent-{n} --template no/template --project p{n} --env lab --for 7d
    0  grant list
    1  grant remove grt_00000000000000000000000000000000
    0  agent pause agent-{n} --reason {sentence}
    0  agent list
    0* agent resume agent-{n}
    0  agent revoke-all agent-{n} --reason {sentence} --yes
    0* agent remove agent-{n}
    0* workload add workload-{n} --project web
    0  workload list
    0* workload remove workload-{n}
    0  catalog list
    0  catalog search dns
    1  catalog import {folder}/no-such-file
    0  catalog refresh cf
    0  catalog plan list dns records --provider cloudflare
    0  catalog needs dns-records-for-a-zone-list-dns-records
    0  catalog needs dns-records-for-a-zone-list-dns-records --refused-to LIVE
    0  key request cloudflare/dns-edit --project p{n} --env dev --name MADE --param zone=example.com --purpose {sentence}
    0  key request cloudflare/dns-edit --project p{n} --env dev --name KEPT --param zone=example.com
    0  key rotate p{n}/dev/KEPT --keep-old
    7* key rotate p{n}/dev/KEPT --leaked
    0* key enable p{n}/dev/KEPT
    0  key request cloudflare/dns-edit --project p{n} --env dev --name DRY --param zone=example.com --dry-run
    1  key request no/template --project p{n} --env dev --name N
    4  key request cloudflare/dns-edit --project p{n} --env production --name N --param zone=example.com
    0  key list
    0  key show p{n}/dev/MADE
    0  key show LIVE
    0  key revoke p{n}/dev/MADE --reason {sentence}
    0  review list
    0  review show {waiting}
    4* review approve {approve} --yes
    0* review reject {reject} --reason {sentence}
    0  reconcile
    7* reconcile --accept-restore
    0* reconcile --revoke-lost
    0  audit log
    0  audit log --from 0 --limit 1000
    0  audit trace LIVE
    0  audit trace p{n}/dev/MADE
    0  audit verify
    7  ledger migrate --to sqlite
    0  audit export
    0  audit export --out {folder}/export-{n}
    0  project teardown p{n} --yes
    0  completions bash
    1  scan .
    1  scrub .
    0  spend
    0  spend --by purpose --since 30d
    0  key rotate LIVE
    0* key rotate LIVE --end-old
    0  key list --unmanaged
    1* key adopt cf 00000000000000000000000000000000 --project p{n} --env dev --name N --reason {sentence}
    0  key disable LIVE --reason {sentence}
    0* key enable LIVE
    0* provider rotate-parent cf
    0  logout
    5  key list
    0* login
    0  key list
";

/// Commands that have tests of their own, and the two whose business is to hand a key to a program: `run` puts it into
/// the program's environment, and the demo makes secrets of its own in a home of its own.
const ELSEWHERE: [&str; 6] = ["init", "serve", "mcp", "sandbox", "run", "demo"];

struct Line {
    code: i32,
    signed: bool,
    words: Vec<String>,
}

/// The commands with everything filled in.
fn lines(known: &[(&str, String)]) -> Vec<Line> {
    let fill = |word: &str| {
        known.iter().fold(word.to_owned(), |word, (name, value)| word.replace(&format!("{{{name}}}"), value))
    };
    let rows = COMMANDS.lines().map(str::trim).filter(|line| !line.is_empty());
    rows.map(|row| {
        let (code, words) = row.split_once(' ').unwrap();
        let words = words.split_whitespace().map(fill).collect();
        Line { code: code.trim_end_matches('*').parse().unwrap(), signed: code.ends_with('*'), words }
    })
    .collect()
}

/// What the commands of one round are about.
fn known(ground: &Ground, agent: &Agent, n: usize) -> Vec<(&'static str, String)> {
    let world = &ground.world;
    let waiting = ["WAITING", "APPROVE", "REJECT"].map(|name| {
        let asked = agent.call("request_key", &ask(&format!("{name}_{n}"))).unwrap();
        asked["request"].as_str().unwrap().to_owned()
    });
    let [waiting, approve, reject] = waiting;
    let path = |name: &str| world.path(name).to_str().unwrap().to_owned();
    vec![
        ("n", n.to_string()),
        ("account", world.account()),
        ("parent", path("parent")),
        ("pass", path("pass")),
        ("carols", world.secret("carols", "yet-another-set-of-words")),
        ("hook", world.secret("hook", HOOK)),
        ("slack", world.secret("slack", &format!("http://127.0.0.1:9/services/{SLACKS}"))),
        ("slacks", SLACKS.to_owned()),
        ("ntfy", world.secret("ntfy", &format!("http://127.0.0.1:9/topic-{SLACKS}\ntk_{SLACKS}"))),
        ("folder", path("")),
        ("template", world.file("t.toml", TEMPLATE)),
        ("policy", world.file("p.cedar", "permit(principal, action, resource);")),
        ("cases", world.file("c.toml", CASES)),
        ("sentence", format!("use {}, please", ground.live())),
        ("waiting", waiting),
        ("approve", approve),
        ("reject", reject),
    ]
}

#[test]
fn no_command_prints_a_secret_in_words_or_as_json_to_an_operator_or_to_anybody() {
    let ground = Ground::new();
    let agent = Agent::start(ground.mcp("builder"), ERAS[1], "canary-client");
    let pass = ground.world.path("pass");
    let mut covered = BTreeSet::new();
    for json in [false, true] {
        let lines = lines(&known(&ground, &agent, usize::from(json)));
        let mut rounds: Vec<Vec<&str>> = Vec::new();
        for line in &lines {
            let mut words: Vec<&str> = vec!["--no-input"];
            words.extend(json.then_some("--json"));
            if line.signed {
                words.extend(["--passphrase-file", pass.to_str().unwrap()]);
            }
            words.extend(line.words.iter().map(String::as_str));
            rounds.push(words);
            covered.insert(line.words.iter().take(2).cloned().collect::<Vec<_>>());
        }
        let rounds: Vec<&[&str]> = rounds.iter().map(Vec::as_slice).collect();
        let all = ground.logged_in(&rounds);
        let canaries = with_given(&ground);
        for (line, ran) in lines.iter().zip(all) {
            assert_eq!(ran.code, line.code, "{:?}: {}{}", line.words, ran.out, ran.err);
            let evidence = if json { "\"schema\":\"keywright/" } else { "" };
            search(&canaries, &line.words, &ran, evidence);
        }
        for line in &lines {
            let mut words: Vec<&str> = vec!["--no-input"];
            words.extend(json.then_some("--json"));
            words.extend(line.words.iter().map(String::as_str));
            let output = ground.world.command(&words).env("KEYWRIGHT_LOG", "trace").output().unwrap();
            search(&canaries, &line.words, &output.into(), "");
        }
    }
    covered.insert(vec!["stop".to_owned()]);
    for args in [&["stop"][..], &["stop", "--json"]] {
        search(&ground.canaries(), &["stop".to_owned()], &ground.world.alice(args).expect(0), "");
    }
    for leaf in leaves() {
        let there = covered.iter().any(|words| words.starts_with(&leaf) || leaf.starts_with(words));
        assert!(there || ELSEWHERE.contains(&leaf[0].as_str()), "{leaf:?} has no line in the table");
    }
    agent.finish();
    ground.world.assert_nothing_leaked();
    ground.search_talk();
    ground.search_home("after the broker has stopped");
    with_given(&ground).absent_from("the broker's log", &ground.talk(), "");
}

/// The secrets of the ground, and those of consumers and channels.
fn with_given(ground: &Ground) -> Search {
    Search::new(ground.secrets().into_iter().chain([HOOK, SLACKS].map(str::to_owned)))
}

#[test]
fn a_sandbox_by_hand_does_not_print_its_token() {
    let world = World::empty();
    for more in [&[][..], &["--json"]] {
        let path = world.path("sandbox.token");
        let mut command = world.command(&["sandbox", "--token-file", path.to_str().unwrap()]);
        command.args(more).env("KEYWRIGHT_LOG", "trace");
        let (said, talk, token) = until_it_is_told(command, &path);
        let others = [world.parent(), PASSPHRASE.to_owned(), BOBS.to_owned()];
        let canaries = Search::new(others.into_iter().chain([token]));
        canaries.absent_from("standard output", &said, "127.0.0.1");
        canaries.absent_from("standard error", &talk, "");
    }
}

/// Runs a sandbox until it has said where it is: both of its outputs, and its token.
fn until_it_is_told(mut command: Command, path: &std::path::Path) -> (Vec<u8>, Vec<u8>, String) {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;
    let mut serving =
        crate::support::Serving(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let (mut said, mut talk) = (Vec::new(), Vec::new());
    let mut output = BufReader::new(serving.0.stdout.take().unwrap());
    output.read_until(b'\n', &mut said).unwrap();
    let token = std::fs::read_to_string(path).unwrap().trim().to_owned();
    serving.signal("INT");
    output.read_to_end(&mut said).unwrap();
    serving.0.stderr.take().unwrap().read_to_end(&mut talk).unwrap();
    (said, talk, token)
}

fn search(canaries: &Search, words: &[String], ran: &Ran, evidence: &str) {
    assert!(!ran.out.is_empty() || !ran.err.is_empty(), "{words:?} says nothing");
    // The rest of the words may hold what an operator pasted.
    let channel = format!("`keywright {} {}`", words[0], words.get(1).map_or("", String::as_str));
    canaries.absent_from(&channel, ran.out.as_bytes(), evidence);
    canaries.absent_from(&channel, ran.err.as_bytes(), "");
}

/// Every command that help lists.
fn leaves() -> Vec<Vec<String>> {
    let (mut open, mut found) = (vec![Vec::new()], Vec::new());
    while let Some(path) = open.pop() {
        let output = bare().args(&path).arg("-h").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let listed =
            help.split("Commands:\n").nth(1).unwrap_or_default().lines().take_while(|l| !l.is_empty());
        let names = listed.filter(|l| l.starts_with("  ") && !l.starts_with("   "));
        let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
        if names.is_empty() {
            found.push(path);
        } else {
            open.extend(names.iter().map(|name| [&path[..], &[(*name).to_owned()]].concat()));
        }
    }
    assert!(found.len() > 40, "{found:?}");
    found
}

/// What messages to an address are signed with.
const HOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What an address of Slack's ends with, as does the name of a topic and an access token here.
const SLACKS: &str = "xT7dQ2mPw9RtKvLz4Yh1Nc3b";

const CASES: &str = "[[case]]\nname = \"production needs two\"\nexpect = \"needs 2\"\nprincipal = \"agent builder\"\n\
    action = \"mint\"\ntemplate = { id = \"cloudflare/dns-edit\", tier = \"standard\", mutating = 25 }\n\
    context = { project = \"web\", environment = \"production\", ttl = \"30d\" }\n";

const TEMPLATE: &str = "id = \"cloudflare/x\"\ntitle = \"T\"\nprovider = \"cloudflare\"\ntier = \"sandbox\"\n\
    permissions = [\"DNS Read\"]\n[parameters.zone]\nkind = \"cloudflare.zone\"\n[limits]\nttl_max = \"30d\"\n\
    destinations = [\"embedded:*\"]\n";
