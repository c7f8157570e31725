"""Stands in for 1Password's program `op`, before a Connect server: the few calls that the store makes, with its words.

SERVER is replaced by the server's address. No argument may hold a secret, so this refuses assignments.
"""
import json, os, sys, urllib.error, urllib.request

TOKEN = os.environ.get("OP_SERVICE_ACCOUNT_TOKEN", "")


def fail(words):
    sys.stderr.write("[ERROR] 2026/11/26 08:00:00 " + words + "\n")
    sys.exit(1)


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer " + TOKEN, "Content-Type": "application/json"}
    request = urllib.request.Request("SERVER/v1/" + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=6) as answer:
            text = answer.read()
            return json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        if error.code == 404:
            fail('"it" isn\'t an item in the vault.')
        if error.code in (401, 403):
            fail("(%d) %s: %s" % (error.code, error.reason, text))
        fail("unexpected (%d) answer: %s" % (error.code, text))
    except Exception as error:
        fail("could not do it: %s" % error)


def option(name):
    return arguments[arguments.index(name) + 1]


arguments = sys.argv[1:]
if os.environ.get("OP_FORMAT") != "json" or any("=" in argument for argument in arguments):
    fail("used otherwise than the store does: %s" % arguments)
noun, verb = arguments[:2]
if (noun, verb) == ("vault", "get"):
    answer = call("GET", "vaults/" + arguments[2])
elif verb == "list":
    answer = call("GET", "vaults/%s/items" % option("--vault"))
elif verb == "create":
    item = json.load(sys.stdin)
    answer = call("POST", "vaults/%s/items" % item["vault"]["id"], item)
else:
    path = "vaults/%s/items/%s" % (option("--vault"), arguments[2])
    if verb == "get":
        answer = call("GET", path)
    elif verb == "delete":
        answer = call("DELETE", path)
    elif any(argument.endswith("[delete]") for argument in arguments):
        gone = [argument[:-len("[delete]")] for argument in arguments if argument.endswith("[delete]")]
        answer = call("PATCH", path, [{"op": "remove", "path": "/fields/" + name} for name in gone])
    else:
        known = {field["id"] for field in call("GET", path)["fields"]}
        patches = []
        for field in json.load(sys.stdin)["fields"]:
            is_known = field["id"] in known
            at = "/fields/" + field["id"] if is_known else "/fields"
            patches.append({"op": "replace" if is_known else "add", "path": at, "value": field})
        answer = call("PATCH", path, patches)
if answer is not None:
    json.dump(answer, sys.stdout)
