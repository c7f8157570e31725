//! The planner at the command line: words or operations in, the least permissions and their proof out.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::{World, bare};

/// Runs a catalog verb, which needs neither home nor broker.
fn catalog(args: &[&str]) -> (i32, Value, String) {
    let run = |more: &[&str]| bare().arg("catalog").args(args).args(more).output().unwrap();
    let (json, plain) = (run(&["--json"]), run(&[]));
    assert_eq!(json.status.code(), plain.status.code(), "{args:?}");
    let text = String::from_utf8(plain.stdout).unwrap();
    (json.status.code().unwrap(), serde_json::from_slice(&json.stdout).unwrap(), text)
}

fn names(answer: &Value) -> Vec<&str> {
    answer["permissions"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[test]
fn plain_words_come_to_the_least_permission_with_its_proof() {
    let words = ["plan", "add the TXT record google wants for example.com", "--provider", "cloudflare"];
    let (code, answer, text) = catalog(&words);
    assert_eq!((code, &answer["schema"]), (0, &"keywright/plan-answer/1".into()));
    assert_eq!((&answer["status"], names(&answer)), (&"plan".into(), vec!["DNS Write"]));
    assert_eq!(answer["permissions"][0]["scope"], "zone");
    assert_eq!(answer["resources"][0]["value"], "example.com");
    let proof = &answer["proof"][0];
    assert_eq!(proof["forced_by"][0], "POST /zones/{zone_id}/dns_records");
    let (unlocks, beyond) = (proof["unlocks"].as_u64().unwrap(), proof["beyond_the_job"].as_u64().unwrap());
    assert_eq!(unlocks, beyond + 1, "{proof}");
    for said in
        ["DNS Write (write, zone)", "zone example.com", "nothing narrower opens POST", "beyond the job"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn words_that_ask_for_rights_are_refused_and_vague_ones_are_asked_about() {
    let (code, answer, text) = catalog(&["plan", "give me the Global API Key", "--provider", "cloudflare"]);
    assert_eq!((code, &answer["status"], names(&answer)), (1, &"refused".into(), vec![]));
    assert!(text.starts_with("refused: "), "{text}");
    let (code, answer, _) = catalog(&["plan", "zxqv", "--provider", "cloudflare"]);
    assert_eq!((code, &answer["status"]), (0, &"question".into()));
    assert!(answer["question"].as_str().is_some_and(|question| question.ends_with('?')), "{answer}");
    let output = bare().args(["catalog", "plan", "words", "--provider", "nobody"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn operations_come_to_the_least_permissions_or_are_refused_with_the_nearest() {
    let read = ["needs", "GET /zones/{zone_id}/dns_records", "GET /zones/{id}/ssl/certificate_packs"];
    let (code, answer, _) = catalog(&read);
    assert_eq!((code, &answer["provider"]), (0, &"cloudflare".into()));
    assert_eq!(names(&answer), ["DNS Read", "SSL and Certificates Read"]);
    let turned: Vec<&str> = vec![read[0], read[2], read[1]];
    assert_eq!(catalog(&turned).1["permissions"], answer["permissions"], "the order does not matter");

    for (operation, said) in [
        ("GET /zones/{zone_id}/purge_cache", "did you mean `POST /zones/{zone_id}/purge_cache`"),
        ("POST /user/tokens", "`API Tokens Write`"),
    ] {
        let (code, answer, text) = catalog(&["needs", operation, "--provider", "cloudflare"]);
        assert_eq!((code, &answer["status"]), (1, &"refused".into()), "{operation}");
        assert!(text.contains(said), "{text}");
    }
    let output = bare().args(["catalog", "needs", "nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no catalog has an operation `nonsense`"));
    let (code, answer, _) = catalog(&["needs", "s3:PutObject", "s3:ListObjectsV2", "--provider", "aws"]);
    assert_eq!((code, names(&answer)), (0, vec!["s3:ListBucket", "s3:PutObject"]));
}

#[test]
fn what_was_refused_to_a_key_is_explained_with_a_request_that_would_do() {
    let world = World::empty();
    world.init();
    world.connect();
    world.ok(&["template", "apply", "cloudflare/dns-read"]);
    let ask = ["--project", "web", "--env", "dev", "--name", "CF_TOKEN", "--param", "zone=example.com"];
    world.ok(&[&["key", "request", "cloudflare/dns-read"], &ask[..]].concat());
    let create = "POST /zones/{zone_id}/dns_records";
    let denied = world.ok(&["catalog", "needs", create, "--refused-to", "CF_TOKEN"]);
    assert_eq!((&denied["missing"][0], &denied["amended"]), (&"DNS Write".into(), &Value::Null));
    assert!(denied["advice"].as_str().unwrap().contains("propose one"), "{denied}");

    world.ok(&["template", "apply", "cloudflare/dns-edit"]);
    let denied = world.ok(&["catalog", "needs", create, "--refused-to", "CF_TOKEN"]);
    assert_eq!(denied["amended"]["template"], "cloudflare/dns-edit");
    assert_eq!(denied["amended"]["parameters"]["zone"], "example.com");
    // The line is one that can be run.
    let text = world.alice(&["catalog", "needs", create, "--refused-to", "CF_TOKEN"]).expect(0).out;
    let line = text.split("keywright ").nth(1).expect(&text);
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(world.ok(&words)["status"], "active");

    let denied = world.ok(&[
        "catalog",
        "needs",
        "GET /zones/{zone_id}/dns_records",
        "--refused-to",
        "web/dev/CF_TOKEN",
    ]);
    assert_eq!(denied["missing"].as_array().map(Vec::len), Some(0));
    assert!(denied["advice"].as_str().unwrap().contains("confined to example.com"), "{denied}");
    world.assert_nothing_leaked();
}

#[test]
fn an_operation_is_taken_as_whoever_was_refused_has_it() {
    let zone = "023e105f4ecef8ad9ca31a8372d0c353";
    let written = format!("get https://api.cloudflare.com/client/v4/zones/{zone}/dns_records/?type=TXT");
    let (code, answer, text) = catalog(&["needs", &written]);
    assert_eq!((code, names(&answer)), (0, vec!["DNS Read"]));
    assert_eq!(answer["operations"][0], "GET /zones/{zone_id}/dns_records");
    assert_eq!(
        (&answer["resources"][0]["kind"], &answer["resources"][0]["value"]),
        (&"zone".into(), &zone.into())
    );
    assert!(text.contains(&format!("zone {zone}")), "{text}");
    let (code, answer, _) = catalog(&["needs", "get /repos/acme/web/issues?state=open"]);
    assert_eq!(
        (code, &answer["provider"], &answer["resources"][0]["value"]),
        (0, &"github".into(), &"acme/web".into())
    );

    let foreign = format!("GET https://api.cloudflare.com.evil.example/client/v4/zones/{zone}/dns_records");
    let (code, answer, text) = catalog(&["needs", &foreign, "--provider", "cloudflare"]);
    assert_eq!((code, &answer["status"]), (1, &"refused".into()));
    assert!(
        text.contains("`api.cloudflare.com.evil.example` is not where cloudflare documents its API"),
        "{text}"
    );
    let (code, answer, _) = catalog(&["needs", "POST /chat/completions"]);
    assert_eq!(
        (code, &answer["question"]),
        (0, &"at which provider is it, of `openai` and `openrouter`?".into())
    );

    let world = World::empty();
    world.init();
    world.connect();
    world.ok(&["template", "apply", "cloudflare/dns-read"]);
    let ask = ["--project", "web", "--env", "dev", "--name", "CF_TOKEN", "--param", "zone=example.com"];
    world.ok(&[&["key", "request", "cloudflare/dns-read"], &ask[..]].concat());
    let create = format!("post https://api.cloudflare.com/client/v4/zones/{zone}/dns_records");
    let denied = world.ok(&["catalog", "needs", &create, "--refused-to", "CF_TOKEN"]);
    assert_eq!(denied["missing"][0], "DNS Write");
    // It may do that, and the call was about another zone than its own.
    let denied = world.ok(&["catalog", "needs", &written, "--refused-to", "CF_TOKEN"]);
    let advice = denied["advice"].as_str().unwrap();
    assert!(
        advice.contains("confined to example.com") && advice.contains(&format!("about zone {zone}")),
        "{denied}"
    );
}

#[test]
fn an_answer_for_another_provider_than_the_words_name_says_so() {
    let (_, answer, text) = catalog(&["plan", "list the buckets at aws"]);
    assert_eq!((&answer["provider"], names(&answer)), (&"aws".into(), vec!["s3:ListAllMyBuckets"]));
    assert!(text.contains("note: this is for `aws`, which is named"), "{text}");
    let (_, answer, text) = catalog(&["plan", "list the buckets at aws", "--provider", "cloudflare"]);
    assert_eq!(answer["provider"], "cloudflare");
    assert!(text.contains("as was said, though the words name `aws`"), "{text}");
    let (_, answer, _) = catalog(&["plan", "read the usage in our openai account"]);
    assert_eq!(answer["provider"], "openai", "{answer}");
    let (code, answer, _) = catalog(&["plan", "copy what is on aws and what is on github"]);
    assert_eq!((code, &answer["status"]), (0, &"question".into()));
    let (_, answer, text) = catalog(&[
        "plan",
        "add the TXT record that GitHub wants for example.com",
        "--provider",
        "cloudflare",
    ]);
    assert_eq!((names(&answer), answer.get("note")), (vec!["DNS Write"], None), "{text}");
    let (_, found, _) = catalog(&["search", "read objects at aws"]);
    let of_aws =
        |found: &Value| found["permissions"].as_array().unwrap().iter().all(|one| one["provider"] == "aws");
    assert!(of_aws(&found) && found["note"].as_str().unwrap().contains("`aws`"), "{found}");
}

/// A description as Cloudflare publishes it, in which `DNS Read` opens one operation more than in the catalog that ships.
fn publication(more: &str) -> String {
    let operation =
        |id: &str, group: &str| serde_json::json!({"operationId": id, "x-api-token-group": [group]});
    let mut paths = serde_json::Map::new();
    for built_in in keywright_catalog::Catalog::cloudflare().unwrap().all_operations() {
        let groups: Vec<&str> = keywright_catalog::Catalog::cloudflare()
            .unwrap()
            .accepted(built_in)
            .map(|permission| permission.name)
            .collect();
        let path = paths.entry(built_in.path.to_owned()).or_insert_with(|| serde_json::json!({}));
        path[built_in.method.to_ascii_lowercase()] =
            serde_json::json!({"operationId": built_in.id, "x-api-token-group": groups});
    }
    paths.insert(more.to_owned(), serde_json::json!({"delete": operation("dns-records-wipe", "DNS Read")}));
    serde_json::json!({"openapi": "3.0.3", "info": {}, "paths": paths}).to_string()
}

/// A template that ships, under another id.
fn shipped_with(id: &str, other: &str) -> String {
    let path = format!("{id}.toml");
    let (_, source) = keywright_catalog::templates::PACK.iter().find(|(name, _)| *name == path).unwrap();
    source.replace(id, other)
}

#[test]
fn what_became_wider_is_held_until_an_operator_applies_it_again() {
    let world = World::empty();
    world.init();
    world.connect();
    world.ok(&["template", "apply", "cloudflare/dns-read", "cloudflare/cache-purge"]);
    let ask = |name| ["--project", "web", "--env", "dev", "--name", name, "--param", "zone=example.com"];
    let read = |name| [&["key", "request", "cloudflare/dns-read"], &ask(name)[..]].concat();
    assert_eq!(world.ok(&read("BEFORE"))["status"], "active");
    let wipe = "/zones/{zone_id}/dns_records/wipe";
    let file = world.file("openapi.json", &publication(wipe));
    let imported = world.ok(&["catalog", "import", &file, "--from", "November"]);
    let wider = imported["drift"]["widened"].as_array().unwrap();
    let dns = wider.iter().find(|one| one["name"] == "DNS Read").expect("it became wider");
    assert_eq!((&dns["operations"][0], &dns["mutating"]), (&format!("DELETE {wipe}").into(), &1.into()));
    assert!(
        imported["held"]["cloudflare/dns-read"]
            .as_str()
            .unwrap()
            .contains("`DNS Read` opens 1 operations more")
    );
    assert_eq!(imported["held"].as_object().unwrap().get("cloudflare/cache-purge"), None);

    for args in [read("AFTER"), [read("AFTER"), vec!["--dry-run"]].concat()] {
        let refused = world.alice(&args);
        assert_eq!(refused.code, 3, "{}{}", refused.out, refused.err);
        assert!(refused.err.contains("grants more than when it was applied"), "{}", refused.err);
    }
    let listed = world.ok(&["template", "show", "cloudflare/dns-read"]);
    assert!(listed["held"].as_str().unwrap().contains("DNS Read"), "{listed}");
    // Its numbers are those that ship, and the screens say so.
    assert!(listed["wider"][0].as_str().unwrap().contains("`DNS Read` opens 1 operations more"), "{listed}");
    let text = world.alice(&["template", "show", "cloudflare/dns-read"]).expect(0).out;
    assert!(
        text.contains("(November)") && text.contains("what it unlocks is counted without that"),
        "{text}"
    );
    let text = world.alice(&["template", "list"]).expect(0).out;
    let line = text.lines().find(|line| line.contains("dns-read")).unwrap();
    assert!(line.contains("and more") && line.contains("(held)"), "{text}");
    // A new one with such a permission is put in force with a word.
    let own = world.file("own.toml", &shipped_with("cloudflare/dns-read", "cloudflare/own"));
    let text = world.alice(&["template", "apply", &own]).expect(0).out;
    assert!(text.contains("(November): it may do more than is counted here"), "{text}");
    let purge = [&["key", "request", "cloudflare/cache-purge"], &ask("PURGE")[..]].concat();
    assert_eq!(world.ok(&purge)["status"], "active", "the others are as they were");
    // The log is what holds it: whoever looks at it anew holds it as well.
    assert_eq!(world.ok(&["template", "apply", "cloudflare/dns-read"])["templates"][0]["version"], 2);
    assert_eq!(world.ok(&read("AFTER"))["status"], "active");
    // What an operator released is not held for the same again.
    let again = world.ok(&["catalog", "import", &file, "--from", "November again"]);
    assert_eq!(again["held"], serde_json::json!({}), "{again}");
    assert_eq!(world.ok(&read("ONCE_MORE"))["status"], "active");
    let entries = world.ok(&["audit", "log", "--limit", "100"]).to_string();
    assert!(entries.contains("catalog.import") && entries.contains("November"));
}

#[test]
fn what_is_no_publication_is_refused_and_holds_nothing() {
    let world = World::ready();
    for (text, said) in [
        ("no json", "OpenAPI description"),
        ("{}", "no `paths`"),
        (r#"{"paths": {"/zones": {"get": {"operationId": "x"}}}}"#, "permission"),
    ] {
        let file = world.file("odd.json", text);
        let refused = world.alice(&["catalog", "import", &file]);
        assert_eq!(refused.code, 2, "{text}: {}{}", refused.out, refused.err);
        assert!(refused.err.contains(said), "{text}: {}", refused.err);
    }
    let log = world.ok(&["audit", "log", "--limit", "100"]).to_string();
    assert!(!log.contains("catalog.import"));
}

#[test]
fn what_a_provider_lists_now_is_held_against_the_catalog() {
    let world = World::ready();
    let listed = world.ok(&["catalog", "refresh", "cf"]);
    assert!(listed["permissions"].as_u64().unwrap() > 300, "{listed}");
    for field in ["gone", "new", "renamed", "rescoped"] {
        assert_eq!(listed[field].as_array().map(Vec::len), Some(0), "{field}: {listed}");
    }
    let text = world.alice(&["catalog", "refresh", "cf"]).expect(0).out;
    assert!(text.contains("as the catalog has them"), "{text}");
    // One that is not there, and one that lists nothing.
    world.alice(&["catalog", "refresh", "nobody"]).expect(1);
}

/// An endpoint that speaks as much of OpenAI's chat completions as `--model` needs, and answers each request with the next text.
/// What it was asked comes through the channel: the head of the request, and its body.
fn model(answers: Vec<Box<dyn Fn(&str) -> String + Send>>) -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut line, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(line.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut row = String::new();
                reader.read_line(&mut row).unwrap();
                if let Some(text) = row.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap();
                }
                head.push_str(&row);
                if row.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let content = answer(asked["messages"][1]["content"].as_str().unwrap());
            let reply = json!({ "choices": [{ "message": { "role": "assistant", "content": content } }] })
                .to_string();
            write!(
                line,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{reply}",
                reply.len()
            )
            .unwrap();
            let _ = tell.send((head, asked));
        }
    });
    (url, told)
}

/// The number under which a list shows an operation.
fn number(list: &str, operation: &str) -> u64 {
    let line = list.lines().find(|line| line.contains(operation)).unwrap_or_else(|| panic!("{list}"));
    line.split('.').next().unwrap().parse().unwrap()
}

#[test]
fn a_model_only_chooses_among_operations_and_the_solver_does_the_rest() {
    let add = "POST /zones/{zone_id}/dns_records";
    let pick = |list: &str| {
        format!("Here:\n{{\"operations\":[{}]}}", number(list, "POST /zones/{zone_id}/dns_records "))
    };
    let (url, told) = model(vec![
        Box::new(pick),
        Box::new(|list| {
            assert!(
                !list.contains("POST /zones/{zone_id}/dns_records "),
                "nothing that changes is shown: {list}"
            );
            "{\"operations\":[]}".to_owned()
        }),
        Box::new(|_| "{\"operations\":[9999]}".to_owned()),
        Box::new(|_| "grant everything".to_owned()),
    ]);
    let world = World::empty();
    let credential = world.secret("model", "sk-of-the-model-0123456789");
    let run = |words: &str, json: bool| {
        let mut args = vec![
            "catalog",
            "plan",
            words,
            "--provider",
            "cloudflare",
            "--model",
            "small",
            "--model-url",
            &url,
        ];
        args.extend(["--model-credential-file", &credential]);
        args.extend(json.then_some("--json"));
        let output = bare().args(&args).output().unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(!format!("{out}{err}").contains("sk-of-the-model"), "{out}{err}");
        (output.status.code().unwrap(), out, err)
    };
    let (code, out, _) = run("put the DNS record of the verification into example.com", true);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, names(&answer)), (0, vec!["DNS Write"]), "{answer}");
    assert_eq!(answer["proof"][0]["forced_by"][0], add);
    assert!(answer["note"].as_str().unwrap().contains("the model `small` chose among"), "{answer}");
    let (head, asked) = told.recv().unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{head}");
    assert!(head.to_ascii_lowercase().contains("authorization: bearer sk-of-the-model-0123456789"), "{head}");
    assert_eq!((&asked["model"], &asked["temperature"]), (&"small".into(), &0.into()));
    let (code, out, err) = run("what DNS records does example.com have? read only", false);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("The model found none that fit"), "{out}");
    for _ in 0..2 {
        let (code, out, err) = run("change the DNS records of example.com", false);
        assert_eq!(code, 6, "{out}{err}");
        assert!(err.contains("no choice") && err.contains("without --model the words alone decide"), "{err}");
    }
    // What the words alone are refused for, no model is asked about: nobody answers any more.
    let (code, out, err) = run("give me the Global API Key", false);
    assert_eq!(code, 1, "{out}{err}");
    let (code, _, err) = run("change the DNS records of example.com", false);
    assert_eq!(code, 6, "{err}");
    let far = [
        "catalog",
        "plan",
        "x",
        "--provider",
        "cloudflare",
        "--model",
        "m",
        "--model-url",
        "http://example.com/v1",
    ];
    let refused = bare().args(far).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
