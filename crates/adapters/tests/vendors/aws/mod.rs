//! AWS: the stores and the provider against moto, with authentication on (signatures and IAM policies are checked), and
//! boto3 as an independent reader and writer.
//!
//! Where moto differs from AWS (5.2), and what the tests do about it:
//! * a default `GetSecretValue` may answer the previous version: boto3 reads with an explicit `VersionStage`;
//! * errors of the gate come as XML within a JSON API: the text of a refusal is not looked at there;
//! * `SimulatePrincipalPolicy` fails with status 500: the parent's rights can't be seen;
//! * an inactive access key works; session policies, tags and conditions are taken but never enforced, and the boundary of a
//!   user is forgotten: what is sent is looked at instead.

pub mod provider;
mod stores;

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::support::peer;
use crate::support::peers::Peer;

pub const REGION: &str = "eu-central-1";
pub const ACCOUNT: &str = "123456789012";

/// moto with an administrator, and a role that it may take.
pub struct Aws {
    pub url: String,
    pub id: String,
    pub secret: String,
    _peer: Peer,
    python: Option<Mutex<Python>>,
}

/// An interpreter that stays: boto3 takes a second to start.
struct Python {
    _child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

/// Runs a script a line, and says what it printed.
const SERVE: &str = r#"
import contextlib, io, traceback
for line in sys.stdin:
    script, arguments = json.loads(line)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed): exec(script, {**globals(), "arguments": arguments})
        answer = [True, printed.getvalue()]
    except BaseException: answer = [False, traceback.format_exc()]
    print(json.dumps(answer), flush=True)
"#;

impl Python {
    fn start(url: &str, id: &str, secret: &str) -> Self {
        let mut command = Command::new(peer("venv/bin/python").unwrap());
        command.arg("-c").arg(format!("{PRELUDE}{SERVE}")).env_clear();
        command.env("AWS_URL", url).env("AWS_DEFAULT_REGION", REGION);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { stdin: child.stdin.take().unwrap(), stdout, _child: child }
    }
}

/// What every script begins with.
const PRELUDE: &str = r#"
import boto3, functools, json, os, sys
from botocore.exceptions import ClientError
@functools.cache
def client(service): return boto3.client(service, endpoint_url=os.environ["AWS_URL"])
def policy(action, **more): return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, **more}]})
arguments = sys.argv[1:]
"#;

const SET_UP: &str = r#"
iam = client("iam")
iam.create_user(UserName="broker")
iam.put_user_policy(UserName="broker", PolicyName="all", PolicyDocument=policy("*", Resource="*"))
key = iam.create_access_key(UserName="broker")["AccessKey"]
iam.create_role(RoleName="minting", AssumeRolePolicyDocument=policy(
    ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"], Principal={"AWS": arguments[0]}))
print(key["AccessKeyId"], key["SecretAccessKey"])
"#;

impl Aws {
    /// `None`, said aloud, where moto is not installed.
    pub async fn start() -> Option<Self> {
        let peer = Peer::moto().await?;
        let mut aws = Self {
            url: peer.url.clone(),
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "any".into(),
            _peer: peer,
            python: None,
        };
        let broker = format!("arn:aws:iam::{ACCOUNT}:user/broker");
        let said = boto3(&aws.url, &aws.id, &aws.secret, None, SET_UP, &[&broker]).await;
        let (id, secret) = said.trim().split_once(' ').unwrap();
        (aws.id, aws.secret) = (id.to_owned(), secret.to_owned());
        aws.python = Some(Mutex::new(Python::start(&aws.url, id, secret)));
        // From here on no call goes unchecked.
        let on = reqwest::Client::new().post(format!("{}/moto-api/reset-auth", aws.url));
        assert!(
            on.header("Content-Type", "text/plain").body("0").send().await.unwrap().status().is_success()
        );
        Some(aws)
    }

    /// The credential, as Keywright takes it.
    pub fn credential(&self) -> String {
        format!("{}:{}", self.id, self.secret)
    }

    /// Runs a script with boto3 as the administrator: what it prints.
    pub async fn python(&self, script: &str, arguments: &[&str]) -> String {
        let mut python = self.python.as_ref().unwrap().lock().await;
        let line = serde_json::json!([script, arguments]).to_string();
        python.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let answer = python.stdout.next_line().await.unwrap().expect("it still runs");
        let (is_good, said): (bool, String) = serde_json::from_str(&answer).unwrap();
        assert!(is_good, "{said}");
        said
    }
}

/// Runs a script with boto3 as anybody.
pub async fn boto3(
    url: &str,
    id: &str,
    secret: &str,
    session: Option<&str>,
    script: &str,
    arguments: &[&str],
) -> String {
    let mut command = Command::new(peer("venv/bin/python").unwrap());
    command.arg("-c").arg(format!("{PRELUDE}{script}")).args(arguments).env_clear();
    command.env("AWS_URL", url).env("AWS_DEFAULT_REGION", REGION).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
    command.envs(session.map(|token| ("AWS_SESSION_TOKEN", token)));
    let out = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}
